"""Curves as SVG paths in a box of 1000 x 1000, which the page stretches; strokes and dots keep their size.

Labels of the axes are HTML, so that they stay readable on a phone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from invad.metrics import Sweep
from invad.report.content import LearningCurve
from invad.report.strips import nice_ticks

BOX = 1000
PRO_LIMIT = 0.3
"""The false positive rate up to which AU-PRO counts, and PRO is drawn."""

Values = NDArray[np.float64]
Ticks = tuple[tuple[float, str], ...]
"""Place in percent of the axis, and text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One curve of a plot."""

    kind: str
    """Its class in the style sheet, and in the data of the page."""
    name: str
    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """A plot with its axes."""

    name: str
    heading: str
    meaning: str
    """What one looks for in it; also the title that is read aloud."""
    x: str
    y: str
    x_ticks: Ticks
    y_ticks: Ticks
    lines: tuple[Line, ...]


def class_plots(images: Sweep | None, pixels: Sweep | None) -> list[Plot]:
    """Return ROC, precision-recall and PRO curves of a class, as far as they are defined.

    Args:
        images: what a threshold does to the class's images.
        pixels: what it does to its pixels.
    """
    found = [("images", one) for one in [images] if one] + [("pixels", one) for one in [pixels] if one]
    plots = []
    if found:
        roc = [_line(kind, one.false_positive_rate, one.recall) for kind, one in found]
        plots.append(_unit_plot("roc", roc, 1.0))
        plots.append(_unit_plot("pr", [_line(kind, one.recall, one.precision) for kind, one in found], 1.0))
    if pixels is not None and pixels.overlap is not None:
        line = _line("regions", *up_to(pixels.false_positive_rate, pixels.overlap, PRO_LIMIT), scale=PRO_LIMIT)
        plots.append(_unit_plot("pro", [line], PRO_LIMIT))
    return plots


def up_to(x: Values, y: Values, limit: float) -> tuple[Values, Values]:
    """Return the part of a curve, x ascending, up to a limit, with the point at it.

    Example:
        >>> x, y = up_to(np.array([0.0, 0.2, 0.6]), np.array([0.0, 1.0, 1.0]), 0.3)
        >>> x.tolist(), y.tolist()
        ([0.0, 0.2, 0.3], [0.0, 1.0, 1.0])
    """
    inside = int(np.searchsorted(x, limit, side="right"))
    if inside == len(x):
        return x, y
    share = (limit - x[inside - 1]) / (x[inside] - x[inside - 1])
    last = y[inside - 1] + share * (y[inside] - y[inside - 1])
    return np.append(x[:inside], limit), np.append(y[:inside], last)


def path(x: Values, y: Values) -> str:
    """Return a line through points in [0, 1] as SVG path data, y upwards, to a tenth of a thousandth.

    Example:
        >>> path(np.array([0.0, 0.5]), np.array([0.0, 1.0]))
        'M0 1000L500 0'
    """
    points = np.round(BOX * np.column_stack((x, 1 - y)), 1)
    moved = np.append(True, (points[1:] != points[:-1]).any(axis=1))
    return "M" + "L".join(f"{a:g} {b:g}" for a, b in points[moved].tolist())


def dot(x: float, y: float) -> str:
    """Return a dot at a point as SVG path data, y upwards; nothing where it is outside [0, 1].

    Example:
        >>> dot(0.5, 1.0), dot(1.5, 1.0)
        ('M500.0 0.0h0', '')
    """
    inside = 0 <= x <= 1 and 0 <= y <= 1
    return f"M{BOX * x:.1f} {BOX * (1 - y):.1f}h0" if inside else ""


def learning_plot(curve: LearningCurve) -> Plot | None:
    """Return the losses over the epochs, on a logarithmic axis; None where the run has none."""
    both = [(epoch, math.log10(loss)) for epoch, loss in (*curve.learnt, *curve.held_back) if loss > 0]
    if len(both) < 2:
        return None
    ends = nice_ticks(0.0, max(epoch for epoch, _ in both))
    low, high = min(loss for _, loss in both), max(loss for _, loss in both)
    ticks = _log_ticks(low, high)
    low, high = min(low, ticks[0][0]), max(high, ticks[-1][0])
    lines = tuple(
        Line(kind=kind, name=name, path=_learning_path(points, ends[-1], low, high))
        for kind, name, points in (
            ("learnt" if curve.smoothed else "smoothed", "training", curve.learnt),
            ("smoothed", "training, smoothed", curve.smoothed),
            ("held", "images held back", curve.held_back),
        )
        if len(points) > 1
    )
    return Plot(
        name="learning",
        heading="Learning curve",
        meaning="Loss over the epochs, on a logarithmic axis. It should fall and level out.",
        x="epoch",
        y="loss",
        x_ticks=tuple((100 * end / ends[-1], f"{end:g}") for end in ends),
        y_ticks=tuple((100 * (at - low) / ((high - low) or 1.0), text) for at, text in ticks),
        lines=lines,
    )


def _learning_path(points: Sequence[tuple[float, float]], last: float, low: float, high: float) -> str:
    """The losses; of more than a thousand the mean of each thousandth of the run."""
    x = np.array([epoch / last for epoch, _ in points])
    y = (np.log10([max(loss, 1e-300) for _, loss in points]) - low) / ((high - low) or 1.0)
    if len(x) > BOX:
        _, at = np.unique(np.floor(x * BOX), return_inverse=True)
        counts = np.bincount(at)
        x, y = np.bincount(at, x) / counts, np.bincount(at, y) / counts
    return path(x, y)


def _log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Decades that lie in a range of logarithms, with round numbers between where there are few."""
    steps: tuple[float, ...] = (1,)
    if high - low < 2:
        steps = (1, 2, 5) if high - low > 1 else (1, 1.5, 2, 3, 4, 6, 8)
    values = [step * 10.0**power for power in range(math.floor(low) - 1, math.ceil(high) + 1) for step in steps]
    inside = [value for value in values if low <= math.log10(value) <= high]
    if len(inside) < 2:
        inside = [10**low, 10**high]
    return [(math.log10(value), f"{value:.3g}") for value in inside]


