"""The two loops over every normal pixel; the rest of the metrics touches defect pixels only."""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from invad.metrics.checks import FloatArray

IntArray = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]

BUCKETS_PER_CUT = 16
MOST_BUCKETS = 1 << 21
"""Equal slices of the cuts' range. Many leave few cuts in each to choose from, but the table must stay in a cache."""


@numba.njit(cache=True)
def _bucket(score: float, low: float, scale: float, buckets: int) -> int:
    place = (score - low) * scale
    return int(min(max(place, 0.0), buckets - 1.0))


@numba.njit(cache=True)
def _bucket_starts(cuts: Any, low: float, scale: float, buckets: int) -> Any:
    """Number of cuts in the buckets before each, (buckets + 1,)."""
    starts = np.zeros(buckets + 1, np.int32)
    for cut in cuts:
        starts[_bucket(cut, low, scale, buckets) + 1] += 1
    for bucket in range(buckets):
        starts[bucket + 1] += starts[bucket]
    return starts


@numba.njit(cache=True)
def _count(scores: Any, cuts: Any, starts: Any, low: float, scale: float, below: Any, at: Any) -> None:
    """Add each score to below[k] if exactly k cuts are below it, and to at[k] if it equals cuts[k]."""
    buckets, last = len(starts) - 1, len(cuts) - 1
    for index in range(len(scores)):
        score = np.float64(scores[index])
        bucket = _bucket(score, low, scale, buckets)
        first = np.int64(starts[bucket])
        left = np.int64(starts[bucket + 1]) - first
        while left > 0:  # bisection without a branch that the processor could guess wrongly
            half = (left + 1) >> 1
            first += half if cuts[first + half - 1] < score else 0
            left -= half
        below[first] += 1
        if first <= last and cuts[first] == score:
            at[first] += 1


def count_from(parts: list[FloatArray], cuts: Float64Array) -> tuple[IntArray, IntArray]:
    """How many scores are >= each cut, and how many are > it; both (K,).

    The place of a score among the cuts is looked up in a table of equal slices and finished by bisection, so that no
    pixel is sorted. A slice's number never falls while the score rises, rounding included, hence the counts are exact.

    Args:
        parts: float32 or float64 arrays (n,), one per image.
        cuts: ascending, distinct, (K,).
    """
    below, at = np.zeros(len(cuts) + 1, np.int64), np.zeros(len(cuts), np.int64)
    buckets = min(MOST_BUCKETS, 1024 + BUCKETS_PER_CUT * len(cuts))
    low, scale = _scale(cuts, buckets)
    starts = _bucket_starts(cuts, low, scale, buckets)
    for part in parts:
        _count(part, cuts, starts, low, scale, below, at)
    above = np.cumsum(below[::-1])[::-1][1:]  # more than k cuts are below those above cuts[k]
    return above + at, above


def _scale(cuts: Float64Array, buckets: int) -> tuple[float, float]:
    """Lowest cut and slices per unit; any positive scale is right, so 1 where the range has no finite reciprocal."""
    if len(cuts) == 0:
        return 0.0, 1.0
    with np.errstate(over="ignore", divide="ignore"):
        scale = buckets / (cuts[-1] - cuts[0])
    return float(cuts[0]), float(scale) if 0 < scale < np.inf else 1.0


@numba.njit(cache=True)
def weighted_ranks(image: Any, weights: Any, total: Any) -> None:
    """total[k] = sum of the weights of the images of the first k pixels; image (n,), total (n + 1,)."""
    running = 0
    total[0] = 0
    for pixel in range(len(image)):
        running += weights[image[pixel]]
        total[pixel + 1] = running
