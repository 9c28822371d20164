"""Anomaly maps as pictures, on a colour scale that the image does not decide.

A scale has two ends, in the map's own unit: a value at or below `low` leaves the image as it is, a value at or above
`high` has the full colour. Nothing is stretched per image, so that the same value looks the same in every picture and
a good image looks good.
"""

from functools import lru_cache

import cv2
import numpy as np
from matplotlib import colormaps
from numpy.typing import ArrayLike, NDArray

from invad.errors import ImageError, MetricError, SettingsError

OPACITY = 0.5
"""Share of the colour in the sum of colour and image at the scale's high end."""
WHITE = (255, 255, 255)
BAR_GREY = 200
"""The grey that colour bars lie on, so that their colours are those of the pictures."""

STRIP = 1 << 18
"""Pixels that are blended at a time: steps in between take some 50 bytes a pixel."""

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]


def overlay(image: Pixels, anomaly_map: ArrayLike, low: float, high: float, opacity: float = OPACITY) -> Pixels:
    """Return the image (H, W, 3) with the map laid over it, uint8; where the map is at or below low it is unchanged.

    Colour and opacity both grow with the value from low to high, and stay there beyond.

    Args:
        image: uint8 RGB (H, W, 3).
        anomaly_map: (h, w), any real type; resized to the image bilinearly where the sizes differ.
        low: the value up to which nothing is drawn.
        high: the value from which the colour is full.
        opacity: the colour's share at the high end, in (0, 1].

    Raises:
        ImageError: the image is not uint8 (H, W, 3), or the map not (h, w).
        MetricError: the map holds NaN or infinite values.
        SettingsError: low is not below high, or the opacity is out of range.

    Example:
        >>> grey = np.full((2, 2, 3), 128, dtype=np.uint8)
        >>> picture = overlay(grey, np.array([[0.1, 0.2], [0.3, 0.9]]), low=0.2, high=0.9)
        >>> (picture == grey).all(axis=2).tolist()
        [[True, True], [False, False]]
    """
    _check_image(image)
    _check_scale(low, high)
    if not 0 < opacity <= 1:
        raise SettingsError(f"opacity must lie in (0, 1], not {opacity}")
    values, (height, width) = _checked_map(anomaly_map), image.shape[:2]
    picture, rows = np.empty_like(image), max(1, STRIP // width)
    for top in range(0, height, rows):
        strip = slice(top, min(top + rows, height))
        picture[strip] = _blended(image[strip], _resized(values, (height, width), strip), low, high, opacity)
    return picture


def _blended(image: Pixels, values: NDArray[np.float64], low: float, high: float, opacity: float) -> Pixels:
    """Some rows of an image with those of the map, which has their size, laid over them."""
    level = np.clip((values - low) / (high - low), 0.0, 1.0).astype(np.float32)  # (h, W)
    colours = _table()[np.rint(level * 255).astype(np.intp)]  # (h, W, 3)
    share = opacity * (1 - (1 - level) ** 4)[..., None]  # rises early, so that weak findings are seen
    return np.rint(image + share * (colours - image)).astype(np.uint8)


def outline(image: Pixels, mask: NDArray[np.bool_], colour: Colour = WHITE) -> Pixels:
    """Return the image (H, W, 3) with a line around each region of the mask, uint8, on a dark rim seen on any ground.

    Args:
        image: uint8 RGB (H, W, 3).
        mask: bool (h, w); resized to the image by nearest neighbour where the sizes differ.
        colour: RGB of the line.

    Raises:
        ImageError: the image is not uint8 (H, W, 3), or the mask not bool (h, w).

    Example:
        >>> grey = np.full((32, 32, 3), 128, dtype=np.uint8)
        >>> bool((outline(grey, np.zeros((32, 32), dtype=bool)) == grey).all())
        True
    """
    _check_image(image)
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ImageError(f"expected a bool mask (H, W), got {mask.dtype} of shape {mask.shape}")
    height, width = image.shape[:2]
    filled = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(filled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    line = max(1, round(min(height, width) / 180))
    picture = np.ascontiguousarray(image).copy()
    cv2.drawContours(picture, contours, -1, (0, 0, 0), 3 * line, cv2.LINE_8)
    cv2.drawContours(picture, contours, -1, colour, line, cv2.LINE_8)
    return picture


def bar_colours(steps: int = 16, *, opacity: float = OPACITY) -> list[str]:
    """Return the colours of a colour bar from low to high as `#rrggbb`, for a gradient in CSS.

    Example:
        >>> bar_colours()[0]
        '#c8c8c8'
    """
    grey = np.full((1, steps, 3), BAR_GREY, dtype=np.uint8)
    colours = overlay(grey, np.linspace(0.0, 1.0, steps)[None], 0.0, 1.0, opacity)[0]  # (steps, 3)
    return ["#{:02x}{:02x}{:02x}".format(*colour) for colour in colours.tolist()]


@lru_cache(maxsize=1)
def _table() -> NDArray[np.float32]:
    """256 colours (256, 3) in [0, 255]: turbo without its dark ends, which look like shadows."""
    rgb = colormaps["turbo"](np.linspace(0.08, 0.95, 256))[:, :3]
    return np.asarray(rgb * 255, dtype=np.float32)


def _resized(values: NDArray[np.float64], size: tuple[int, int], rows: slice) -> NDArray[np.float64]:
    """These rows of the map at another height and width, bilinear as OpenCV does it, which makes all rows or none."""
    if values.shape == size:
        return values[rows]
    first, second, share = _neighbours(np.arange(rows.start, rows.stop), size[0], values.shape[0])
    between = (1 - share[:, None]) * values[first] + share[:, None] * values[second]  # (rows, w)
    first, second, share = _neighbours(np.arange(size[1]), size[1], values.shape[1])
    return np.asarray((1 - share) * between[:, first] + share * between[:, second])  # (rows, W)


def _neighbours(
    places: NDArray[np.intp], length: int, source: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """The two pixels of a source between which these of so many lie, and the second one's share; edges are repeated."""
    centres = (places + 0.5) * (source / length) - 0.5
    below = np.floor(centres)
    first, second = (np.clip(below + i, 0, source - 1).astype(np.intp) for i in (0, 1))
    return first, second, centres - below


def _check_image(image: Pixels) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(f"expected a uint8 RGB image (H, W, 3), got {image.dtype} of shape {image.shape}")


def _checked_map(anomaly_map: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(anomaly_map, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise ImageError(f"expected an anomaly map (H, W), got one of shape {values.shape}")
    if not np.isfinite(values).all():
        raise MetricError("the anomaly map holds NaN or infinite values; expected finite ones")
    return values


def _check_scale(low: float, high: float) -> None:
    if not (np.isfinite([low, high]).all() and low < high):
        raise SettingsError(f"a colour scale needs a finite low below a finite high, not {low} and {high}")
