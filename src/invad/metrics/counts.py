"""From maps and masks to the counts that every metric is made of.

A metric that ranks pixels needs, for each distinct score of a *defect* pixel, how many defect and how many normal
pixels reach it; between two such scores only the false positives grow. Defect pixels are few (1 to 3 %), so they are
sorted and the many normal ones are only counted (`invad.metrics.counting`), at the fixed thresholds in the same pass.
Counts are integers and floating-point sums run in an order given by the scores, so the result does not depend on the
order of the images or the number of threads, to the bit.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from invad.metrics.checks import ArrayLike, BoolArray, FloatArray, UndefinedMetricError
from invad.metrics.counting import count_in_threads, make_table
from invad.metrics.cuts import fixed_cuts
from invad.metrics.kernels import DIGITS, sort_digits
from invad.metrics.keys import Float64Array, IntArray, keys_from, to_keys, to_scores
from invad.metrics.pixels import ImagePixels, read_pixels
from invad.metrics.threads import choose_threads

BLOCK = 1 << 17
"""Thresholds that a metric is computed for at a time."""
Count = Callable[[Any], IntArray]
"""Ascending, distinct keys (K,) -> normal pixels in each slot (2 K + 1,), as `invad.metrics.counting` has them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """At each distinct score of a positive, from the highest: how many positives and negatives reach it."""

    scores: FloatArray  # (J,) descending
    positives_from: IntArray  # (J,) with a score >= this one
    negatives_from: IntArray  # (J,) with a score >= this one
    negatives_above: IntArray  # (J,) with a score > this one
    positives: int
    negatives: int
    constant: bool
    """Whether all scores, of positives and negatives, are the same."""


def blocks(count: int) -> Iterator[slice]:
    """Runs of `BLOCK` thresholds, so that what is computed of them on the way stays in a cache."""
    for first in range(0, count, BLOCK):
        yield slice(first, min(first + BLOCK, count))


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """How many pixels reach each of K ascending cuts, and the shares of their regions that the defect pixels are."""

    cuts: FloatArray  # (K,)
    defects: IntArray  # (K,)
    shares: Float64Array  # (K,)
    normals: IntArray  # (K,)


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelCounts:
    """All that the pixel and region metrics of a class are computed from."""

    distinct: Reached  # at each distinct score of a defect pixel
    above: IntArray  # (J,) normal pixels above it
    fixed: Reached  # at each cut that a metric at fixed thresholds may ask for
    defects: int
    normals: int
    regions: int
    lowest: float
    highest: float

    @property
    def ranking(self) -> Ranking:
        """The counts at each distinct defect score, from the highest."""
        return Ranking(
            scores=self.distinct.cuts[::-1],
            positives_from=self.distinct.defects[::-1],
            negatives_from=self.distinct.normals[::-1],
            negatives_above=self.above[::-1],
            positives=self.defects,
            negatives=self.normals,
            constant=self.lowest == self.highest,
        )

    def overlaps(self, block: slice = slice(None)) -> Float64Array:
        """Per-region overlap at a block of the distinct defect scores, from the highest, in [0, 1]."""
        found: Float64Array = np.minimum(self.distinct.shares[::-1][block] / self.regions, 1.0)
        return found

    def at(self, cuts: Float64Array) -> tuple[IntArray, IntArray, Float64Array]:
        """Defect pixels and normal pixels with a score >= each of some fixed cuts, and the regions' overlap; (K,)."""
        place = np.searchsorted(self.fixed.cuts, cuts)
        return self.fixed.defects[place], self.fixed.normals[place], self.fixed.shares[place] / self.regions


