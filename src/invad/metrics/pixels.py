"""What is kept of one image's pixels: its defect pixels at hand, all of them wherever they lie."""

from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
import numpy.typing as npt

from invad.metrics import kernels
from invad.metrics.checks import ArrayLike, BoolArray, FloatArray, check_finite, check_maps, check_masks
from invad.metrics.threads import in_threads

STACK = 16
"""Images of an array handled at a time."""


class Source(Protocol):
    """The pixels of one image, wherever they are kept."""

    def load(self) -> tuple[FloatArray, BoolArray | None]:
        """The scores (n,), float16, float32 or float64, and the mask (n,); None where no pixel is a defect."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """The pixels of one image in memory."""

    scores: FloatArray  # (H, W)
    mask: BoolArray | None  # (H, W)

    def load(self) -> tuple[FloatArray, BoolArray | None]:
        """The pixels."""
        return self.scores.ravel(), None if self.mask is None else self.mask.ravel()

    def copy(self) -> "Kept":
        """The pixels in arrays of their own."""
        return Kept(scores=self.scores.copy(), mask=None if self.mask is None else self.mask.copy())

    @property
    def nbytes(self) -> int:
        """Memory that a copy takes."""
        return self.scores.nbytes + (0 if self.mask is None else self.mask.nbytes)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagePixels:
    """One image's pixels, parted by its mask."""

    source: Source
    defect: FloatArray  # (d,) their scores, float32, or float64 if the map is
    sizes: npt.NDArray[np.uint32]  # (d,) pixels in the region of each defect pixel
    normals: int
    regions: int
    lowest: float
    highest: float


def read_pixels(maps: ArrayLike, masks: ArrayLike, threads: int) -> list[ImagePixels]:
    """The pixels of maps and masks, image by image; they hold on to the arrays.

    Raises:
        MetricError: as `check_maps`, `check_masks` and `check_finite` raise it.
    """
    checked = check_maps(maps)
    stacks = pile_up(checked, check_masks(masks, checked, threads))
    pixels = list(chain.from_iterable(in_threads(lambda stack: split_stack(*stack), stacks, threads)))
    check_finite([(image.lowest, image.highest) for image in pixels])
    return pixels


def pile_up(
    maps: FloatArray | list[FloatArray], masks: BoolArray | list[BoolArray]
) -> list[tuple[FloatArray, BoolArray]]:
    """Maps and masks in stacks (n, H, W): several images of an array, as threads get in each other's way where a
    stack takes less than a millisecond; else one by one, as sizes and types may differ."""
    if isinstance(maps, np.ndarray) and isinstance(masks, np.ndarray):
        firsts = range(0, len(maps), STACK)
        return [(maps[first : first + STACK], masks[first : first + STACK]) for first in firsts]
    return [(scores[np.newaxis], mask[np.newaxis]) for scores, mask in zip(maps, masks, strict=True)]


def split_stack(scores: FloatArray, masks: BoolArray) -> list[ImagePixels]:
    """The pixels of maps (n, H, W) and masks (n, H, W), which are kept as they are, not copied."""
    wide = np.ascontiguousarray(scores, np.float32 if scores.itemsize <= 4 else np.float64)  # NumPy's float16 is slow
    flat, marked = wide.reshape(len(wide), -1), np.ascontiguousarray(masks)
    counts, regions = np.empty(len(wide), np.int64), np.empty(len(wide), np.int64)
    kernels.count_marked(marked, counts)
    defect, sizes = np.empty(counts.sum(), wide.dtype), np.empty(counts.sum(), np.uint32)
    kernels.split_regions(wide, marked, counts, np.empty((5, counts.max()), np.int64), defect, sizes, regions)
    with np.errstate(invalid="ignore"):  # NaN: found by whoever looks at the extents
        lowest, highest = flat.min(1).tolist(), flat.max(1).tolist()
    ends = np.cumsum(counts).tolist()
    return [
        ImagePixels(
            source=Kept(scores=scores[index], mask=masks[index] if count else None),
            defect=defect[end - count : end],
            sizes=sizes[end - count : end],
            normals=flat.shape[1] - count,
            regions=regions[index].item(),
            lowest=lowest[index],
            highest=highest[index],
        )
        for index, (count, end) in enumerate(zip(counts.tolist(), ends, strict=True))
    ]
