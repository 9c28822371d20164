"""Metrics at fixed thresholds of the normalised scores, which `invad.metrics.cuts` turns into raw scores."""

from dataclasses import dataclass

import numpy as np

from invad.metrics.checks import ArrayLike, check_protocol
from invad.metrics.counts import PixelCounts, check_pixels, count_pixels
from invad.metrics.cuts import EVENLY, RANGE, raw_cuts
from invad.metrics.keys import Float64Array, IntArray
from invad.metrics.results import Protocol

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
