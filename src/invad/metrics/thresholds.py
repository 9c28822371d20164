"""Metrics at fixed thresholds of the normalised scores, and the raw scores that such thresholds stand for.

Scores are normalised as (s - min) / (max - min) in float32 and compared in float64. No step falls while s rises, so
`normalised > t` holds exactly from some raw score on: it is found by bisection, and no map is rewritten.
"""

from dataclasses import dataclass

import numpy as np

from invad.metrics.checks import ArrayLike, UndefinedMetricError, check_protocol
from invad.metrics.counts import PixelCounts, check_pixels, count_pixels
from invad.metrics.kernels import Float64Array, IntArray
from invad.metrics.results import Protocol

RANGE = np.array([0.2 + 0.1 * step for step in range(7)])
"""Thresholds of the range metrics."""
EVENLY = np.array([0.05 * step for step in range(21)])
"""Thresholds that the protocol `paper` looks for its maxima at."""
PAPER_EPSILON = 1e-8
"""Added to precision + recall by the protocol `paper`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """Pixels by prediction and truth at each of K thresholds."""

    hits: IntArray  # (K,) defect pixels predicted
    false_alarms: IntArray  # (K,) normal pixels predicted
    defects: int

    @property
    def recall(self) -> Float64Array:
        """Share of the defect pixels predicted, (K,)."""
        return self.hits / self.defects

    @property
    def iou(self) -> Float64Array:
        """Intersection over union of the defect pixels, (K,)."""
        return self.hits / (self.defects + self.false_alarms)

    def f1(self, protocol: Protocol) -> Float64Array:
        """F1 of the defect pixels, (K,)."""
        if protocol == "exact":
            exact: Float64Array = 2 * self.hits / (self.hits + self.false_alarms + self.defects)
            return exact
        precision: Float64Array = self.hits / np.maximum(self.hits + self.false_alarms, 1)
        return 2 * precision * self.recall / (precision + self.recall + PAPER_EPSILON)


def _ordinals(scores: Float64Array) -> IntArray:
    """Integers in the order of the floats, neighbours one apart; its own inverse on the bit patterns."""
    bits = scores.view(np.int64)
    return bits ^ ((bits >> 63) & np.int64(0x7FFF_FFFF_FFFF_FFFF))


def _scores(ordinals: IntArray) -> Float64Array:
    return (ordinals ^ ((ordinals >> 63) & np.int64(0x7FFF_FFFF_FFFF_FFFF))).view(np.float64)


def normalise(scores: Float64Array, lowest: float, highest: float) -> Float64Array:
    """(s - lowest) / (highest - lowest), computed in float32, as float64."""
    low, high = np.float32(lowest), np.float32(highest)
    return ((scores.astype(np.float32) - low) / (high - low)).astype(np.float64)


def raw_cuts(thresholds: Float64Array, lowest: float, highest: float) -> Float64Array:
    """The smallest scores whose normalised value is above each threshold, (K,); above `highest` where there is none.

    Raises:
        UndefinedMetricError: float32 cannot hold the range of the scores.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        span = np.float32(highest) - np.float32(lowest)
    if not np.isfinite(span) or span == 0:
        raise UndefinedMetricError("the scores cannot be normalised: float32 does not hold their range")
    ends = _ordinals(np.array([lowest, highest]))
    below = np.full(len(thresholds), ends[0])  # never above the threshold, as all thresholds are >= 0
    reach = np.full(len(thresholds), ends[1] + 1)
    for _ in range(64):
        middle = (below >> 1) + (reach >> 1) + (below & reach & 1)
        above = normalise(_scores(middle), lowest, highest) > thresholds
        reach = np.where(above, middle, reach)
        below = np.where(above, below, middle)
    return _scores(reach)


def confusion(counts: PixelCounts, thresholds: Float64Array) -> Confusion:
    """Predictions where the normalised score is above each of the ascending thresholds (K,)."""
    hits, false_alarms, _ = counts.at(raw_cuts(thresholds, counts.lowest, counts.highest))
    return Confusion(hits=hits, false_alarms=false_alarms, defects=counts.defects)


def range_metrics(counts: PixelCounts, protocol: Protocol) -> tuple[float, float, float]:
    """F1, recall and IoU of the defect pixels, each the mean over the seven thresholds 0.2 to 0.8, in [0, 1]."""
    found = confusion(counts, RANGE)
    return float(found.f1(protocol).mean()), float(found.recall.mean()), float(found.iou.mean())


def maxima_evenly(counts: PixelCounts) -> tuple[float, float]:
    """Largest F1 and largest IoU at the 21 thresholds of the protocol `paper`, both in [0, 1]."""
    found = confusion(counts, EVENLY)
    return float(found.f1("paper").max()), float(found.iou.max())


def f1_range(maps: ArrayLike, masks: ArrayLike, *, protocol: Protocol = "exact") -> float:
    """Mean F1 of the defect pixels at the normalised thresholds 0.2, 0.3, ... 0.8, in [0, 1].

    Args:
        maps: float16, float32 or float64 (N, H, W), or a sequence of (H, W).
        masks: bool or 0/1, as the maps; True on a defect.
        protocol: `paper` adds 1e-8 to the denominator of F1; the protocols agree otherwise.

    Raises:
        MetricError: shapes differ, or maps are integers, NaN or infinite.
        UndefinedMetricError: (a MetricError) no pixel is a defect, or none is normal, or all have one score.

    Reference: Zhang et al., A Comprehensive Library for Benchmarking Multi-class Visual Anomaly Detection, 2024.

    Example:
        >>> import numpy as np
        >>> f1_range(np.array([[[0.0, 0.0], [0.0, 1.0]]]), np.array([[[0, 0], [0, 1]]]))
        1.0
    """
    return range_metrics(check_pixels(count_pixels(maps, masks)), check_protocol(protocol))[0]


def acc_range(maps: ArrayLike, masks: ArrayLike) -> float:
    """Mean recall of the defect pixels at the normalised thresholds 0.2, 0.3, ... 0.8, in [0, 1].

    Args, raises and reference: as `f1_range`.

    Example:
        >>> import numpy as np
        >>> acc_range(np.array([[[0.0, 0.0], [0.1, 1.0]]]), np.array([[[0, 0], [1, 1]]]))
        0.5
    """
    return range_metrics(check_pixels(count_pixels(maps, masks)), "exact")[1]


def iou_range(maps: ArrayLike, masks: ArrayLike) -> float:
    """Mean intersection over union of the defect pixels at the normalised thresholds 0.2, 0.3, ... 0.8, in [0, 1].

    Args, raises and reference: as `f1_range`.

    Example:
        >>> import numpy as np
        >>> iou_range(np.array([[[0.0, 0.0], [1.0, 1.0]]]), np.array([[[0, 0], [0, 1]]]))
        0.5
    """
    return range_metrics(check_pixels(count_pixels(maps, masks)), "exact")[2]
