"""Where an image is not normal: connected regions of its map, in the image's own pixels."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from invad.records import Size


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """One 8-connected region of pixels at or above the pixel threshold.

    Coordinates are those of the image as a person sees it (its EXIF rotation carried out), at its own size: x from the
    left, y from the top, the pixel in column x and row y covers [x, x + 1) and [y, y + 1).
    """

    box: tuple[int, int, int, int]
    """Left, top, right and bottom; the last two are the first column and row outside, so right - left is the width."""
    area: int
    """Pixels of the image that it covers, at least 1; a half is rounded up, as the inspection page does."""
    peak: float
    """The map's largest value in it."""
    at: tuple[int, int]
    """The image's pixel (x, y) where that is."""


def find_regions(values: NDArray[np.float32], threshold: float, size: Size) -> tuple[Region, ...]:
    """Return the regions of a map, the one with the highest peak first.

    A map's pixel stands for a rectangle of the image, which was resized to the map's size; boxes are rounded outwards
    to whole pixels of the image.

    Args:
        values: the map, (H, W).
        threshold: the value from which on a pixel belongs to a region.
        size: height and width of the image.

    Example:
        >>> values = np.zeros((4, 4), dtype=np.float32)
        >>> values[1, 2] = 0.5
        >>> find_regions(values, 0.4, (8, 40))
        (Region(box=(20, 2, 30, 4), area=20, peak=0.5, at=(25, 3)),)
    """
    above = values.astype(np.float64) >= threshold  # NumPy would round the threshold to float32, and onto a score
    if not above.any():
        return ()
    _, found, stats, _ = cv2.connectedComponentsWithStats(above.astype(np.uint8), connectivity=8)
    labels = np.asarray(found, dtype=np.int32)
    regions = [_region(values, labels, label, row, size) for label, row in enumerate(stats.tolist()) if label]
    return tuple(sorted(regions, key=lambda region: (-region.peak, region.box)))


def _region(values: NDArray[np.float32], labels: NDArray[np.int32], label: int, row: list[int], size: Size) -> Region:
    """The region of one label; `row` holds left, top, width, height and area in the map's pixels."""
    left, top, width, height, area = row
    part = (slice(top, top + height), slice(left, left + width))
    inside = np.where(labels[part] == label, values[part], -np.inf)
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    rows, columns = values.shape
    return Region(
        box=(
            left * size[1] // columns,
            top * size[0] // rows,
            -(-(left + width) * size[1] // columns),
            -(-(top + height) * size[0] // rows),
        ),
        area=max(1, math.floor(area * size[0] * size[1] / (rows * columns) + 0.5)),
        peak=float(inside[y, x]),
        at=((2 * (left + int(x)) + 1) * size[1] // (2 * columns), (2 * (top + int(y)) + 1) * size[0] // (2 * rows)),
    )
