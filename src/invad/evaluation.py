"""A model and data in, all metrics out."""

import math
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
from invad.errors import DataError, SettingsError
from invad.files import write_text
from invad.inference.calibration import Calibration, read_calibration
from invad.inference.checksum import model_checksum
from invad.inference.predictor import load
from invad.inference.scorer import Scorer, plain_scorer
from invad.metrics import PROTOCOLS, Evaluator, Protocol, Results, to_csv, to_json, to_markdown
from invad.processes import Processes, start_processes
from invad.records import Record
from invad.runs import Run, load_model
from invad.saved_evaluation import Evaluation, Request, forget, keep

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
    out: Path | str | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Evaluation:
    """Evaluate a run on test images and write the results into its folder `evaluation`, with all that a report needs.

    An exported file is evaluated likewise, as what runs it computes.

    Args:
        run: a run, its folder, or a file that `invad export` made.
        data: data sets as LAYOUT:ROOT; none given: those that the run was trained on. A file does not know those.
        classes: the classes to evaluate; none given: all.
        views: the cameras to evaluate; none given: all, or those of the run where no data is given.
        split: which split of COCO-AD; None: the run's where no data is given.
        protocols: `exact`, `paper`, or both (see `invad.metrics`).
        bootstrap: resamples for 95 % confidence intervals over images, of the protocol `exact` alone; 0: none.
        threshold: the image score from which on an image counts as found, for the recall of each type of defect;
            None: those of the calibration, if there is one, and a note of what they find and what they promised.
        save_maps: an empty folder to write the maps into, for `evaluate_maps`; None: they are not kept.
        out: of an exported file: a folder, new or empty, for its results; None: they are returned alone.
        device: as in `TrainSettings`.
        quiet: show no progress.

    Returns:
        The results of each protocol, with the image scores.

    Raises:
        RunError: there is no such run, its calibration is of another model, or its results cannot be written.
        ModelFileError: the file is damaged, changed, of a newer format, or not made by `invad export`.
        SettingsError: no data is given for a file, a folder for the results of a run, or one that is not empty; the
            threshold is no number, or the resamples are fewer than none, or of no protocol that has intervals.
        DataError: the data set is not laid out as it should be, or has no test images.
        MetricError: the folder of `save_maps` holds maps already, or a part of some, or cannot be written.
    """
    _require_numbers(protocols, bootstrap, threshold)
    request = Request(
        data=tuple(full_spec(spec) for spec in data),
        classes=tuple(classes),
        views=tuple(views),
        split=split,
        bootstrap=bootstrap,
    )
    if not isinstance(run, Run) and Path(run).is_file():
        return _evaluate_file(
            Path(run),
            request,
            protocols=protocols,
            threshold=threshold,
            save_maps=save_maps,
            out=None if out is None else Path(out),
            device=device,
            quiet=quiet,
        )
    run = run if isinstance(run, Run) else Run.open(run)
    if out is not None:
        raise SettingsError(f"the results of {run.path} go into its own folder; leave out --out")
    settings = run.settings()
    dataset = open_test_set(run, request, trained=run.trained_classes())
    processes = start_processes(device)
    model = load_model(run)
    checksum = model_checksum(model)
    calibration = read_calibration(run.path, checksum) if threshold is None else None
    evaluation = evaluate_scorer(
        plain_scorer(model.to(processes.device), settings.size),
        dataset,
        skip_unreadable=settings.skip_unreadable,
        processes=processes,
        protocols=protocols,
        bootstrap=bootstrap,
        threshold=_thresholds(calibration, dataset) or threshold,
        save_maps=save_maps,
        curves=True,
        quiet=quiet,
    )
    evaluation = _noted(evaluation, calibration, run.notices())
    if processes.first:
        forget(run)
        for results in evaluation.results:
            write_results(run.evaluation, results)
        keep(run, evaluation, request, checksum)
    return evaluation


def _evaluate_file(
    path: Path,
    request: Request,
    *,
    protocols: Sequence[Protocol],
    threshold: float | None,
    save_maps: Path | str | None,
    out: Path | None,
    device: str,
    quiet: bool,
) -> Evaluation:
    """`evaluate` of an exported file, which knows its thresholds and classes, and nothing of where data lie."""
    if not request.data:
        raise SettingsError(f"{path} does not say where its data lie; name some: --data LAYOUT:ROOT")
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SettingsError(f"{out} exists and is no empty folder; choose another --out")
    predictor = load(path, device=device)
    dataset = open_datasets(
        request.data, request.classes, views=request.views, split=request.split, trained=predictor.classes
    )
    calibration = predictor.calibration if threshold is None else None
    processes = start_processes("cpu")
    evaluation = evaluate_scorer(
        predictor.scorer,
        dataset,
        skip_unreadable=False,
        processes=processes,
        protocols=protocols,
        bootstrap=request.bootstrap,
        threshold=_thresholds(calibration, dataset) or threshold,
        save_maps=save_maps,
        quiet=quiet,
    )
    evaluation = _noted(evaluation, calibration, ())
    if processes.first and out is not None:
        for results in evaluation.results:
            write_results(out, results)
    return evaluation


