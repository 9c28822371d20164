"""Doing a run again, and comparing."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from invad.checkpoint import list_checkpoints, read_checked
from invad.errors import RunError
from invad.evaluation import evaluate
from invad.processes import start_processes
from invad.runs import Run
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
    """The mean of each exact metric, then and now; none where the run was never evaluated."""


def reproduce(path: Path | str, out: Path | str, *, quiet: bool = False) -> Reproduction:
    """Do a complete run again in a new folder, with its settings, encoder and images, and compare.

    Raises:
        RunError: the run is not complete or was imported, its images have changed, or the new folder is taken.
        DataError: an image cannot be read.
    """
    run = Run.open(path)
    run.require_trained_here()
    if not run.complete:
        raise RunError(
            f"{run.path} is not complete; finish it by `invad train --resume {run.path}` before it is done again"
        )
    settings = run.settings()
    images = open_images(open_data(settings), settings, start_processes(settings.device), quiet=True)
    require_same_images(run, images)
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
    """What differs between the machines and versions of two runs."""
    a, b = (json.loads(run.environment_file.read_text(encoding="utf-8")) for run in (first, second))
    names = dict.fromkeys((*a, *b))
    return tuple(f"{name}: {a.get(name)} then, {b.get(name)} now" for name in names if a.get(name) != b.get(name))


def _compare_metrics(first: Run, second: Run, *, quiet: bool) -> dict[str, tuple[float, float]]:
    """The exact means of both runs on the test images of the first, where it was evaluated on them."""
    file = first.evaluation / "results-exact.json"
    if not file.is_file():
        return {}
    before = json.loads(file.read_text(encoding="utf-8"))["mean"]
    now = evaluate(second, protocols=("exact",), quiet=quiet).results[0].mean
    return {
        key: (value, found) for key, value in before.items() if value is not None and (found := now[key]) is not None
    }
