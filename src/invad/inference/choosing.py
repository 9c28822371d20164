"""A scorer and images in, a calibration out: how thresholds of runs and of exported files are chosen."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from invad.data.index import listed
from invad.errors import ImageError
from invad.inference.calibration import UNKNOWN, Calibration, Method
from invad.inference.predictor import Predictor
from invad.inference.scorer import Scorer
from invad.inference.thresholds import (
    Threshold,
    from_f1max,
    from_normal,
    from_recall,
    is_reachable,
    is_recall_reachable,
)

LABELLED = 10
"""Normal and anomalous images that a class needs for a threshold of its own by F1-max."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One image to calibrate on."""

    path: Path
    class_name: str
    anomalous: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What thresholds are to promise."""

    method: Method
    rate: float | None
    """The false-alarm rate or the recall."""
    regions: float | None

    def threshold(self, normal: Sequence[float], anomalous: Sequence[float]) -> Threshold:
        """Return the threshold from these scores."""
        if self.method == "false-alarms":
            assert self.rate is not None
            return from_normal(normal, self.rate, regions=self.regions)
        if self.method == "recall":
            assert self.rate is not None
            return from_recall(normal, anomalous, self.rate, regions=self.regions)
        return from_f1max(normal, anomalous, regions=self.regions)

    def has_enough(self, normal: int, anomalous: int) -> bool:
        """Return whether so many images of a class give it a threshold of its own."""
        if self.regions is not None and not is_reachable(normal, self.regions):
            return False
        if self.method == "false-alarms":
            assert self.rate is not None
            return is_reachable(normal, self.rate)
        if self.method == "recall":
            assert self.rate is not None
            return normal > 0 and is_recall_reachable(anomalous, self.rate)
        return min(normal, anomalous) >= LABELLED


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """The images to calibrate on, and what is to be said of them."""

    samples: Sequence[Sample]
    origin: str
    """Where they came from."""
    test_images: int = 0
    """How many of them are test images of the run."""
    notices: Sequence[str] = ()
    """What is unusual about them, a sentence each."""
    places: Sequence[str] = ()
    """Where on this machine that is, a sentence each."""


def calibrate_scorer(
    scorer: Scorer,
    images: Images,
    wish: Wish,
    *,
    model: str,
    classes: Collection[str] = (),
    skip_unreadable: bool = False,
    quiet: bool = True,
) -> Calibration:
    """Return the calibration of a scorer, a run's or an exported file's, from its own scores of these images.

    Args:
        scorer: decides by the thresholds later on, as it is: its precision and runtime move its scores.
        images: what to calibrate on.
        wish: what the thresholds are to promise.
        model: the checksum of the model.
        classes: what the model was trained on, to say which of them have no image here; none: not known.
        skip_unreadable: leave out images that cannot be read, and say so.
        quiet: show no progress.

    Raises:
        ImageError: an image cannot be read, and is not to be skipped.
        MetricError: there is no normal image, or the wish needs anomalous ones and there is none.
    """
    scores, unreadable = _scores(Predictor(scorer), images.samples, skip_unreadable=skip_unreadable, quiet=quiet)
    normal = {name: values for (name, anomalous), values in scores.items() if not anomalous}
    defective = {name: values for (name, anomalous), values in scores.items() if anomalous}
    overall = wish.threshold(_joined(normal.values()), _joined(defective.values()))
    own = {
        name: wish.threshold(values, defective.get(name, []))
        for name, values in normal.items()
        if name != UNKNOWN and wish.has_enough(len(values), len(defective.get(name, [])))
    }
    return Calibration(
        method=wish.method,
        wanted=wish.rate,
        regions=wish.regions,
        overall=overall,
        classes=own,
        scores={name: tuple(values) for name, values in sorted(normal.items())},
        images=images.origin,
        test_images=images.test_images,
        model=model,
        notices=(
            *images.notices,
            *([f"{len(unreadable)} images cannot be read and were left out"] if unreadable else []),
            *_shortages(wish, overall, normal, own),
            *_without_images(classes, normal),
        ),
        places=(*images.places, *([f"cannot be read: {listed(unreadable)}"] if unreadable else [])),
    )


def _scores(
    predictor: Predictor, samples: Sequence[Sample], *, skip_unreadable: bool, quiet: bool
) -> tuple[dict[tuple[str, bool], list[float]], list[Path]]:
    """The sorted scores of every class, normal and anomalous apart; and what cannot be read, if skipped."""
    outcomes = predictor.outcomes([sample.path for sample in samples], batch_size=16)
    shown = track(
        outcomes, "calibrating", total=len(samples), console=Console(stderr=True), disable=quiet, transient=True
    )
    scores: dict[tuple[str, bool], list[float]] = {}
    unreadable = []
    for sample, outcome in zip(samples, shown, strict=True):
        if not isinstance(outcome, ImageError):
            scores.setdefault((sample.class_name, sample.anomalous), []).append(outcome.score)
        elif skip_unreadable:
            unreadable.append(sample.path)
        else:
            raise outcome
    return {key: sorted(values) for key, values in scores.items()}, unreadable


def _shortages(
    wish: Wish, overall: Threshold, normal: dict[str, list[float]], own: dict[str, Threshold]
) -> Iterator[str]:
    """Say where there are too few images for what is wanted."""
    if wish.method == "false-alarms" and wish.rate is not None and not is_reachable(overall.normal, wish.rate):
        yield (
            f"{overall.normal} normal images cannot promise a false-alarm rate of {wish.rate:.3g}; the threshold lies "
            f"just above their largest score, which promises {overall.false_alarms:.3g}"
        )
    if wish.method == "recall" and wish.rate is not None and not is_recall_reachable(overall.anomalous, wish.rate):
        yield (
            f"{overall.anomalous} anomalous images cannot promise a recall of {wish.rate:.3g}; the threshold is their "
            f"lowest score, which promises {overall.recall:.3g}"
        )
    if wish.regions is not None and not is_reachable(overall.normal, wish.regions):
        yield (
            f"{overall.normal} normal images cannot promise regions in {wish.regions:.3g} of them; the pixel threshold "
            f"lies just above their largest value, which promises {1 / (overall.normal + 1):.3g}"
        )
    few = [f"{name} ({len(values)})" for name, values in sorted(normal.items()) if name != UNKNOWN and name not in own]
    if few and len(normal) > 1:
        yield f"too few images for thresholds of their own, so the overall ones hold: {', '.join(few)}"


def _without_images(classes: Collection[str], normal: Collection[str]) -> Iterator[str]:
    """Say which trained classes have no calibration image, where that of others is known."""
    missing = sorted(set(classes) - set(normal))
    if missing and set(normal) - {UNKNOWN}:
        yield (
            f"no normal image of {', '.join(missing)} was calibrated on, so the overall thresholds hold there, which "
            f"come from images of other classes and promise nothing for these"
        )


def _joined(parts: Iterable[list[float]]) -> list[float]:
    return [score for part in parts for score in part]
