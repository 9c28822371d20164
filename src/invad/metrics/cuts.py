"""The raw scores that fixed thresholds stand for, so that one pass over the pixels serves every metric.

Scores are normalised as (s - min) / (max - min) in float32 and compared in float64. No step falls while s rises, so
`normalised > t` holds exactly from some raw score on: it is found by bisection, and no map is rewritten.
"""

from contextlib import suppress

import numpy as np

from invad.metrics.checks import UndefinedMetricError
from invad.metrics.keys import Float64Array, to_keys, to_scores

RANGE = np.array([0.2 + 0.1 * step for step in range(7)])
"""Thresholds of the range metrics."""
EVENLY = np.array([0.05 * step for step in range(21)])
"""Thresholds that the protocol `paper` looks for its maxima at."""
PAPER_STEPS = 100
"""Thresholds of AU-PRO by the protocol `paper`."""


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
    ends = to_keys(np.array([lowest, highest]))
    below = np.full(len(thresholds), ends[0])  # never above the threshold, as all thresholds are >= 0
    reach = np.full(len(thresholds), ends[1] + np.uint64(1))
    for _ in range(64):
        middle = below + ((reach - below) >> np.uint64(1))
        above = normalise(to_scores(middle).astype(np.float64), lowest, highest) > thresholds
        reach = np.where(above, middle, reach)
        below = np.where(above, below, middle)
    return to_scores(reach).astype(np.float64)


def paper_cuts(lowest: float, highest: float) -> Float64Array:
    """The smallest scores above each of the 100 thresholds at which the protocol `paper` draws AU-PRO, (100,).

    They are infinite or NaN where float64 does not hold the range of the scores.
    """
    return np.nextafter(lowest + np.arange(PAPER_STEPS) * (highest - lowest) / PAPER_STEPS, np.inf)


def fixed_cuts(lowest: float, highest: float) -> Float64Array:
    """All raw scores that a metric at fixed thresholds may ask for, whatever the protocol, ascending, (F,), F > 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        cuts = [np.array([lowest]), paper_cuts(lowest, highest)]
    with suppress(UndefinedMetricError):  # whoever needs these cuts asks again, and hears why there are none
        cuts.append(raw_cuts(np.concatenate((RANGE, EVENLY)), lowest, highest))
    both = np.concatenate(cuts)
    return np.unique(both[np.isfinite(both)])
