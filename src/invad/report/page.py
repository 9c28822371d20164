"""Results in, one HTML file out, which needs nothing but itself: no network, no script, no second file."""

import base64
import io
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from invad.errors import SettingsError
from invad.files import write_text
from invad.metrics import TITLES, ClassResult, Results
from invad.records import GOOD
from invad.report.examples import Kind
from invad.report.figures import bar_colours, display_range, outline, overlay
from invad.report.strips import DOTS, Chart, Score, charts
from invad.report.words import GROUPS, HEADLINES, METRICS, PROTOCOLS

PICTURE_BUDGET = 10_000_000
"""Characters of base64 that all pictures may take together, so that the page stays under 15 MB."""
LEVELS = ((384, 82), (288, 78), (208, 74), (144, 68), (104, 60))
"""Longest side in pixels and WebP quality of the pictures; the first pair that fits the budget is taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportSummary:
    """What was evaluated, and how."""

    title: str
    model: str
    encoder: str
    data: str
    settings: Mapping[str, str]
    """Name -> value of every setting of the training."""
    versions: Mapping[str, str]
    """Name -> version of what the numbers depend on."""
    created: str
    """Date and time, as it shall be read."""
    notes: tuple[str, ...] = ()
    """Sentences a reader of the numbers must know."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Example:
    """One image of the gallery."""

    class_name: str
    defect: str
    path_label: str
    """The name to find the file by."""
    score: float
    anomalous: bool
    image: NDArray[np.uint8]
    """RGB, (H, W, 3)."""
    anomaly_map: NDArray[np.float32]
    """(h, w), in the unit of the colour scale."""
    mask: NDArray[np.bool_] | None
    """The drawn defect, (h, w); None for a good image, or where nobody drew one."""
    kind: Kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """An example, ready for the page; pictures are data URIs."""

    class_name: str
    heading: str
    defect: str
    label: str
    score: str
    verdict: str
    anomalous: bool
    image: str
    heatmap: str
    truth: str | None
    width: int
    height: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One number of a table."""

    text: str
    share: float
    """The value in [0, 1], for the bar below it."""
    interval: str
    reason: str
    """Why there is no number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The numbers of one protocol."""

    heading: str
    explanation: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    mean: tuple[Cell, ...]
    resamples: int
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """All about one class."""

    name: str
    counts: str
    chart: Chart | None
    cards: tuple[Card, ...]


def write_report(
    path: Path,
    summary: ReportSummary,
    results: Sequence[Results],
    examples: Sequence[Example],
    *,
    scores: Sequence[Score] = (),
    scale: tuple[float, float] | None = None,
) -> None:
    """Write the results of a model as one self-contained HTML file, under 15 MB.

    The headline numbers are those of the first results. Pictures shrink until all fit.

    Args:
        path: the file to write; replaced if it exists.
        summary: what was evaluated.
        results: one for each protocol, at least one.
        examples: the gallery (see `pick_examples`).
        scores: class, defect (`good` for none) and score of every test image; none: no charts of scores.
        scale: the colour scale's ends. None: chosen by `display_range` from scores and examples.

    Raises:
        SettingsError: there are no results, or low is not below high.
        RunError: the file cannot be written.
    """
    if not results:
        raise SettingsError("a report needs the results of at least one protocol; evaluate the run first")
    write_text(path, render(summary, results, examples, scores, scale or _scale(scores, examples)))


def render(
    summary: ReportSummary,
    results: Sequence[Results],
    examples: Sequence[Example],
    scores: Sequence[Score],
    scale: tuple[float, float],
) -> str:
    """Return the page as HTML; arguments as `write_report`."""
    environment = Environment(
        loader=PackageLoader("invad.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    cards = _cards(examples, scores, scale)
    return environment.get_template("report.html.j2").render(
        summary=summary,
        first=results[0],
        headlines=[(name, meaning, _mean_cell(results[0], key)) for key, name, meaning in HEADLINES],
        images=sum(result.images for result in results[0].classes),
        anomalous=sum(result.anomalous for result in results[0].classes),
        tables=[_table(one, summary.notes) for one in results],
        groups=GROUPS,
        titles=TITLES,
        meanings=METRICS,
        sections=_sections(results[0].classes, scores, cards),
        left_out=len(examples) - len(cards),
        dots=DOTS,
        scale=[f"{end:.3g}" for end in scale],
        bar=", ".join(bar_colours()),
    )


def _scale(scores: Sequence[Score], examples: Sequence[Example]) -> tuple[float, float]:
    """The colour scale from all scores; without any, from the examples' maps."""
    if scores:
        return display_range([s for _, defect, s in scores if defect == GOOD], [s for _, _, s in scores])
    if examples:
        peaks = [(example.anomalous, float(np.max(example.anomaly_map))) for example in examples]
        return display_range([peak for anomalous, peak in peaks if not anomalous], [peak for _, peak in peaks])
    return 0.0, 1.0


