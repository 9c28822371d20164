"""From maps and masks to the counts that every metric is made of.

A metric that ranks pixels needs, for each distinct score of a *defect* pixel, how many defect and how many normal
pixels reach it; between two such scores only the false positives grow. Defect pixels are few (1 to 3 %), so they are
sorted and the many normal ones are only counted. Counts are integers and floating-point sums run in an order
given by the scores, so the result does not depend on the order of the images, to the bit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from invad.metrics.checks import ArrayLike, BoolArray, FloatArray, UndefinedMetricError, check_maps, check_masks
from invad.metrics.kernels import Float64Array, IntArray, count_from

Number = TypeVar("Number", np.int64, np.float64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """At each distinct score of a positive, from the highest: how many positives and negatives reach it."""

    positives_from: IntArray  # (J,) with a score >= this one
    negatives_from: IntArray  # (J,) with a score >= this one
    negatives_above: IntArray  # (J,) with a score > this one
    positives: int
    negatives: int
    constant: bool
    """Whether all scores, of positives and negatives, are the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagePixels:
    """The scores of one image's pixels, parted by its mask; float32, or float64 if the map is."""

    normal: FloatArray  # (n,)
    defect: FloatArray  # (d,)
    sizes: IntArray  # (d,) pixels in the region of each defect pixel
    regions: int
    lowest: float
    highest: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DefectPixels:
    """The defect pixels of a class, ascending by score, then by the size of their region."""

    scores: Float64Array  # (d,)
    shares: Float64Array  # (d,) 1 / size of the pixel's region
    image: npt.NDArray[np.intp]  # (d,) index of the pixel's image
    first: npt.NDArray[np.intp]  # (J,) index of the first pixel of each distinct score

    @property
    def cuts(self) -> Float64Array:
        """The distinct scores, ascending, (J,)."""
        return self.scores[self.first]


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelCounts:
    """All that the pixel and region metrics of a class are computed from."""

    pixels: DefectPixels
    defects_from: IntArray  # (d + 1,) defect pixels from the k-th on
    shares_from: Float64Array  # (d + 1,) their shares, summed
    normals_from: IntArray  # (J,) normal pixels with a score >= the distinct defect score
    normals_above: IntArray  # (J,) with a score > it
    count_normals: Callable[[Float64Array], IntArray]
    """Ascending, distinct cuts (K,) -> normal pixels with a score >= each (K,)."""
    normals: int
    regions: int
    lowest: float
    highest: float

    @property
    def defects(self) -> int:
        """Number of defect pixels."""
        return int(self.defects_from[0])

    @property
    def ranking(self) -> Ranking:
        """The counts at each distinct defect score, from the highest."""
        return Ranking(
            positives_from=self.defects_from[self.pixels.first][::-1],
            negatives_from=self.normals_from[::-1],
            negatives_above=self.normals_above[::-1],
            positives=self.defects,
            negatives=self.normals,
            constant=self.lowest == self.highest,
        )

    @property
    def overlaps(self) -> Float64Array:
        """Per-region overlap at each distinct defect score, from the highest, in [0, 1], (J,)."""
        return self.shares_from[self.pixels.first][::-1] / self.regions

    def at(self, cuts: Float64Array) -> tuple[IntArray, IntArray, Float64Array]:
        """Defect pixels and normal pixels with a score >= each ascending cut, and the regions' overlap; each (K,)."""
        reach = np.searchsorted(self.pixels.scores, cuts)
        distinct, place = np.unique(cuts, return_inverse=True)
        normals = self.count_normals(distinct)[place]
        return self.defects_from[reach], normals, self.shares_from[reach] / self.regions


