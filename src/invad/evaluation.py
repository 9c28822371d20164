"""A model and data in, all metrics out."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from invad.data import DataSet, ImageSource, batches, check_masks, open_datasets
from invad.data.dataset import full_spec
from invad.devices import exact_arithmetic, to_device
from invad.errors import DataError
from invad.files import write_text
from invad.inference.calibration import Calibration, read_calibration
from invad.inference.checksum import model_checksum
from invad.metrics import PROTOCOLS, Evaluator, Protocol, Results, to_csv, to_json, to_markdown
from invad.model import InvAD
from invad.processes import Processes, start_processes
from invad.records import Record
from invad.runs import Run, load_model
from invad.saved_evaluation import Evaluation, Request, forget, keep
from invad.scoring import anomaly_map, image_score
from invad.settings import TrainSettings

BATCH_SIZE = 16


def evaluate(
    run: Run | Path | str,
    *,
    data: Sequence[str] = (),
    classes: Sequence[str] = (),
    views: Sequence[str] = (),
    split: int | None = None,
    protocols: Sequence[Protocol] = PROTOCOLS,
    bootstrap: int = 0,
    threshold: float | None = None,
    save_maps: Path | str | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Evaluation:
    """Evaluate a run on test images and write the results into its folder `evaluation`, with all that a report needs.

    Args:
        run: a run, or its folder.
        data: data sets as LAYOUT:ROOT; none given: those that the run was trained on.
        classes: the classes to evaluate; none given: all.
        views: the cameras to evaluate; none given: all, or those of the run where no data is given.
        split: which split of COCO-AD; None: the run's where no data is given.
        protocols: `exact`, `paper`, or both (see `invad.metrics`).
        bootstrap: resamples for 95 % confidence intervals over images; 0: none.
        threshold: the image score from which on an image counts as found, for the recall of each type of defect;
            None: those of the run's calibration, if it has one, and a note of what they find and what they promised.
        save_maps: an empty folder to write the maps into, for `evaluate_maps`; None: they are not kept.
        device: as in `TrainSettings`.
        quiet: show no progress.

    Returns:
        The results of each protocol, with the image scores.

    Raises:
        RunError: there is no such run, its calibration is of another model, or its results cannot be written.
        DataError: the data set is not laid out as it should be, or has no test images.
        MetricError: the folder of `save_maps` holds maps already, or cannot be written.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    settings = run.settings()
    request = Request(
        data=tuple(full_spec(spec) for spec in data),
        classes=tuple(classes),
        views=tuple(views),
        split=split,
        bootstrap=bootstrap,
    )
    dataset = open_test_set(run, request, trained=run.trained_classes())
    processes = start_processes(device)
    model = load_model(run)
    checksum = model_checksum(model)
    calibration = read_calibration(run.path, checksum) if threshold is None else None
    own = {name: calibration.threshold(name).image for name in dataset.classes} if calibration else None
    evaluation = evaluate_model(
        model.to(processes.device),
        dataset,
        settings,
        processes=processes,
        protocols=protocols,
        bootstrap=bootstrap,
        threshold=threshold if own is None else own,
        save_maps=save_maps,
        curves=True,
        quiet=quiet,
    )
    notices = run.notices()
    if calibration is not None:
        notices += found_at_thresholds(calibration, evaluation)
    evaluation = replace(evaluation, results=tuple(_with_warnings(r, notices) for r in evaluation.results))
    if processes.first:
        forget(run)
        for results in evaluation.results:
            write_results(run.evaluation, results)
        keep(run, evaluation, request, checksum)
    return evaluation


