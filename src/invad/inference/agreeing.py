"""Whether an exported file decides as its run does, at the thresholds that the run is calibrated to.

A lower precision may move all scores a little in one direction. Ranks and the AUROC do not show that; the number of
false alarms does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from invad.inference.calibration import Calibration
from invad.inference.scorer import Scorer, Scores


@dataclass(frozen=True, kw_only=True, slots=True)
class Decisions:
    """How a file decides at the thresholds of its run."""

    images: int
    different: int
    """Images that the one calls anomalous and the other normal."""
    shift: float
    """The median over the images of the file's score less the run's."""


class Recorded:
    """A scorer that keeps the scores it gives, in order."""

    def __init__(self, scorer: Scorer) -> None:
        self.size = scorer.size
        self.scores: list[float] = []
        self._scorer = scorer

    def __call__(self, images: NDArray[np.uint8]) -> Scores:
        """Return what the scorer does."""
        maps, scores = self._scorer(images)
        self.scores += scores.tolist()
        return maps, scores


def compare_decisions(
    calibration: Calibration, before: Sequence[float], after: Sequence[float], classes: Sequence[str] = ()
) -> Decisions:
    """Return how scores (N,) of a file decide beside those of its run, of the same images.

    Args:
        calibration: the run's.
        before: the run's scores.
        after: the file's.
        classes: what each image shows, which decides by its class's own threshold; none: not known.

    Example:
        >>> from invad.inference.thresholds import from_normal
        >>> scores = (0.1, 0.2, 0.3)
        >>> calibration = Calibration(
        ...     method="false-alarms", wanted=0.25, overall=from_normal(scores, 0.25), scores={"": scores}, images="",
        ...     model="",
        ... )
        >>> found = compare_decisions(calibration, scores, [score + 0.125 for score in scores])
        >>> found.images, found.different, found.shift
        (3, 2, 0.125)
    """
    thresholds = [calibration.threshold(name).image for name in classes] or [calibration.overall.image] * len(before)
    pairs = list(zip(before, after, thresholds, strict=True))
    return Decisions(
        images=len(pairs),
        different=sum((one >= threshold) != (other >= threshold) for one, other, threshold in pairs),
        shift=float(np.median([other - one for one, other, _ in pairs])),
    )
