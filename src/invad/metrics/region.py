"""AU-PRO: how much of each defect is found, whatever its size, while false alarms stay below 30 %.

Regions are the 8-connected components of the masks. At a threshold, PRO is the mean over all regions of the share of
the region's pixels that reach it, and FPR the share of all normal pixels that do.
"""

import math

import numpy as np

from invad.metrics.checks import ArrayLike, UndefinedMetricError, check_protocol
from invad.metrics.counts import PixelCounts, blocks, check_pixels, count_pixels
from invad.metrics.cuts import PAPER_STEPS, paper_cuts
from invad.metrics.keys import Float64Array
from invad.metrics.results import Protocol

FPR_LIMIT = 0.3
"""The false positive rate up to which the curve counts."""


def _area(x: Float64Array, y: Float64Array) -> float:
    """Area by trapezoids under the points (x, y), x ascending."""
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]))) / 2


def aupro_exactly(counts: PixelCounts) -> float:
    """AU-PRO over every distinct score, in [0, 1].

    Between two distinct defect scores only the FPR moves, so the curve runs level to the normal pixels above the next
    defect score, then straight to the point with the pixels at this score: diagonally if normal pixels share it.
    """
    ranking = counts.ranking
    limit = FPR_LIMIT * counts.normals
    inside = int(np.searchsorted(ranking.negatives_from, limit, "right"))
    areas, start, level = [], 0, 0.0  # the false alarms and the overlap that a point starts from
    for block in blocks(inside):
        end, above, overlap = ranking.negatives_from[block], ranking.negatives_above[block], counts.overlaps(block)
        starts, levels = np.append(start, end[:-1]), np.append(level, overlap[:-1])
        areas.append(float(np.sum((above - starts) * levels)))
        areas.append(float(np.sum((end - above) * (levels + overlap))) / 2)
        start, level = int(end[-1]), float(overlap[-1])
    areas.append(_last_step(counts, start, level, inside, limit))
    return min(1.0, math.fsum(areas) / limit)


def _last_step(counts: PixelCounts, start: int, level: float, inside: int, limit: float) -> float:
    """Area from the last point inside to the limit, level and then diagonal, in false alarms times overlap."""
    ranking = counts.ranking
    if inside == len(ranking.scores) or ranking.negatives_above[inside] >= limit:
        return (limit - start) * level
    above, end = ranking.negatives_above[inside], ranking.negatives_from[inside]
    next_level = counts.overlaps(slice(inside, inside + 1))[0]
    reached = level + (next_level - level) * (limit - above) / (end - above)
    return float((above - start) * level + (limit - above) * (level + reached) / 2)


def aupro_evenly(counts: PixelCounts) -> float:
    """AU-PRO at 100 evenly spaced thresholds, the FPR rescaled to its own range, in [0, 1]: the protocol `paper`."""
    if not np.isfinite(counts.highest - counts.lowest):
        raise UndefinedMetricError("the scores' range is too large for evenly spaced thresholds")
    _, false_alarms, overlap = counts.at(paper_cuts(counts.lowest, counts.highest))
    fpr = false_alarms / counts.normals
    inside = fpr < FPR_LIMIT
    if inside.sum() < 2:
        raise UndefinedMetricError(
            f"fewer than two of the {PAPER_STEPS} thresholds have a false positive rate below 0.3"
        )
    x, y = fpr[inside][::-1], overlap[inside][::-1]
    if x[0] == x[-1]:
        raise UndefinedMetricError("all thresholds with a false positive rate below 0.3 have the same rate")
    return min(1.0, _area((x - x[0]) / (x[-1] - x[0]), y))


def aupro(maps: ArrayLike, masks: ArrayLike, *, protocol: Protocol = "exact") -> float:
    """Area under the per-region overlap curve up to a false positive rate of 0.3, divided by 0.3, in [0, 1].

    Args:
        maps: float16, float32 or float64 (N, H, W), or a sequence of (H, W).
        masks: bool or 0/1, as the maps; True on a defect.
        protocol: `exact` takes every distinct score as threshold; `paper` 100 evenly spaced ones.

    Raises:
        MetricError: shapes differ, or maps are integers, NaN or infinite.
        UndefinedMetricError: (a MetricError) no pixel is a defect, or none is normal, or all have one score.

    Reference: Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021, section 5.

    Example:
        >>> import numpy as np
        >>> aupro(np.array([[[0.1, 0.2, 0.0, 0.9]]]), np.array([[[0, 0, 0, 1]]]))
        1.0
    """
    paper = check_protocol(protocol) == "paper"
    counts = check_pixels(count_pixels(maps, masks))
    return aupro_evenly(counts) if paper else aupro_exactly(counts)