def evaluate_model(
    model: InvAD,
    data: DataSet,
    settings: TrainSettings,
    *,
    processes: Processes | None = None,
    protocols: Sequence[Protocol] = PROTOCOLS,
    bootstrap: int = 0,
    threshold: float | Mapping[str, float] | None = None,
    save_maps: Path | str | None = None,
    curves: bool = False,
    quiet: bool = False,
) -> Evaluation:
    """Evaluate a model in memory on the test images of a data set; as `evaluate`, or with thresholds by class.

    With `curves` the evaluation has what a threshold does to the pixels, which takes one more pass over them. Several
    processes share the images; the first one gathers the maps, computes, and tells the others.
    """
    processes = processes or Processes(device=next(model.trained_parameters()).device)
    records = data.split("test")
    if not records:
        raise DataError(f"{data.root} holds no test image; expected some in CLASS/test/good/ and CLASS/test/DEFECT/")
    source = ImageSource(records, settings.size, cache="none", skip_unreadable=settings.skip_unreadable)
    check_masks(source.records)
    evaluator = Evaluator(spool=save_maps if processes.first else None)
    scores = fill(evaluator, model, source, processes=processes, quiet=quiet)
    if not processes.first:
        return processes.from_first(None)
    notices = (*data.notices, *skipped_notices(source, "test"))
    found = compute_all(evaluator, protocols, bootstrap, threshold)
    results = tuple(_with_warnings(one, notices) for one in found)
    sweeps = evaluator.sweeps() if curves else {}
    return processes.from_first(Evaluation(results=results, records=source.records, scores=scores, sweeps=sweeps))


def fill(
    evaluator: Evaluator, model: InvAD, source: ImageSource, *, processes: Processes | None = None, quiet: bool = True
) -> NDArray[np.float32]:
    """Give an evaluator the maps of all images of a source, in order; return the images' scores, (N,)."""
    scores = np.zeros(len(source), dtype=np.float32)
    everything = np.arange(len(source))
    for indices, maps, batch_scores in score_images(model, source, everything, processes=processes, quiet=quiet):
        chosen = [source.records[i] for i in indices]
        evaluator.update(
            maps,
            np.stack([source.mask(int(i)) for i in indices]),
            [record.class_name for record in chosen],
            np.array([record.anomalous for record in chosen]),
            scores=batch_scores,
            defects=[record.defect for record in chosen],
            samples=_samples(chosen),
        )
        scores[indices] = batch_scores
    return scores


def open_test_set(run: Run, request: Request, *, trained: Collection[str] = ()) -> DataSet:
    """Return the data that a run is evaluated on: what is given, and for the rest what it was trained with.

    Classes are called as they are among those `trained`, if given (see `invad.data.open_datasets`).

    Raises:
        DataError: the data set is not laid out as it should be.
    """
    asked = request.filled(run.settings())
    return open_datasets(asked.data, asked.classes, views=asked.views, split=asked.split, trained=trained)


def evaluate_maps(
    folder: Path | str,
    *,
    protocols: Sequence[Protocol] = PROTOCOLS,
    bootstrap: int = 0,
    threshold: float | None = None,
) -> tuple[Results, ...]:
    """Compute the metrics of maps on disk, without a model, and write the results beside them.

    Args:
        folder: maps in the format of `invad.metrics.spool`, by `save_maps` of `evaluate` or by another program.
        protocols: `exact`, `paper`, or both (see `invad.metrics`).
        bootstrap: resamples for 95 % confidence intervals over images; 0: none.
        threshold: the image score from which on an image counts as found, for the recall of each type of defect.

    Returns:
        The results of each protocol.

    Raises:
        MetricError: the folder holds no maps, or some that no metric can be computed from.
        RunError: the results cannot be written.
    """
    found = compute_all(Evaluator.from_maps(folder), protocols, bootstrap, threshold)
    for results in found:
        write_results(Path(folder), results)
    return found


def compute_all(
    evaluator: Evaluator,
    protocols: Sequence[Protocol],
    bootstrap: int,
    threshold: float | Mapping[str, float] | None,
) -> tuple[Results, ...]:
    """The results of each protocol; intervals for `exact` alone."""
    return tuple(
        evaluator.compute(protocol, bootstrap=bootstrap if protocol == "exact" else 0, threshold=threshold)
        for protocol in protocols
    )


OTHERS = ", of other classes: no normal image of this one was calibrated on"


