"""The scores of a class as rows of dots: one row for its good images, one for each type of defect.

A row is one SVG path in a box of 1000 x 100 that the page stretches to its width; strokes keep their size
(`vector-effect: non-scaling-stroke`), so the dots stay round and the labels, which are HTML, stay readable on a phone.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from invad.records import GOOD

DOTS = 300
"""Dots per row; of more images the row shows evenly spaced ranks, which keeps its shape."""
GOLDEN = (math.sqrt(5) - 1) / 2

Score = tuple[str, str, float]
"""Class, defect and score of one image."""


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
    """The rows of one class on one axis."""

    class_name: str
    strips: tuple[Strip, ...]
    ticks: tuple[tuple[float, str], ...]
    """Place in percent of the width, and text."""
    limit: tuple[float, float] | None
    """The highest score of a good image: place in percent, and value; None without good images."""
    above: int
    """Defective images whose score is above that of every good image."""
    defective: int


def charts(scores: Iterable[Score]) -> list[Chart]:
    """Return one chart per class, in alphabetical order.

    Example:
        >>> chart, = charts([("nut", "good", 0.1), ("nut", "good", 0.2), ("nut", "crack", 0.15), ("nut", "crack", 0.5)])
        >>> [strip.label for strip in chart.strips], chart.limit[1], chart.above, chart.defective
        (['good', 'crack'], 0.2, 1, 2)
    """
    by_class: dict[str, dict[str, list[float]]] = {}
    for class_name, defect, score in scores:
        by_class.setdefault(class_name, {}).setdefault(defect, []).append(score)
    return [_chart(name, by_class[name]) for name in sorted(by_class)]


def _chart(name: str, by_defect: dict[str, list[float]]) -> Chart:
    values = np.concatenate([np.asarray(scores, dtype=np.float64) for scores in by_defect.values()])
    ticks = nice_ticks(float(values.min()), float(values.max()))
    first, last = ticks[0], ticks[-1]
    good = by_defect.get(GOOD)
    bad = [score for defect, scores in by_defect.items() if defect != GOOD for score in scores]
    top = max(good) if good else None
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return Chart(
        class_name=name,
        strips=tuple(
            _strip(defect, np.sort(np.asarray(by_defect[defect], dtype=np.float64)), first, last)
            for defect in sorted(by_defect, key=lambda defect: (defect != GOOD, defect))
        ),
        ticks=tuple((100 * (tick - first) / (last - first), f"{tick:.{digits}f}") for tick in ticks),
        limit=None if top is None else (100 * (top - first) / (last - first), top),
        above=sum(score > top for score in bad) if top is not None else 0,
        defective=len(bad),
    )


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
