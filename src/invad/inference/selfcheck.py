"""Does an exported model say what its run says? Asked at every export, on real images where there are any."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from invad.inference.scorer import Scorer, Scores

Scoring = Callable[[NDArray[np.uint8]], Scores]
TINY = float(np.finfo(np.float32).tiny)
BOUND = 1e-4
"""The largest difference of an fp32 map that is rounding, as a share of the map's range."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Differences:
    """The largest differences between two scorers over some images."""

    map: float
    """Of a map's value, as a share of the range of all reference maps."""
    score: float
    """Of an image's score, in the score's own unit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """What a lower precision costs, in points of 100."""

    measure: str
    """`image AUROC`, or `agreement` where there are no labels."""
    before: float
    after: float

    @property
    def drop(self) -> float:
        """How much is lost; below 0 where the lower precision happens to do better."""
        return self.before - self.after


def compare(reference: Scoring, scorer: Scoring, images: Sequence[NDArray[np.uint8]]) -> Differences:
    """Return the largest differences between two ways to score, one image (H, W, 3) at a time.

    Example:
        >>> def zeros(images):
        ...     return np.zeros((len(images), 2, 2), np.float32), np.zeros(len(images), np.float32)
        >>> def ones(images):
        ...     return np.eye(2, dtype=np.float32)[None], np.ones(len(images), np.float32)
        >>> compare(ones, zeros, [np.zeros((4, 4, 3), np.uint8)])
        Differences(map=1.0, score=1.0)
    """
    low, high, of_map, of_score = np.inf, -np.inf, 0.0, 0.0
    for image in images:
        (wanted, wanted_score), (found, found_score) = reference(image[None]), scorer(image[None])
        low, high = min(low, float(wanted.min())), max(high, float(wanted.max()))
        of_map = max(of_map, float(np.abs(wanted.astype(np.float64) - found).max()))
        of_score = max(of_score, float(np.abs(wanted_score.astype(np.float64) - found_score).max()))
    return Differences(map=of_map / max(high - low, TINY), score=of_score)


def measure_loss(
    reference: Scorer, scorer: Scorer, images: Sequence[NDArray[np.uint8]], labels: Sequence[tuple[str, bool]]
) -> Loss:
    """Return what the scorer loses against the reference: image AUROC where there are labels, else agreement.

    Args:
        reference: the run's.
        scorer: the exported one.
        images: (H, W, 3) each.
        labels: the class of each, and whether it is anomalous; empty: not known. The AUROC is the mean of the classes.
    """
    before, after = (scores_of(one, images) for one in (reference, scorer))
    if not labels:
        return Loss(measure="agreement", before=100.0, after=100.0 * agreement(before, after))
    return Loss(measure="image AUROC", before=_mean_auroc(before, labels), after=_mean_auroc(after, labels))


def _mean_auroc(scores: NDArray[np.float32], labels: Sequence[tuple[str, bool]]) -> float:
    """The mean over the classes of the image AUROC, in points."""
    from invad.metrics import auroc_image

    names = np.array([name for name, _ in labels])
    anomalous = np.array([label for _, label in labels])
    return 100.0 * float(np.mean([auroc_image(scores[names == n], anomalous[names == n]) for n in np.unique(names)]))


def scores_of(scorer: Scorer, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return the score of each image (H, W, 3), (N,)."""
    return np.concatenate([scorer(image[None])[1] for image in images])


def agreement(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """Return the share of images that two sets of scores (N,) decide alike, in [0, 1].

    It is the mean over as many thresholds as there are images: the scores `before` themselves.

    Example:
        >>> scores = np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32)
        >>> agreement(scores, scores)
        1.0
        >>> agreement(scores, np.array([0.1, 0.2, 0.3, 0.1], dtype=np.float32))  # one of four crosses three of four
        0.8125
    """
    alike = (before[:, None] >= before[None, :]) == (after[:, None] >= before[None, :])
    return float(alike.mean())
