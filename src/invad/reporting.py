"""A run and its evaluation in, a page to look at out."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from invad.data import ImageSource
from invad.data.images import read_image, read_mask
from invad.devices import choose_device
from invad.errors import RunError, command
from invad.evaluation import score_images
from invad.inference.calibration import Calibration, read_calibration
from invad.inference.checksum import model_checksum
from invad.inference.scorer import plain_scorer
from invad.metrics import UndefinedMetricError, sweep_images
from invad.model import InvAD
from invad.provenance import look_at_data, published_row, tell_facts
from invad.records import GOOD, Record
from invad.report import ClassContent, Content, Cut, Example, LearningCurve, pick_examples, write_report
from invad.report.examples import Choice
from invad.report.gallery import shrink, shrink_mask
from invad.runs import Run, load_model
from invad.saved_evaluation import Evaluation, Kept, read_kept
from invad.training.curve import losses, smooth

MANY = 100
"""Losses from which on their running mean is drawn, too; of fewer it would only lag behind."""


def report(run: Run | Path | str, *, out: Path | None = None, device: str = "auto") -> Path:
    """Write the page of a run's last evaluation; return its path.

    Only the images of its galleries are scored once more, so that no evaluation has to keep its maps.

    Args:
        run: an evaluated run, or its folder.
        out: the file to write; None: `evaluation/report.html` in the folder of the run.
        device: as in `TrainSettings`.

    Raises:
        RunError: the run has not been evaluated since model and calibration are what they are, or cannot be written.
        ImageError: an image of the galleries is gone.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    model = load_model(run)
    kept = read_kept(run, model_checksum(model))
    if kept is None:
        raise RunError(
            f"{run.path} has not been evaluated since its model and calibration are what they are; run "
            f"`{command('evaluate', run.path)}`"
        )
    path = out or run.evaluation / "report.html"
    write_report(path, _content(run, kept, model, device))
    return path


def is_evaluated(run: Run | Path | str) -> bool:
    """Return whether a run's last evaluation is of the model and calibration that it has now."""
    run = run if isinstance(run, Run) else Run.open(run)
    return read_kept(run, model_checksum(load_model(run))) is not None


def _content(run: Run, kept: Kept, model: InvAD, device: str) -> Content:
    evaluation = kept.evaluation
    calibration = read_calibration(run.path, kept.model)
    learnt, held_back = losses(run.events())
    return Content(
        facts=tell_facts(run, kept),
        results=evaluation.results,
        published=published_row(run, kept),
        classes=tuple(class_contents(evaluation, calibration)),
        examples=tuple(_examples(run, evaluation, model, device)),
        scale=run.scale(),
        curve=LearningCurve(
            learnt=tuple(learnt),
            smoothed=tuple(smooth(learnt)) if len(learnt) > MANY else (),
            held_back=tuple(held_back),
        ),
        check=look_at_data(run),
    )


def class_contents(evaluation: Evaluation, calibration: Calibration | None) -> Iterable[ClassContent]:
    """Yield the test images of each class with the thresholds that a reader may want to see."""
    given = evaluation.results[0].threshold
    warnings = dict.fromkeys(text for results in evaluation.results for text in results.warnings)
    names = [record.class_name for record in evaluation.records]
    for name in sorted(set(names)):
        own = [i for i, one in enumerate(names) if one == name]
        defects = tuple(evaluation.records[i].defect for i in own)
        scores = evaluation.scores[own]
        sweep = evaluation.sweeps.get(name)
        cuts = [*_given(given), *_calibrated(calibration, name), *_best(defects, scores)]
        pixels = [*_given(given), *_calibrated(calibration, name, pixels=True)]
        if sweep is not None:
            pixels.append(Cut(name="best F1", value=sweep.best, origin=BEST.format("pixels")))
        yield ClassContent(
            name=name,
            defects=defects,
            scores=scores,
            cuts=tuple(cuts),
            pixel_cut=pixels[0] if pixels else None,
            sweep=sweep,
            notes=tuple(text for text in warnings if text.startswith(f"{name}: ")),
        )


BEST = "the threshold with the best F1 of {} on these very test images, which flatters it"


def _given(threshold: float | None) -> list[Cut]:
    if threshold is None:
        return []
    return [Cut(name="given", value=threshold, origin="the threshold that the evaluation was given")]


def _calibrated(calibration: Calibration | None, name: str, *, pixels: bool = False) -> list[Cut]:
    if calibration is None:
        return []
    found = calibration.threshold(name)
    what = "pixels" if pixels else "images"
    origin = f"the threshold of {what} that the run is calibrated to"
    if calibration.method == "false-alarms" and not pixels:
        low, high = found.false_alarm_interval
        origin += f", which promises {found.false_alarms:.1%} false alarms (between {low:.1%} and {high:.1%})"
    return [Cut(name="calibrated", value=found.pixel if pixels else found.image, origin=origin)]


def _best(defects: Sequence[str], scores: NDArray[np.float32]) -> list[Cut]:
    """The threshold with the best F1, where there are good and defective images."""
    try:
        best = sweep_images(scores, [defect != GOOD for defect in defects]).best
    except UndefinedMetricError:
        return []
    return [Cut(name="best F1", value=best, origin=BEST.format("images"))]


def _examples(run: Run, evaluation: Evaluation, model: InvAD, device: str) -> Iterable[Example]:
    """The images that are worth a look, with their maps."""
    records = evaluation.records
    picked = pick_examples(evaluation.scores, [r.class_name for r in records], [r.defect for r in records])
    chosen = sorted({choice.index for choice in picked})
    maps = make_maps(run, model, [records[i] for i in chosen], device)
    by_index = dict(zip(chosen, maps, strict=True))
    return [make_example(records[c.index], evaluation.scores[c.index], by_index[c.index], c) for c in picked]


def make_maps(run: Run, model: InvAD, records: Sequence[Record], device: str) -> list[NDArray[np.float32]]:
    """Return the map of each image, (h, w)."""
    size = run.settings().size
    scorer = plain_scorer(model.to(choose_device(device)), size)
    scored = score_images(scorer, ImageSource(records, size, cache="none"), np.arange(len(records)))
    return [one for _, maps, _ in scored for one in maps]


def make_example(record: Record, score: np.float32, anomaly_map: NDArray[np.float32], choice: Choice) -> Example:
    """Return an image of the gallery, with its picture in its own proportions."""
    return Example(
        class_name=record.class_name,
        defect=record.defect,
        label="/".join(record.image.parts[-3:]),
        score=float(score),
        image=shrink(read_image(record.image)),
        anomaly_map=anomaly_map,
        mask=None if record.mask is None else shrink_mask(read_mask(record.mask)),
        kind=choice.kind,
    )
