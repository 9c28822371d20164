"""Images, heatmaps and outlines as cards.

A card embeds two pictures, the image and the image under its heatmap. Outlines are lines of SVG over the image, which
is embedded once and shown again by reference: small files, and sharp at any size.
"""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invad.colours import ColourScale
from invad.records import GOOD
from invad.report.content import Cut, Example
from invad.report.figures import overlay

PICTURE_BUDGET = 10_000_000
"""Characters that all pictures may take together, so that the page stays under 15 MB."""
LEVELS = ((640, 82), (512, 80), (384, 78), (288, 76), (208, 72), (144, 66), (104, 60))
"""Longest side in pixels and WebP quality of the pictures; the first pair that fits the budget is taken."""
LARGEST = LEVELS[0][0]
STEADY = 0.75
"""Pixels of the picture that an outline may be off, so that it does not show the steps of small masks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """An example, ready for the page; pictures are data URIs."""

    key: str
    """Its name in the page."""
    class_name: str
    defect: str
    kind: str
    heading: str
    verdict: str
    label: str
    score: str
    anomalous: bool
    image: str
    heatmaps: tuple[str, ...]
    """One for each run."""
    truth: str
    """The outline of the drawn defect as SVG path data; empty where there is none."""
    found: str
    """The outline of what reaches the pixel threshold."""
    why_empty: str
    """Why there is no drawn defect."""
    width: int
    height: int


def make_cards(
    examples: Sequence[Example],
    thresholds: Sequence[tuple[Cut | None, Cut | None]],
    scale: ColourScale,
) -> list[Card]:
    """Return the gallery, at the largest size that fits; at the smallest, as many as fit.

    Args:
        examples: in the order of the page.
        thresholds: the thresholds of the image and of pixels for each example.
        scale: of the heatmaps.
    """
    pairs = list(zip(examples, thresholds, strict=True))
    return fit(len(pairs), lambda at, edge, quality: _card(f"p{at}", *pairs[at], scale, edge, quality))


def fit(count: int, make: Callable[[int, int, int], Card]) -> list[Card]:
    """Return so many cards at the largest size that fits the budget; at the smallest, as many as fit.

    Args:
        count: how many.
        make: index, longest side in pixels and quality -> card.
    """
    cards: list[Card] = []
    for edge, quality in LEVELS:
        cards, used = [], 0
        for at in range(count):
            card = make(at, edge, quality)
            used += sum(map(len, (card.image, *card.heatmaps, card.truth, card.found)))
            if used > PICTURE_BUDGET:
                break
            cards.append(card)
        else:
            return cards
    return cards


def _card(
    key: str,
    example: Example,
    cuts: tuple[Cut | None, Cut | None],
    scale: ColourScale,
    edge: int,
    quality: int,
) -> Card:
    image = shrink(example.image, edge)
    size = image.shape[:2]
    cut, pixel_cut = cuts
    found = None if pixel_cut is None else example.anomaly_map.astype(np.float64) >= pixel_cut.value
    anomalous = example.defect != GOOD
    heading, verdict = _words(example, cut)
    return Card(
        key=key,
        class_name=example.class_name,
        defect=example.defect,
        kind=example.kind,
        heading=heading,
        verdict=verdict,
        label=example.label,
        score=f"{example.score:.4g}",
        anomalous=anomalous,
        image=data_uri(image, quality),
        heatmaps=(data_uri(overlay(image, example.anomaly_map, *scale.of(example.class_name)), quality),),
        truth="" if example.mask is None else contours(example.mask, size),
        found="" if found is None else contours(found, size),
        why_empty="nobody drew it" if anomalous else "no defect",
        width=size[1],
        height=size[0],
    )


def _words(example: Example, cut: Cut | None) -> tuple[str, str]:
    """What a card says of its image: why it is shown, and on which side of the threshold it lies."""
    anomalous = example.defect != GOOD
    above = cut is not None and example.score >= cut.value
    headings = {
        "miss": "Lowest score" if above else "Worst miss",
        "alarm": "Worst false alarm" if above else "Highest score",
        "typical": "Most typical",
        "clear": "Clearest",
    }
    if cut is None:
        return {**headings, "miss": "Lowest score"}[example.kind], ""
    verdicts = {(True, True): "found", (True, False): "missed", (False, True): "false alarm", (False, False): "passed"}
    return headings[example.kind], verdicts[anomalous, above]


def contours(mask: NDArray[np.bool_], size: tuple[int, int]) -> str:
    """Return the outlines of a mask's regions as SVG path data, in pixels of a picture of this height and width.

    Example:
        >>> contours(np.eye(2, dtype=bool), (2, 2))
        'M0.5 0.5L1.5 1.5Z'
    """
    height, width = size
    filled = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    found, _ = cv2.findContours(filled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    lines = (cv2.approxPolyDP(contour, STEADY, True).reshape(-1, 2).tolist() for contour in found)
    return "".join("M" + "L".join(f"{x + 0.5:g} {y + 0.5:g}" for x, y in line) + "Z" for line in lines)


def shrink(picture: NDArray[np.uint8], edge: int = LARGEST) -> NDArray[np.uint8]:
    """Return the picture with its longer side at most edge; never enlarged."""
    height, width = picture.shape[:2]
    factor = edge / max(height, width)
    if factor >= 1:
        return picture
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def data_uri(picture: NDArray[np.uint8], quality: int) -> str:
    """Return an RGB picture (H, W, 3) as WebP in a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=quality)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def shrink_mask(mask: NDArray[np.bool_], edge: int = LARGEST) -> NDArray[np.bool_]:
    """Return the mask with its longer side at most edge; a pixel of it is marked where any of those it stands for is.

    Example:
        >>> shrink_mask(np.eye(4, dtype=bool), 2).tolist()
        [[True, False], [False, True]]
    """
    return shrink(mask.astype(np.uint8) * 255, edge) > 0