WORDS = {
    "roc": (
        "ROC",
        "Found against falsely marked, at every threshold; up and to the left is better.",
        "false alarms",
        "found",
    ),
    "pr": (
        "Precision and recall",
        "How much of what is marked is really defective, while ever more is found; up and to the right is better.",
        "found (recall)",
        "precision",
    ),
    "pro": (
        "PRO, up to 30 %",
        "The share of each defect's area that is covered, while ever more normal pixels are marked; up and to the left "
        "is better.",
        "normal pixels marked",
        "defect covered",
    ),
}
"""Name -> heading, meaning, and what the axes say."""
NAMES = {"images": "images", "pixels": "pixels", "regions": "defects' areas"}


def _line(kind: str, x: Values, y: Values, scale: float = 1.0) -> Line:
    return Line(kind=kind, name=NAMES[kind], path=path(x / scale, y))


def _unit_plot(name: str, lines: Sequence[Line], scale: float) -> Plot:
    heading, meaning, x, y = WORDS[name]
    shares = (0.0, 0.1, 0.2, 0.3) if scale < 1 else (0.0, 0.25, 0.5, 0.75, 1.0)
    return Plot(
        name=name,
        heading=heading,
        meaning=meaning,
        x=x,
        y=y,
        x_ticks=tuple((100 * share / scale, f"{100 * share:.0f} %") for share in shares),
        y_ticks=tuple((100 * share, f"{100 * share:.0f} %") for share in (0.0, 0.25, 0.5, 0.75, 1.0)),
        lines=tuple(lines),
    )