def _table(results: Results, said: Sequence[str]) -> Table:
    """The numbers of a protocol, without the warnings that the page has said already."""
    heading, explanation = PROTOCOLS[results.protocol]
    reasons = [f"{c.name}, {TITLES[key]}: {reason}" for c in results.classes for key, reason in c.reasons.items()]
    reasons += [f"mean of {TITLES[key]}: leaves out {n} classes" for key, n in results.skipped.items() if n]
    return Table(
        heading=heading,
        explanation=explanation,
        rows=tuple((c.name, tuple(_class_cell(c, key) for key in _keys())) for c in results.classes),
        mean=tuple(_mean_cell(results, key) for key in _keys()),
        resamples=results.resamples,
        reasons=tuple(reasons),
        warnings=tuple(text for text in results.warnings if text not in said),
    )


def _keys() -> Iterator[str]:
    return (key for _, keys in GROUPS for key in keys)


def _class_cell(result: ClassResult, key: str) -> Cell:
    return _cell(result.values.get(key), (result.intervals or {}).get(key), result.reasons.get(key, ""))


def _mean_cell(results: Results, key: str) -> Cell:
    return _cell(results.mean.get(key), (results.intervals or {}).get(key), "no class has a value")


def _cell(value: float | None, interval: tuple[float, float] | None, reason: str) -> Cell:
    """A number x 100 with two decimals, its interval with one."""
    if value is None:
        return Cell(text="–", share=0.0, interval="", reason=reason)
    between = f"{100 * interval[0]:.1f}–{100 * interval[1]:.1f}" if interval else ""
    return Cell(text=f"{100 * value:.2f}", share=round(min(max(value, 0.0), 1.0), 3), interval=between, reason="")


def _sections(classes: Sequence[ClassResult], scores: Sequence[Score], cards: Sequence[Card]) -> list[Section]:
    by_class = {chart.class_name: chart for chart in charts(scores)}
    counts = {c.name: f"{c.images} test images, {c.anomalous} with a defect" for c in classes}
    names = sorted({*counts, *by_class, *(card.class_name for card in cards)})
    return [
        Section(
            name=name,
            counts=counts.get(name, ""),
            chart=by_class.get(name),
            cards=tuple(card for card in cards if card.class_name == name),
        )
        for name in names
    ]


def _cards(examples: Sequence[Example], scores: Sequence[Score], scale: tuple[float, float]) -> list[Card]:
    """The gallery, at the largest size that fits; at the smallest, as many as fit."""
    verdicts = [_verdict(example, scores) for example in examples]
    cards: list[Card] = []
    for edge, quality in LEVELS:
        cards, used = [], 0
        for example, verdict in zip(examples, verdicts, strict=True):
            card = _card(example, verdict, scale, edge, quality)
            used += len(card.image) + len(card.heatmap) + len(card.truth or "")
            if used > PICTURE_BUDGET:
                break
            cards.append(card)
        else:
            return cards
    return cards


def _card(example: Example, verdict: str, scale: tuple[float, float], edge: int, quality: int) -> Card:
    pictures = [example.image, overlay(example.image, example.anomaly_map, *scale)]
    if example.mask is not None:
        pictures.append(outline(example.image, example.mask))
    small = [_shrunk(picture, edge) for picture in pictures]
    addresses = [_data_uri(picture, quality) for picture in small]
    return Card(
        class_name=example.class_name,
        heading=_heading(example),
        defect=example.defect,
        label=example.path_label,
        score=f"{example.score:.3f}",
        verdict=verdict,
        anomalous=example.anomalous,
        image=addresses[0],
        heatmap=addresses[1],
        truth=addresses[2] if len(addresses) > 2 else None,
        width=small[0].shape[1],
        height=small[0].shape[0],
    )


def _heading(example: Example) -> str:
    if example.anomalous:
        return {"best": "Highest score", "middle": "Typical", "worst": "Lowest score"}[example.kind]
    return {"best": "Good image, lowest score", "middle": "Good image, typical", "worst": "Good image, highest score"}[
        example.kind
    ]


def _verdict(example: Example, scores: Sequence[Score]) -> str:
    """One sentence on where the score lies among those of the other kind of the same class."""
    others = sorted(
        s for name, defect, s in scores if name == example.class_name and (defect == GOOD) == example.anomalous
    )
    if not others:
        return ""
    if example.anomalous:
        above = len(others) - bisect_left(others, example.score)
        return f"{above} of {len(others)} good images score as high" if above else "above every good image"
    below = bisect_right(others, example.score)
    return f"{below} of {len(others)} defective images score no higher" if below else "below every defective image"


def _shrunk(picture: NDArray[np.uint8], edge: int) -> NDArray[np.uint8]:
    """The picture with its longer side at most edge; never enlarged."""
    height, width = picture.shape[:2]
    factor = edge / max(height, width)
    if factor >= 1:
        return picture
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _data_uri(picture: NDArray[np.uint8], quality: int) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=quality)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
