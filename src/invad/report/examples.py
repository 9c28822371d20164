"""Which few images show what a model can do and where it fails."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from invad.errors import MetricError

Kind = Literal["best", "middle", "worst"]


def pick_examples(scores: ArrayLike, labels: ArrayLike, classes: Sequence[str]) -> list[tuple[int, Kind]]:
    """Return (index, kind) of up to four images per class, classes in alphabetical order, no image twice.

    best: the defective image with the highest score. middle: the one with the median score (the lower of two).
    worst: the one with the lowest, and then the normal image with the highest, the likeliest false alarm. A class
    without defective images shows its normal ones with the lowest, the median and the highest score instead. Among
    equal scores the first image is taken, so that the choice is the same every time.

    Args:
        scores: image scores, (N,).
        labels: whether each image is anomalous, (N,).
        classes: the class of each image, N of them.

    Raises:
        MetricError: the three do not have the same length, or a score is NaN or infinite.

    Example:
        >>> pick_examples([0.1, 0.2, 0.9, 0.5, 0.7], [False, False, True, True, True], ["nut"] * 5)
        [(2, 'best'), (4, 'middle'), (3, 'worst'), (1, 'worst')]
    """
    values = np.asarray(scores, dtype=np.float64)
    anomalous = np.asarray(labels, dtype=bool)
    names = np.asarray(classes, dtype=object)
    if values.ndim != 1 or not values.shape == anomalous.shape == names.shape:
        raise MetricError(
            f"expected a score, a label and a class for every image; got {values.shape}, {anomalous.shape} "
            f"and {names.shape} of them"
        )
    if not np.isfinite(values).all():
        raise MetricError(f"expected finite scores; image {int(np.argmin(np.isfinite(values)))} has another")
    picked: list[tuple[int, Kind]] = []
    for name in sorted(set(classes)):
        inside = names == name
        picked += _of_class(values, np.flatnonzero(inside & anomalous), np.flatnonzero(inside & ~anomalous))
    return picked


def _of_class(
    scores: NDArray[np.float64], defective: NDArray[np.intp], normal: NDArray[np.intp]
) -> Iterator[tuple[int, Kind]]:
    """The examples of one class; defective and normal are indices into scores."""
    if not defective.size:
        ascending = normal[np.argsort(scores[normal], kind="stable")]
        yield from _three(ascending)
        return
    descending = defective[np.argsort(-scores[defective], kind="stable")]
    yield from _three(descending)
    if normal.size:
        yield int(normal[np.argmax(scores[normal])]), "worst"


def _three(ordered: NDArray[np.intp]) -> Iterator[tuple[int, Kind]]:
    """First, middle and last of images from best to worst, each image once."""
    yield int(ordered[0]), "best"
    if len(ordered) > 2:
        yield int(ordered[len(ordered) // 2]), "middle"
    if len(ordered) > 1:
        yield int(ordered[-1]), "worst"