def found_at_thresholds(calibration: Calibration, evaluation: Evaluation) -> tuple[str, ...]:
    """Say for each class what its calibrated threshold finds in the test images, beside what it promised."""
    texts = []
    names = np.array([record.class_name for record in evaluation.records])
    anomalous = np.array([record.anomalous for record in evaluation.records])
    scores = evaluation.scores.astype(np.float64)  # NumPy would round the threshold to float32, and onto a score
    known = any(calibration.scores)  # of some image the class
    for name in sorted(set(names.tolist())):
        threshold = calibration.threshold(name)
        above = (names == name) & (scores >= threshold.image)
        low, high = threshold.false_alarm_interval
        texts.append(
            f"{name}: the calibrated threshold {threshold.image:.4g} finds {(above & anomalous).sum()} of "
            f"{((names == name) & anomalous).sum()} anomalous images, and {(above & ~anomalous).sum()} false alarms in "
            f"{((names == name) & ~anomalous).sum()} normal ones (expected: {threshold.false_alarms:.2%}, between "
            f"{low:.2%} and {high:.2%}{'' if name in calibration.scores or not known else OTHERS})"
        )
    if calibration.test_images:
        texts.append(f"{calibration.test_images} test images were calibrated on: the thresholds know them")
    return tuple(texts)


def _samples(records: Sequence[Record]) -> list[str] | None:
    """The objects that the images show, if the data set tells them all."""
    names = [record.sample for record in records if record.sample is not None]
    return names if len(names) == len(records) else None


Scored = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]
"""Indices (B,) of images, their maps (B, H, W) and scores (B,)."""


def score_images(
    model: InvAD,
    source: ImageSource,
    chosen: NDArray[np.int64],
    *,
    processes: Processes | None = None,
    batch_size: int = BATCH_SIZE,
    quiet: bool = True,
) -> Iterator[Scored]:
    """Yield indices, maps and scores of the chosen images of a source, batch by batch, in order.

    Several processes take turns with the batches, which are those of one process, so that the maps are the same to the
    bit. The first one yields all of them, the others none.
    """
    device = next(model.trained_parameters()).device
    processes = processes or Processes(device=device)
    blocks = [chosen[first : first + batch_size] for first in range(0, len(chosen), batch_size)]
    mine = score_blocks(model, source, blocks[processes.rank :: processes.count], device)
    rounds = range(-(-len(blocks) // processes.count))
    hidden = quiet or not processes.first
    for _ in track(rounds, "scoring ", console=Console(stderr=True), disable=hidden, transient=True):
        for scored in processes.gather(next(mine, None)):
            if scored is not None and processes.first:
                yield scored


def score_blocks(
    model: InvAD, source: ImageSource, blocks: Sequence[NDArray[np.int64]], device: torch.device
) -> Iterator[Scored]:
    """Yield indices, maps and scores of each block of images."""
    model.eval()
    for indices, images in batches(source, blocks):
        with torch.inference_mode(), exact_arithmetic():
            features, predictions = model(to_device(images, device))
            maps = anomaly_map(features, predictions, images.shape[1:3], sigma=model.sigma)  # (B, H, W)
            scored = indices, maps.cpu().numpy(), image_score(maps).cpu().numpy()
        yield scored


def skipped_notices(source: ImageSource, what: str) -> tuple[str, ...]:
    """Say which images a source leaves out because they cannot be read, if any."""
    if not source.skipped:
        return ()
    first = ", ".join(str(path) for path in source.skipped[:5])
    return (f"{len(source.skipped)} {what} images cannot be read and were left out: {first}",)


def _with_warnings(results: Results, notices: Sequence[str]) -> Results:
    """The results with more warnings, none of them twice."""
    return replace(results, warnings=tuple(dict.fromkeys((*results.warnings, *notices))))


def write_results(folder: Path, results: Results) -> None:
    """Write the results of one protocol as `results-PROTOCOL.json`, `.csv` and `.md`."""
    intervals = results.resamples > 0
    texts = {
        "json": to_json(results),
        "csv": to_csv(results, intervals=intervals),
        "md": to_markdown(results, intervals=intervals),
    }
    for suffix, text in texts.items():
        write_text(folder / f"results-{results.protocol}.{suffix}", text)
