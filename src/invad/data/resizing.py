"""Images and masks at the model's size: Pillow's BILINEAR to the bit, and for images in a fraction of its time.

Each pixel of the result is a weighted mean of as many pixels of a row as it covers, then of a column. Pillow computes
with weights in whole numbers and rounds to a grey level after each pass, and so does this. The horizontal pass is the
first, as in Pillow 11; Pillow 12 and 13 begin with the vertical one for some shapes, which moves pixels by a grey
level. So a model sees the same pixels whatever version is installed.

Reference: arXiv:2404.10760, section 5.1, whose images are resized so; decision 018.
"""

import numba
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invad.errors import ImageError
from invad.records import Size

BITS = 22
"""Of a weight behind the point: Pillow's for images of 8 bits."""
MOST_BETWEEN = 1 << 24
"""Pixels between the passes of an image that has fewer itself; were there more, the vertical pass is the first."""


def resize_image(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Return the RGB image (H, W, 3) at this height and width, by Pillow's BILINEAR; its aspect ratio is not kept.

    An image of that size is returned as it is.

    Raises:
        ImageError: it is not uint8 (H, W, 3), or has no pixels.

    Example:
        >>> resize_image(np.full((7, 5, 3), 9, dtype=np.uint8), (2, 4)).tolist()[0][0]
        [9, 9, 9]
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ImageError(f"expected uint8 RGB pixels (H, W, 3), not {image.dtype} {image.shape}")
    if image.shape[:2] == size:
        return image
    if _vertical_first(image.shape[:2], size):
        return resize_image(image.swapaxes(0, 1), size[::-1]).swapaxes(0, 1)
    (height, width), rows = size, image.shape[0]
    narrow = np.empty((rows, 3 * width), dtype=np.uint8)
    result = np.empty((height, 3 * width), dtype=np.uint8)
    _along_rows(np.ascontiguousarray(image).reshape(rows, -1), *_weights(image.shape[1], width), narrow)
    _along_columns(narrow, *_weights(rows, height), result)
    return result.reshape(height, width, 3)


def resize_mask(mask: NDArray[np.bool_], size: Size) -> NDArray[np.bool_]:
    """Return the mask (H, W) at this height and width: as 0/255 resized like an image, above 127.5."""
    if _vertical_first(mask.shape, size):
        return resize_mask(mask.T, size[::-1]).T
    height, width = size
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    narrow = grey.resize((width, grey.height), Image.Resampling.BILINEAR)
    return np.asarray(narrow.resize((width, height), Image.Resampling.BILINEAR)) > 127


def _vertical_first(before: tuple[int, ...], after: Size) -> bool:
    """Whether the horizontal pass, as the first, would make far more pixels of an image, as of a tall, narrow one."""
    horizontal, vertical = before[0] * after[1], after[0] * before[1]
    return horizontal > max(MOST_BETWEEN, before[0] * before[1], vertical)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _weights(
    source: int, target: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:  # pragma: no cover - compiled
    """For each target position the first source position that it covers, how many, and their weights."""
    scale = source / target
    reach = max(scale, 1.0)
    first, count = np.empty(target, np.int64), np.empty(target, np.int64)
    weights = np.zeros((target, 2 * int(np.ceil(reach)) + 1), np.int32)
    for i in range(target):
        centre = (i + 0.5) * scale
        first[i] = max(int(centre - reach + 0.5), 0)
        count[i] = min(int(centre + reach + 0.5), source) - first[i]
        triangle = np.empty(count[i], np.float64)
        for k in range(count[i]):
            triangle[k] = max(0.0, 1.0 - abs((first[i] + k - centre + 0.5) * (1.0 / reach)))
        total = 0.0
        for k in range(count[i]):
            total += triangle[k]
        for k in range(count[i]):
            weights[i, k] = int(0.5 + triangle[k] * (1.0 / total) * (1 << BITS))
    return first, count, weights


@numba.njit(cache=True, nogil=True)
def _grey(total: np.int32) -> int:  # pragma: no cover - compiled
    """A sum as a grey level; the rounded weights of millions of pixels can have a sum above one."""
    return min(int(total) >> BITS, 255)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _along_rows(
    image: NDArray[np.uint8],
    first: NDArray[np.int64],
    count: NDArray[np.int64],
    weights: NDArray[np.int32],
    result: NDArray[np.uint8],
) -> None:  # pragma: no cover - compiled
    """Resize each row: image (h, 3 source) to result (h, 3 target). Two rows at once share what is looked up.

    Places are unsigned, or each of them would be tested for counting from the end.
    """
    half, three = np.int32(1 << (BITS - 1)), np.uintp(3)
    for y in range(0, len(image), 2):
        upper, lower = image[y], image[min(y + 1, len(image) - 1)]
        for x in range(len(first)):
            place, row = three * np.uintp(first[x]), weights[x]
            red, green, blue = half, half, half
            red_below, green_below, blue_below = half, half, half
            for k in range(np.uintp(count[x])):
                weight = row[k]
                red += np.int32(upper[place]) * weight
                green += np.int32(upper[place + np.uintp(1)]) * weight
                blue += np.int32(upper[place + np.uintp(2)]) * weight
                red_below += np.int32(lower[place]) * weight
                green_below += np.int32(lower[place + np.uintp(1)]) * weight
                blue_below += np.int32(lower[place + np.uintp(2)]) * weight
                place += three
            result[y, 3 * x] = _grey(red)
            result[y, 3 * x + 1] = _grey(green)
            result[y, 3 * x + 2] = _grey(blue)
            if y + 1 < len(image):
                result[y + 1, 3 * x] = _grey(red_below)
                result[y + 1, 3 * x + 1] = _grey(green_below)
                result[y + 1, 3 * x + 2] = _grey(blue_below)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _along_columns(
    image: NDArray[np.uint8],
    first: NDArray[np.int64],
    count: NDArray[np.int64],
    weights: NDArray[np.int32],
    result: NDArray[np.uint8],
) -> None:  # pragma: no cover - compiled
    """Resize each column: image (source, 3 w) to result (target, 3 w)."""
    sums = np.empty(image.shape[1], np.int32)
    for y in range(len(first)):
        sums[:] = 1 << (BITS - 1)
        for k in range(count[y]):
            weight, row = weights[y, k], image[first[y] + k]
            for x in range(len(sums)):
                sums[x] += np.int32(row[x]) * weight
        for x in range(len(sums)):
            result[y, x] = _grey(sums[x])
