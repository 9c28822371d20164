"""Two runs over the same test images on one page: numbers and whether they differ, scores, heatmaps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from invad.colours import ColourScale
from invad.files import write_text
from invad.metrics import Differences, Interval, Results, is_real
from invad.records import GOOD
from invad.report.figures import overlay
from invad.report.gallery import Card, contours, data_uri, fit, shrink
from invad.report.page import render_template
from invad.report.strips import DOTS, Chart, make_chart
from invad.report.tables import Cell, keys

EACH = 2
"""Images of each class, good and defective, that speak most for a run."""
LETTERS = ("A", "B")


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of the runs."""

    name: str
    results: Results
    scale: ColourScale
    """Of its heatmaps."""
    settings: Mapping[str, str]

    def place(self, scores: NDArray[np.float32], classes: Sequence[str]) -> NDArray[np.float64]:
        """Where the scores of images of these classes lie on the run's own scale: 0 where colours begin, 1 where they
        end."""
        low, high = np.array([self.scale.of(name) for name in classes]).T
        found: NDArray[np.float64] = (scores.astype(np.float64) - low) / (high - low)
        return found


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PairClass:
    """All test images of one class, as both runs score them."""

    name: str
    defects: tuple[str, ...]
    scores: tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PairImage:
    """One image with the maps of both runs."""

    class_name: str
    defect: str
    label: str
    scores: tuple[float, float]
    image: NDArray[np.uint8]
    """RGB, (H, W, 3)."""
    maps: tuple[NDArray[np.float32], NDArray[np.float32]]
    mask: NDArray[np.bool_] | None
    favours: int
    """0 or 1: the run that does better on it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Beside:
    """All that the page shows."""

    sides: tuple[Side, Side]
    differences: Differences
    """The first less the second."""
    classes: tuple[PairClass, ...]
    images: tuple[PairImage, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pick:
    """An image on which the runs differ."""

    index: int
    favours: int
    """0 or 1: the run that does better on it."""


def pick_pairs(places: Sequence[NDArray[np.float64]], classes: Sequence[str], defects: Sequence[str]) -> list[Pick]:
    """Return the images on which two runs differ most, up to four good and four defective ones of each class.

    A run does better on a defective image that stands out more on its scale, and on a good one that stands out less.

    Args:
        places: where the images' scores lie on the scale of each run, (N,) twice.
        classes: the class of each image, N of them.
        defects: the type of defect of each image, `good` for none.

    Example:
        >>> places = [np.array([0.9, 0.2, 0.0]), np.array([0.5, 0.8, 0.1])]
        >>> [(pick.index, pick.favours) for pick in pick_pairs(places, ["nut"] * 3, ["dent", "dent", "good"])]
        [(0, 0), (1, 1), (2, 0)]
    """
    bad = np.array([defect != GOOD for defect in defects])
    better = np.where(bad, places[0] - places[1], places[1] - places[0])
    names = np.asarray(classes, dtype=np.str_)
    picked = []
    for name in sorted(set(classes)):
        for kind in (True, False):
            own = np.flatnonzero((names == name) & (bad == kind))
            order = own[np.argsort(-better[own], kind="stable")]
            picked += [Pick(index=int(i), favours=0) for i in order[:EACH] if better[i] > 0]
            picked += [Pick(index=int(i), favours=1) for i in order[::-1][:EACH] if better[i] < 0]
    return picked


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One metric of both runs."""

    key: str
    values: tuple[str, str]
    difference: str
    interval: str
    verdict: str
    winner: int | None
    """0 or 1 where the difference is real."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairSection:
    """One class as the page shows it."""

    key: str
    name: str
    said: str
    charts: tuple[Chart, Chart]
    cards: tuple[Card, ...]


def write_beside(path: Path, content: Beside) -> None:
    """Write the page as one self-contained HTML file, under 15 MB.

    Raises:
        RunError: the file cannot be written.
    """
    write_text(path, render(content))


def render(content: Beside) -> str:
    """Return the page as HTML."""
    cards = fit(len(content.images), lambda at, edge, quality: _card(content, at, edge, quality))
    first, second = content.sides
    lines = [_line(key, content) for key in keys()]
    return render_template(
        "side_by_side.html.j2",
        ("gallery.js",),
        {},
        sides=content.sides,
        letters=LETTERS,
        images=sum(len(one.defects) for one in content.classes),
        resamples=content.differences.resamples,
        seed=content.differences.seed,
        lines=lines,
        said=_said(lines, content.sides),
        rows=[(one.name, [_cell(one.name, key, content) for key in keys()]) for one in content.classes],
        different={
            name: (first.settings.get(name, "–"), second.settings.get(name, "–"))
            for name in dict.fromkeys((*first.settings, *second.settings))
            if first.settings.get(name) != second.settings.get(name)
        },
        sections=[_section(at, one, cards) for at, one in enumerate(content.classes, start=1)],
        left_out=len(content.images) - len(cards),
        dots=DOTS,
    )


def _said(lines: Sequence[Line], sides: Sequence[Side]) -> str:
    """The result in a sentence."""
    wins = [sum(line.winner == side for line in lines) for side in (0, 1)]
    if not any(wins):
        return "In none of the fifteen means is one of them better beyond chance."
    parts = [f"{sides[i].name} is better in {wins[i]}" for i in (0, 1) if wins[i]]
    open_ones = len(lines) - sum(wins)
    rest = f"; what they differ by in the other {open_ones} could be chance" if open_ones else ""
    return f"Of the fifteen means {' and '.join(parts)}{rest}."


def _line(key: str, content: Beside) -> Line:
    first, second = content.sides
    a, b = first.results.mean.get(key), second.results.mean.get(key)
    interval = content.differences.mean.get(key)
    winner = _winner(interval)
    return Line(
        key=key,
        values=(_percent(a), _percent(b)),
        difference="–" if a is None or b is None else signed(a - b),
        interval=_between(interval),
        verdict=_verdict(interval, winner, content.sides),
        winner=winner,
    )


def _verdict(interval: Interval | None, winner: int | None, sides: Sequence[Side]) -> str:
    if winner is not None:
        return f"{sides[winner].name} is better"
    if interval is None:
        return "not defined"
    return "the same" if interval == (0.0, 0.0) else "could be chance"


def _cell(name: str, key: str, content: Beside) -> Cell:
    """The difference of a class in a metric; marked where it is real."""
    a, b = (_value(side.results, name, key) for side in content.sides)
    if a is None or b is None:
        return Cell(text="–", reason="not defined for both")
    interval = content.differences.classes[name].get(key)
    winner = _winner(interval)
    mark = "" if winner is None else ("best", "worst")[winner]
    return Cell(text=signed(a - b), interval=_between(interval, 1), mark=mark)


def _value(results: Results, name: str, key: str) -> float | None:
    return next((one.values.get(key) for one in results.classes if one.name == name), None)


def _winner(interval: Interval | None) -> int | None:
    """The run that is better beyond chance."""
    if interval is None or not is_real(interval):
        return None
    return 0 if interval[0] > 0 else 1


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"


def _between(interval: Interval | None, digits: int = 2) -> str:
    return "" if interval is None else f"{signed(interval[0], digits)} to {signed(interval[1], digits)}"


def signed(share: float, digits: int = 2) -> str:
    """Return a difference times 100 with its sign; what rounds to nothing has none.

    Example:
        >>> signed(0.0123), signed(-0.5, 1), signed(-0.00001)
        ('+1.23', '−50.0', '0.00')
    """
    value = round(100 * share, digits)
    sign = "+" if value > 0 else "−" if value < 0 else ""
    return f"{sign}{abs(value):.{digits}f}"


def _section(at: int, one: PairClass, cards: Sequence[Card]) -> PairSection:
    bad = sum(defect != GOOD for defect in one.defects)
    return PairSection(
        key=f"class-{at}",
        name=one.name,
        said=f"{len(one.defects)} test images, {bad} with a defect",
        charts=(make_chart(one.defects, one.scores[0]), make_chart(one.defects, one.scores[1])),
        cards=tuple(card for card in cards if card.class_name == one.name),
    )


def _card(content: Beside, at: int, edge: int, quality: int) -> Card:
    found = content.images[at]
    image = shrink(found.image, edge)
    anomalous = found.defect != GOOD
    name = content.sides[found.favours].name
    return Card(
        key=f"p{at}",
        class_name=found.class_name,
        defect=found.defect,
        kind=LETTERS[found.favours],
        heading=f"Stands out more in {name}" if anomalous else f"Stands out less in {name}",
        verdict="",
        label=found.label,
        score=" / ".join(f"{score:.4g}" for score in found.scores),
        anomalous=anomalous,
        image=data_uri(image, quality),
        heatmaps=tuple(_heatmaps(content, found, image, quality)),
        truth="" if found.mask is None else contours(found.mask, image.shape[:2]),
        found="",
        why_empty="nobody drew it" if anomalous else "no defect",
        width=image.shape[1],
        height=image.shape[0],
    )


def _heatmaps(content: Beside, found: PairImage, image: NDArray[np.uint8], quality: int) -> Iterator[str]:
    for side, anomaly_map in zip(content.sides, found.maps, strict=True):
        yield data_uri(overlay(image, anomaly_map, *side.scale.of(found.class_name)), quality)