def _thresholds(calibration: Calibration | None, data: DataSet) -> dict[str, float] | None:
    """The threshold of each class by a calibration, if there is one."""
    return {name: calibration.threshold(name).image for name in data.classes} if calibration else None


def _noted(evaluation: Evaluation, calibration: Calibration | None, notices: Sequence[str]) -> Evaluation:
    """An evaluation with what else is to be said of it: notices, and what the calibrated thresholds find."""
    if calibration is not None:
        notices = (*notices, *found_at_thresholds(calibration, evaluation))
    return replace(evaluation, results=tuple(_with_warnings(one, notices) for one in evaluation.results))


def evaluate_scorer(
    scorer: Scorer,
    data: DataSet,
    *,
    skip_unreadable: bool,
    processes: Processes,
    protocols: Sequence[Protocol] = PROTOCOLS,
    bootstrap: int = 0,
    threshold: float | Mapping[str, float] | None = None,
    save_maps: Path | str | None = None,
    curves: bool = False,
    quiet: bool = False,
) -> Evaluation:
    """Evaluate a model that is open on the test images of a data set; as `evaluate`, or with thresholds by class.

    With `curves` the evaluation has what a threshold does to the pixels, which takes one more pass over them. Several
    processes share the images; the first one gathers the maps, computes, and tells the others.
    """
    records = data.split("test")
    if not records:
        raise DataError(f"{data.root} holds no test image; expected some in CLASS/test/good/ and CLASS/test/DEFECT/")
    source = ImageSource(records, scorer.size, cache="none", skip_unreadable=skip_unreadable)
    check_masks(source.records)
    evaluator = Evaluator(spool=save_maps if processes.first else None)
    scores = fill(evaluator, scorer, source, processes=processes, quiet=quiet)
    if not processes.first:
        return processes.from_first(None)
    notices = (*data.notices, *skipped_notices(source, "test"))
    found = compute_all(evaluator, protocols, bootstrap, threshold)
    results = tuple(_with_warnings(one, notices) for one in found)
    sweeps = evaluator.sweeps() if curves else {}
    return processes.from_first(Evaluation(results=results, records=source.records, scores=scores, sweeps=sweeps))


def fill(
    evaluator: Evaluator, scorer: Scorer, source: ImageSource, *, processes: Processes | None = None, quiet: bool = True
) -> NDArray[np.float32]:
    """Give an evaluator the maps of all images of a source, in order; return the images' scores, (N,)."""
    scores = np.zeros(len(source), dtype=np.float32)
    everything = np.arange(len(source))
    for indices, maps, batch_scores in score_images(scorer, source, everything, processes=processes, quiet=quiet):
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
        bootstrap: resamples for 95 % confidence intervals over images, of the protocol `exact` alone; 0: none.
        threshold: the image score from which on an image counts as found, for the recall of each type of defect.

    Returns:
        The results of each protocol.

    Raises:
        MetricError: the folder holds no maps, or only a part of them, or some that no metric can be computed from.
        SettingsError: as of `evaluate`.
        RunError: the results cannot be written.
    """
    _require_numbers(protocols, bootstrap, threshold)
    found = compute_all(Evaluator.from_maps(folder), protocols, bootstrap, threshold)
    for results in found:
        write_results(Path(folder), results)
    return found


def _require_numbers(protocols: Sequence[Protocol], bootstrap: int, threshold: float | None) -> None:
    """Refuse before anything is computed what would be refused, or draw nonsense, at the end."""
    if bootstrap < 0:
        raise SettingsError(f"the resamples of --bootstrap must be 0 or more, not {bootstrap}")
    if bootstrap and "exact" not in protocols:
        raise SettingsError(
            f"--bootstrap {bootstrap} draws intervals of the protocol exact alone, which is not asked for: choose "
            f"--protocol both, or leave --bootstrap out"
        )
    if threshold is not None and not math.isfinite(threshold):
        raise SettingsError(f"a threshold is a number that scores reach or do not, not {threshold}")


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
    scorer: Scorer,
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
    processes = processes or Processes(device=torch.device("cpu"))
    blocks = [chosen[first : first + batch_size] for first in range(0, len(chosen), batch_size)]
    mine = score_blocks(scorer, source, blocks[processes.rank :: processes.count])
    rounds = range(-(-len(blocks) // processes.count))
    hidden = quiet or not processes.first
    for _ in track(rounds, "scoring ", console=Console(stderr=True), disable=hidden, transient=True):
        for scored in processes.gather(next(mine, None)):
            if scored is not None and processes.first:
                yield scored


def score_blocks(scorer: Scorer, source: ImageSource, blocks: Sequence[NDArray[np.int64]]) -> Iterator[Scored]:
    """Yield indices, maps and scores of each block of images."""
    for indices, images in batches(source, blocks):
        yield indices, *scorer(images)


def skipped_notices(source: ImageSource, what: str) -> tuple[str, ...]:
    """Say which images a source leaves out because they cannot be read, if any."""
    if not source.skipped:
        return ()
    first = ", ".join(str(path) for path in source.skipped[:5])
    return (f"{len(source.skipped)} {what} images were left out, for they or their masks cannot be read: {first}",)


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