def rank(positives: FloatArray, negatives: FloatArray) -> Ranking:
    """Ranking of two small sets of scores, (P,) and (Q,)."""
    distinct, at = np.unique(positives.astype(np.float64), return_counts=True)
    ordered = np.sort(negatives.astype(np.float64))
    both = np.concatenate((distinct, ordered))
    return Ranking(
        scores=distinct[::-1],
        positives_from=np.cumsum(at[::-1]).astype(np.int64),
        negatives_from=(len(ordered) - np.searchsorted(ordered, distinct, "left")[::-1]).astype(np.int64),
        negatives_above=(len(ordered) - np.searchsorted(ordered, distinct, "right")[::-1]).astype(np.int64),
        positives=len(positives),
        negatives=len(negatives),
        constant=len(both) == 0 or bool((both == both[0]).all()),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Cuts:
    """Where a class's normal pixels are to be counted: at the distinct defect scores and at fixed cuts, in one row."""

    keys: Any  # (K,) ascending and distinct
    new: BoolArray  # (d,) whether a defect pixel's score is not that of the one before
    own: BoolArray  # (K,) whether a key is a defect pixel's
    raw: Float64Array  # (F,) the fixed cuts
    at: npt.NDArray[np.intp]  # (F,) their places among the keys
    reach: npt.NDArray[np.intp]  # (F,) defect pixels below each


def merge_cuts(keys: Any, raw: Float64Array) -> Cuts:
    """The scores of defect pixels, as keys (d,), and fixed cuts (F,), both ascending, in one row."""
    new = np.ones(len(keys), np.bool_)
    new[1:] = keys[1:] != keys[:-1]
    distinct, fixed = keys[new], keys_from(raw, f"f{keys.itemsize}")
    place = np.searchsorted(distinct, fixed)
    found = place < len(distinct)
    found[found] = distinct[place[found]] == fixed[found]
    others = np.unique(fixed[~found])
    before = np.searchsorted(distinct, others)
    both = np.insert(distinct, before, others)
    own = np.ones(len(both), np.bool_)
    own[before + np.arange(len(others))] = False
    at, reach = np.searchsorted(both, fixed), np.searchsorted(keys, fixed)
    return Cuts(keys=both, new=new, own=own, raw=raw, at=at, reach=reach)


def widest(images: Sequence[ImagePixels]) -> npt.DTypeLike:
    """The float that holds all scores: float32, or float64 if any map is."""
    return max((image.defect.dtype for image in images), key=lambda kind: kind.itemsize)


def sort_defects(images: Sequence[ImagePixels]) -> tuple[Any, npt.NDArray[np.uint32]]:
    """Keys and sizes of the regions of all defect pixels, ascending by both, (d,); float32 costs O(d)."""
    keys = to_keys(np.concatenate([image.defect for image in images], dtype=widest(images)))
    sizes = join_sizes(images)
    if keys.itemsize == 8:
        order = np.lexsort((sizes, keys))
        return keys[order], sizes[order]
    width = np.uint64(int(sizes.max(initial=0)).bit_length())
    packed = keys.astype(np.uint64)
    packed <<= width
    packed |= sizes
    packed = sort_digits(packed, np.empty_like(packed), np.empty(DIGITS, np.int64))
    return (packed >> width).astype(np.uint32), packed.astype(np.uint32) & np.uint32((1 << int(width)) - 1)


def join_sizes(images: Sequence[ImagePixels]) -> npt.NDArray[np.uint32]:
    """The sizes of the regions of all defect pixels, (d,)."""
    return np.concatenate([image.sizes for image in images])


def pool(images: Sequence[ImagePixels], threads: int) -> PixelCounts:
    """The counts of a class; cost one pass over the normal pixels and a sort of the defect pixels."""
    sources, normals = [image.source for image in images], sum(image.normals for image in images)
    return pool_with(images, lambda keys: count_in_threads(make_table(keys), sources, normals, threads))


def pool_with(images: Sequence[ImagePixels], count: Count) -> PixelCounts:
    """The counts of a class whose normal pixels somebody else counts."""
    keys, sizes = sort_defects(images)
    extent = min(image.lowest for image in images), max(image.highest for image in images)
    cuts = merge_cuts(keys, fixed_cuts(*extent))
    del keys
    normals = reach_normals(cuts, count(cuts.keys))
    defects, regions = count_defects(cuts), sum(image.regions for image in images)
    return join_counts(cuts, defects, reach_defects(cuts, 1.0 / sizes), normals, regions=regions, extent=extent)


@dataclass(frozen=True, kw_only=True, slots=True)
class Normals:
    """How many normal pixels reach the cuts."""

    distinct: IntArray  # (J,) with a score >= each distinct defect score
    above: IntArray  # (J,) with a score above it
    fixed: IntArray  # (F,) with a score >= each fixed cut
    total: int


def reach_normals(cuts: Cuts, slots: Any) -> Normals:
    """The normal pixels that reach the cuts, from those in each slot, (2 K + 1,), which `sum_up` changes."""
    sum_up(slots)
    at, above = slots[1:-1:2], slots[2::2]
    return Normals(
        distinct=at[cuts.own].astype(np.int64),
        above=above[cuts.own].astype(np.int64),
        fixed=at[cuts.at].astype(np.int64),
        total=int(slots[0]),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Defects:
    """Sums over the defect pixels that reach the cuts."""

    distinct: Any  # (J,) with a score >= each distinct defect score
    fixed: Any  # (F,) with a score >= each fixed cut
    total: Any


def count_defects(cuts: Cuts) -> Defects:
    """How many defect pixels reach the cuts."""
    count = len(cuts.new)
    return Defects(distinct=count - np.flatnonzero(cuts.new), fixed=count - cuts.reach, total=count)


def reach_defects(cuts: Cuts, values: npt.NDArray[Any]) -> Defects:
    """The values (d,) of the defect pixels that reach the cuts, which `sum_up` changes."""
    sum_up(values)
    fixed, inside = np.zeros(len(cuts.reach), values.dtype), cuts.reach < len(values)
    fixed[inside] = values[cuts.reach[inside]]
    return Defects(distinct=values[cuts.new], fixed=fixed, total=values[0] if len(values) else values.dtype.type(0))


def sum_up(values: npt.NDArray[Any]) -> None:
    """Put the sum of the values from each one on in its place, the last value first; (n,)."""
    np.cumsum(values[::-1], dtype=values.dtype, out=values[::-1])


def join_counts(
    cuts: Cuts, defects: Defects, shares: Defects, normals: Normals, *, regions: int, extent: tuple[float, float]
) -> PixelCounts:
    """The counts from those of the defect pixels, their shares of their regions, and those of the normal ones."""
    scores = to_scores(cuts.keys[cuts.own])
    return PixelCounts(
        distinct=Reached(cuts=scores, defects=defects.distinct, shares=shares.distinct, normals=normals.distinct),
        above=normals.above,
        fixed=Reached(cuts=cuts.raw, defects=defects.fixed, shares=shares.fixed, normals=normals.fixed),
        defects=int(defects.total),
        normals=normals.total,
        regions=regions,
        lowest=extent[0],
        highest=extent[1],
    )


def count_pixels(maps: ArrayLike, masks: ArrayLike) -> PixelCounts:
    """The counts of maps and masks; raises MetricError as `read_pixels` does."""
    threads = choose_threads(None)
    return pool(read_pixels(maps, masks, threads), threads)


def check_pixels(counts: PixelCounts) -> PixelCounts:
    """The counts of a class's pixels, if its pixel metrics are defined; else raises UndefinedMetricError."""
    reason = _why_undefined(counts)
    if reason is not None:
        raise UndefinedMetricError(reason)
    return counts


def is_defined(counts: PixelCounts) -> bool:
    """Whether a class has pixel metrics."""
    return _why_undefined(counts) is None


def _why_undefined(counts: PixelCounts) -> str | None:
    """Why a class has no pixel metrics; None where it has."""
    if counts.defects == 0:
        return "no mask marks a defect"
    if counts.normals == 0:
        return "no pixel is normal"
    if counts.lowest == counts.highest:
        return "every pixel has the same score"
    return None
