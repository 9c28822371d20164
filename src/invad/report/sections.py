"""One class as the page shows it at its first threshold, and the same as data for the page's script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from invad.metrics import ClassResult, Sweep, UndefinedMetricError, sweep_images
from invad.records import GOOD
from invad.report.content import ClassContent, Cut
from invad.report.gallery import Card
from invad.report.plots import PRO_LIMIT, Plot, class_plots, dot
from invad.report.strips import Chart, Strip, group_scores, make_chart
from invad.saved_evaluation import shortest


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Images of a class on both sides of a threshold: a score counts as defective where it is >= the threshold."""

    hits: int
    misses: int
    false_alarms: int
    passed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Shares of a class's pixels at a threshold, in [0, 1]."""

    false_positive_rate: float
    recall: float
    precision: float
    overlap: float
    """Of a drawn defect's area, mean over the defects."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One type of defect: its dots, and how many of them reach the threshold."""

    strip: Strip
    above: int | None
    """None without a threshold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The gallery of one type of defect."""

    name: str
    images: int
    cards: tuple[Card, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """All about one class."""

    key: str
    name: str
    said: str
    chart: Chart
    rows: tuple[Row, ...]
    cuts: tuple[Cut, ...]
    pixel_cut: Cut | None
    counts: Counts | None
    """At the first threshold."""
    rates: Rates | None
    """The same of pixels; None where that is not defined."""
    plots: tuple[Plot, ...]
    dots: Mapping[str, str]
    """Plot and line, as `roc-images` -> the first threshold on it, as SVG path data."""
    groups: tuple[Group, ...]
    colours: tuple[float, float]
    """Where those of the heatmaps begin and end."""
    notes: tuple[str, ...]


def make_section(
    key: str,
    content: ClassContent,
    result: ClassResult | None,
    cards: Sequence[Card],
    colours: tuple[float, float],
) -> Section:
    """Return a class as the page shows it.

    Args:
        key: its name in the page.
        content: its test images.
        result: its numbers, by whichever protocol.
        cards: its part of the gallery.
        colours: where those of the heatmaps begin and end.
    """
    chart = make_chart(content.defects, content.scores, [cut.value for cut in content.cuts])
    start = content.cuts[0].value if content.cuts else None
    grouped = group_scores(content.defects, content.scores.astype(np.float64))
    rows = tuple(
        Row(strip=strip, above=None if start is None else int((grouped[strip.label] >= start).sum()))
        for strip in chart.strips
    )
    counts = None if start is None else count_images(content, start)
    rates = None if start is None or content.sweep is None else rates_at(content.sweep, start)
    bad = sum(defect != GOOD for defect in content.defects)
    return Section(
        key=key,
        name=content.name,
        said=f"{len(content.defects)} test images, {bad} with a defect",
        chart=chart,
        rows=rows,
        cuts=content.cuts,
        pixel_cut=content.pixel_cut,
        counts=counts,
        rates=rates,
        dots={name: dot(x, y) for name, (x, y) in _points(counts, rates).items()},
        plots=tuple(class_plots(_image_sweep(content), content.sweep)),
        groups=tuple(
            Group(name=name, images=len(grouped[name]), cards=own)
            for name in grouped
            if (own := tuple(card for card in cards if card.defect == name))
        ),
        colours=colours,
        notes=tuple(dict.fromkeys((*content.notes, *(result.reasons.values() if result else ())))),
    )


def count_images(content: ClassContent, threshold: float) -> Counts:
    """Return how many images of a class lie on which side of a threshold, as `predict` and the metrics decide.

    Example:
        >>> content = ClassContent(
        ...     name="nut", defects=("good", "good", "dent"), scores=np.array([0.1, 0.4, 0.3], dtype=np.float32),
        ...     cuts=(), pixel_cut=None, sweep=None,
        ... )
        >>> count_images(content, 0.35)
        Counts(hits=0, misses=1, false_alarms=1, passed=1)
    """
    above = content.scores.astype(np.float64) >= threshold
    bad = np.array([defect != GOOD for defect in content.defects])
    return Counts(
        hits=int((above & bad).sum()),
        misses=int((~above & bad).sum()),
        false_alarms=int((above & ~bad).sum()),
        passed=int((~above & ~bad).sum()),
    )


def rates_at(sweep: Sweep, threshold: float) -> Rates:
    """Return the rates of pixels at a threshold, on the straight line between the two rows around it.

    Example:
        >>> from invad.metrics import sweep_pixels
        >>> rates_at(sweep_pixels(np.array([[[0.1, 0.2, 0.0, 0.9]]]), np.array([[[0, 0, 0, 1]]])), 0.9)
        Rates(false_positive_rate=0.0, recall=1.0, precision=1.0, overlap=1.0)
    """
    assert sweep.overlap is not None  # of pixels
    columns = (sweep.false_positive_rate, sweep.recall, sweep.precision, sweep.overlap)
    alarms, recall, precision, overlap = (float(np.interp(-threshold, -sweep.thresholds, values)) for values in columns)
    return Rates(false_positive_rate=alarms, recall=recall, precision=precision, overlap=overlap)


def script_data(content: ClassContent, section: Section) -> dict[str, Any]:
    """Return what the page's script needs of a class; see threshold.js for what it does with it.

    Scores are decimal numbers that float32 reads back to the bit, so that the script counts as Python does.
    """
    grouped = group_scores(content.defects, content.scores)
    return {
        "name": content.name,
        "first": section.chart.first,
        "last": section.chart.last,
        "groups": [
            {"label": name, "good": name == GOOD, "scores": [shortest(score) for score in scores]}
            for name, scores in grouped.items()
        ],
        "cuts": [{"name": cut.name, "value": cut.value} for cut in content.cuts],
        "pixels": None if content.sweep is None else _rates(content.sweep),
        "proLimit": PRO_LIMIT,
    }


def _points(counts: Counts | None, rates: Rates | None) -> dict[str, tuple[float, float]]:
    """Where a threshold is on the curves, x and y in [0, 1] where they are drawn; see moveDots in threshold.js."""
    points = {}
    if counts is not None and counts.passed + counts.false_alarms and counts.hits + counts.misses:
        found = counts.hits / (counts.hits + counts.misses)
        called = counts.hits + counts.false_alarms
        points["roc-images"] = (counts.false_alarms / (counts.passed + counts.false_alarms), found)
        points["pr-images"] = (found, counts.hits / called if called else 1.0)
    if rates is not None:
        points["roc-pixels"] = (rates.false_positive_rate, rates.recall)
        points["pr-pixels"] = (rates.recall, rates.precision)
        points["pro-regions"] = (rates.false_positive_rate / PRO_LIMIT, rates.overlap)
    return points


def _rates(sweep: Sweep) -> dict[str, list[float]]:
    """The rates of pixels, to the tolerance that they are drawn with."""
    columns = {
        "threshold": (sweep.thresholds, 7),
        "falsePositiveRate": (sweep.false_positive_rate, 5),
        "recall": (sweep.recall, 5),
        "precision": (sweep.precision, 5),
        "overlap": (sweep.overlap, 5),
    }
    return {
        name: [float(f"{value:.{digits}g}") for value in values.tolist()]
        for name, (values, digits) in columns.items()
        if values is not None
    }


def _image_sweep(content: ClassContent) -> Sweep | None:
    """What a threshold does to the images; None where they are all of one label, or of one score."""
    try:
        return sweep_images(content.scores, [defect != GOOD for defect in content.defects])
    except UndefinedMetricError:
        return None