def rank(positives: FloatArray, negatives: FloatArray) -> Ranking:
    """Ranking of two small sets of scores, (P,) and (Q,)."""
    distinct, at = np.unique(positives.astype(np.float64), return_counts=True)
    ordered = np.sort(negatives.astype(np.float64))
    both = np.concatenate((distinct, ordered))
    return Ranking(
        positives_from=np.cumsum(at[::-1]).astype(np.int64),
        negatives_from=(len(ordered) - np.searchsorted(ordered, distinct, "left")[::-1]).astype(np.int64),
        negatives_above=(len(ordered) - np.searchsorted(ordered, distinct, "right")[::-1]).astype(np.int64),
        positives=len(positives),
        negatives=len(negatives),
        constant=len(both) == 0 or bool((both == both[0]).all()),
    )


def split_pixels(scores: FloatArray, mask: BoolArray) -> ImagePixels:
    """One image's pixels, copied out of its map (H, W) and parted by its mask (H, W)."""
    scores = scores.astype(np.float32 if scores.itemsize <= 4 else np.float64)  # numba knows no float16
    lowest, highest = float(scores.min()), float(scores.max())
    if not mask.any():
        none = np.zeros(0, np.int64)
        return ImagePixels(
            normal=scores.ravel(), defect=scores[:0, 0], sizes=none, regions=0, lowest=lowest, highest=highest
        )
    regions, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    sizes = np.bincount(labels.ravel()).astype(np.int64)
    return ImagePixels(
        normal=scores[~mask],
        defect=scores[mask],
        sizes=sizes[labels[mask]],
        regions=regions - 1,
        lowest=lowest,
        highest=highest,
    )


def pool_defects(images: Sequence[ImagePixels]) -> DefectPixels:
    """The defect pixels of all images, sorted; cost O(d log d)."""
    scores = np.concatenate([image.defect.astype(np.float64) for image in images])
    sizes = np.concatenate([image.sizes for image in images])
    source = np.repeat(np.arange(len(images)), [len(image.defect) for image in images])
    order = np.lexsort((sizes, scores))
    scores = scores[order]
    new = np.ones(len(scores), np.bool_)
    new[1:] = scores[1:] != scores[:-1]
    return DefectPixels(scores=scores, shares=1.0 / sizes[order], image=source[order], first=np.flatnonzero(new))


def suffix_sums(values: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Sum of the values from the k-th on, one after the other; (n,) -> (n + 1,)."""
    sums = np.zeros(len(values) + 1, values.dtype)
    np.cumsum(values[::-1], out=sums[:-1][::-1])
    return sums


def pool(images: Sequence[ImagePixels]) -> PixelCounts:
    """The counts of a class; cost two passes over the normal pixels and a sort of the defect pixels."""
    pixels = pool_defects(images)
    parts = [image.normal for image in images]
    normals_from, normals_above = count_from(parts, pixels.cuts)
    return PixelCounts(
        pixels=pixels,
        defects_from=suffix_sums(np.ones(len(pixels.scores), np.int64)),
        shares_from=suffix_sums(pixels.shares),
        normals_from=normals_from,
        normals_above=normals_above,
        count_normals=lambda cuts: count_from(parts, cuts)[0],
        normals=sum(map(len, parts)),
        regions=sum(image.regions for image in images),
        lowest=min(image.lowest for image in images),
        highest=max(image.highest for image in images),
    )


def count_pixels(maps: ArrayLike, masks: ArrayLike) -> PixelCounts:
    """The counts of checked maps and masks; raises MetricError as `check_maps` and `check_masks` do."""
    checked = check_maps(maps)
    return pool([split_pixels(*pair) for pair in zip(checked, check_masks(masks, checked), strict=True)])


def check_pixels(counts: PixelCounts) -> PixelCounts:
    """The counts of a class's pixels, if its pixel metrics are defined; else raises UndefinedMetricError."""
    if counts.defects == 0:
        raise UndefinedMetricError("no mask marks a defect")
    if counts.normals == 0:
        raise UndefinedMetricError("no pixel is normal")
    if counts.lowest == counts.highest:
        raise UndefinedMetricError("every pixel has the same score")
    return counts
