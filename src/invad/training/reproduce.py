"""Doing a run again, and comparing."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from invad.checkpoint import list_checkpoints, read_checked
from invad.errors import DataError, RunError, command
from invad.evaluation import evaluate, open_test_set
from invad.processes import start_processes
from invad.runs import Run, differences
from invad.saved_evaluation import read_request
from invad.training.gpu_steps import whole_steps_on_one_gpu
from invad.training.loop import train
from invad.training.setup import open_data, open_images, require_same_images


@dataclass(frozen=True, kw_only=True, slots=True)
class Reproduction:
    """What doing a run again gave."""

    run: Run
    """The new run."""
    identical: bool
    """Whether all weights are the same to the bit."""
    largest_difference: float
    """Between two weights."""
    environment: tuple[str, ...]
    """What differs between the machines and versions, a sentence each."""
    metrics: dict[str, tuple[float, float]]
    """The mean of each exact metric on what the run was last evaluated on, then and now; none where it never was."""


def reproduce(path: Path | str, out: Path | str, *, quiet: bool = False) -> Reproduction:
    """Do a complete run again in a new folder, with its settings, encoder and images, and compare.

    Raises:
        RunError: the run is not complete or was imported, its images have changed, those that it was last evaluated on
            are gone, or the new folder is taken.
        DataError: an image cannot be read.
    """
    run = Run.open(path)
    run.require_trained_here()
    if not run.complete:
        raise RunError(
            f"{run.path} is not complete; finish it by `{command('train', '--resume', run.path)}` before it is done "
            f"again"
        )
    settings = run.settings()
    processes = start_processes(settings.device)
    compiled = bool(settings.compile) and whole_steps_on_one_gpu(settings, processes)  # perhaps not on this machine
    settings = replace(settings, compile=compiled)
    images = open_images(open_data(settings), settings, processes, quiet=True)
    require_same_images(run, images)
    _require_test_set(run)
    again = train(settings, out, encoder_file=run.encoder_file, quiet=quiet)
    identical, difference = compare_weights(run, again)
    return Reproduction(
        run=again,
        identical=identical,
        largest_difference=difference,
        environment=_differences(run, again),
        metrics=_compare_metrics(run, again, quiet=quiet),
    )


def compare_weights(first: Run, second: Run) -> tuple[bool, float]:
    """Return whether two runs ended in the same bits, and the largest difference between two of their weights."""
    a, b = (read_checked(list_checkpoints(run.checkpoints)[0])[0] for run in (first, second))
    if a.keys() != b.keys():
        raise RunError(f"{first.path} and {second.path} hold different models")
    identical = all(torch.equal(a[name], b[name]) for name in a)
    return identical, max((a[name].double() - b[name].double()).abs().max().item() for name in a if a[name].numel())


def _differences(first: Run, second: Run) -> tuple[str, ...]:
    """What differs between the machines and versions of two runs, wherever the first was resumed."""
    started, *resumed = first.environments()
    now = second.environment()
    later = (text for then in resumed for text in differences(then, now, "where it was resumed"))
    return tuple(dict.fromkeys((*differences(started, now), *later)))


def _require_test_set(run: Run) -> None:
    """Refuse, before hours of training, a run whose last evaluation cannot be done again."""
    request = read_request(run)
    if request is None:
        return
    try:
        open_test_set(run, request, trained=run.trained_classes())
    except DataError as error:
        raise RunError(
            f"the data that {run.path} was last evaluated on is not there any more ({error}). Restore it, or evaluate "
            f"on other data by `{command('evaluate', run.path, '--data', 'LAYOUT:ROOT')}`"
        ) from error


def _compare_metrics(first: Run, second: Run, *, quiet: bool) -> dict[str, tuple[float, float]]:
    """The exact means of both runs on what the first was last evaluated on, where it was."""
    request, file = read_request(first), first.evaluation / "results-exact.json"
    if request is None or not file.is_file():
        return {}
    before = json.loads(file.read_text(encoding="utf-8"))["mean"]
    again = evaluate(
        second,
        data=request.data,
        classes=request.classes,
        views=request.views,
        split=request.split,
        protocols=("exact",),
        quiet=quiet,
    )
    now = again.results[0].mean
    return {
        key: (value, found) for key, value in before.items() if value is not None and (found := now[key]) is not None
    }
