"""The scores of a class as rows of dots: one row for its good images, one for each type of defect.

A row is one SVG path in a box of 1000 x 100 that the page stretches to its width; strokes keep their size
(`vector-effect: non-scaling-stroke`), so the dots stay round and the labels, which are HTML, stay readable on a phone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from invad.records import GOOD

DOTS = 300
"""Dots per row; of more images the row shows evenly spaced ranks, which keeps its shape."""
GOLDEN = (math.sqrt(5) - 1) / 2

AnyFloat = TypeVar("AnyFloat", bound=np.floating[Any])


@dataclass(frozen=True, kw_only=True, slots=True)
class Strip:
    """One row of dots."""

    label: str
    good: bool
    images: int
    lowest: float
    median: float
    highest: float
    path: str
    """The dots, as SVG path data in a box of 1000 x 100."""
    median_at: float
    """Where the median lies, in percent of the width."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """The rows of one class on one axis, which reaches beyond every score."""

    strips: tuple[Strip, ...]
    ticks: tuple[tuple[float, str], ...]
    """Place in percent of the width, and text."""
    first: float
    """The score at the axis's left end."""
    last: float
    """The score at its right end, above the highest of all."""

    def place(self, score: float) -> float:
        """Where a score lies, in percent of the width, at most at an end."""
        return 100 * min(max((score - self.first) / (self.last - self.first), 0.0), 1.0)


def make_chart(defects: Sequence[str], scores: NDArray[np.floating[Any]], beside: Sequence[float] = ()) -> Chart:
    """Return the chart of one class.

    Args:
        defects: the type of defect of each image, `good` for none.
        scores: (N,), at least one.
        beside: other values that the axis must reach, such as thresholds.

    Example:
        >>> chart = make_chart(["good", "good", "crack"], np.array([0.1, 0.2, 0.5]))
        >>> [strip.label for strip in chart.strips], chart.first, chart.last
        (['good', 'crack'], 0.1, 0.6)
    """
    values = np.asarray(scores, dtype=np.float64)
    by_defect = group_scores(defects, values)
    lowest, highest = min(float(values.min()), *beside, np.inf), max(float(values.max()), *beside, -np.inf)
    ticks = nice_ticks(lowest, highest)
    if ticks[-1] <= highest:
        ticks = [*ticks, ticks[-1] + (ticks[1] - ticks[0])]  # room for a threshold that no image reaches
    first, last = ticks[0], ticks[-1]
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return Chart(
        strips=tuple(_strip(defect, found, first, last) for defect, found in by_defect.items()),
        ticks=tuple((100 * (tick - first) / (last - first), f"{tick:.{digits}f}") for tick in ticks),
        first=float(f"{first:.12g}"),
        last=float(f"{last:.12g}"),
    )


def group_scores(defects: Sequence[str], scores: NDArray[AnyFloat]) -> dict[str, NDArray[AnyFloat]]:
    """Return the sorted scores of each type of defect: the good images first, then the types by their names."""
    names = np.asarray(defects, dtype=np.str_)
    order = sorted(set(defects), key=lambda defect: (defect != GOOD, defect))
    return {defect: np.sort(scores[names == defect]) for defect in order}


def _strip(label: str, ascending: NDArray[np.float64], first: float, last: float) -> Strip:
    shown = ascending
    if len(ascending) > DOTS:
        shown = ascending[np.linspace(0, len(ascending) - 1, DOTS).round().astype(np.intp)]
    x = 1000 * (shown - first) / (last - first)
    y = 15 + 70 * ((np.arange(len(shown)) * GOLDEN + 0.5) % 1)  # neighbours far apart, the same every time
    median = float(np.median(ascending))
    return Strip(
        label=label,
        good=label == GOOD,
        images=len(ascending),
        lowest=float(ascending[0]),
        median=median,
        highest=float(ascending[-1]),
        path="".join(f"M{a:.0f} {b:.0f}h0" for a, b in zip(x, y)),
        median_at=100 * (median - first) / (last - first),
    )


def nice_ticks(lowest: float, highest: float, about: int = 5) -> Sequence[float]:
    """Return round numbers at even steps of 1, 2 or 5 that enclose lowest and highest; at least two.

    Example:
        >>> [round(tick, 6) for tick in nice_ticks(0.13, 0.92)]
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = (highest - lowest) or abs(highest) or 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / about))
    step = next(size * magnitude for size in (1, 2, 5, 10) if size * magnitude * about >= span * (1 - 1e-9))
    first, last = math.floor(lowest / step + 1e-9), math.ceil(highest / step - 1e-9)
    return [i * step for i in range(first, max(last, first + 1) + 1)]
