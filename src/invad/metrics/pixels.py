"""What is kept of one image's pixels: its defect pixels at hand, all of them wherever they lie."""

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from invad.metrics.checks import BoolArray, FloatArray
from invad.metrics.kernels import pack_regions


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


def split_pixels(scores: FloatArray, mask: BoolArray) -> ImagePixels:
    """One image's pixels, from its map (H, W) and mask (H, W), which are kept as they are, not copied."""
    wide: FloatArray = scores.astype(
        np.float32 if scores.itemsize <= 4 else np.float64, copy=False
    )  # NumPy's float16 is slow
    defects = int(np.count_nonzero(mask))
    defect, sizes = np.empty(defects, wide.dtype), np.empty(defects, np.uint32)
    regions = _split_regions(wide, mask, defect, sizes) if defects else 0
    return ImagePixels(
        source=Kept(scores=scores, mask=mask if defects else None),
        defect=defect,
        sizes=sizes,
        normals=scores.size - defects,
        regions=regions,
        lowest=float(wide.min()),
        highest=float(wide.max()),
    )


def _split_regions(scores: FloatArray, mask: BoolArray, defect: FloatArray, sizes: npt.NDArray[np.uint32]) -> int:
    """Fill in the defect pixels' scores and the sizes of their regions; the number of regions."""
    count, labels = cv2.connectedComponents(np.ascontiguousarray(mask).view(np.uint8), connectivity=8)
    pack_regions(scores.ravel(), labels.ravel(), np.zeros(count, np.uint32), defect, sizes)
    return int(count) - 1
