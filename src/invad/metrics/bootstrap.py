"""Confidence intervals: how far the numbers move when the images of each class are drawn anew.

Each resample draws as many images as the class has, with replacement, and is nothing but an integer weight per image.
The images of the normal pixels are filed once by the pixels' slots (`invad.metrics.counting`); a resample then costs a
sum of weights over them.
Percentile bootstrap: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from invad.metrics import kernels
from invad.metrics.classes import Image, all_values
from invad.metrics.counting import count_in_threads, file_normals, make_table
from invad.metrics.counts import (
    Cuts,
    PixelCounts,
    join_counts,
    join_sizes,
    merge_cuts,
    rank,
    reach_defects,
    reach_normals,
    widest,
)
from invad.metrics.cuts import fixed_cuts
from invad.metrics.keys import Float64Array, IntArray, to_keys
from invad.metrics.pixels import ImagePixels
from invad.metrics.results import KEYS, ClassResult, Interval, Protocol, Results
from invad.metrics.threads import in_threads

PERCENTILES = (2.5, 97.5)
"""The ends of a 95 % interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FiledPixels:
    """The pixels of a class in the order of their scores, each with the index of its image."""

    cuts: Cuts
    shares: Float64Array  # (d,) 1 / size of the defect pixel's region, in the order of the pixels' scores
    defect_image: npt.NDArray[np.intp]  # (d,)
    normal_image: npt.NDArray[np.uint16 | np.uint32]  # (n,) slot after slot, without those below all cuts or above
    ends: IntArray  # (2 K - 1,) where each slot's images end there
    outside: IntArray  # (images, 2) normal pixels below all cuts, and above
    regions: IntArray  # (images,)
    extents: Float64Array  # (resamples, 2) lowest and highest score of the images drawn


def file_pixels(images: Sequence[ImagePixels], weights: IntArray, threads: int) -> FiledPixels:
    """File the pixels of all images for resamples with such weights (resamples, images)."""
    extents = drawn_extents(images, weights)
    raw = np.unique(np.concatenate([fixed_cuts(*extent) for extent in np.unique(extents, axis=0).tolist()]))
    keys = to_keys(np.concatenate([image.defect for image in images], dtype=widest(images)))
    sizes = join_sizes(images)
    order = np.lexsort((sizes, keys))
    keys = keys[order]
    cuts = merge_cuts(keys, raw)
    table, sources = make_table(cuts.keys), [image.source for image in images]
    normals = sum(image.normals for image in images)
    ends = np.cumsum(count_in_threads(table, sources, normals, threads)[1:-1], dtype=np.int64)
    normal_image, outside = file_normals(table, sources, ends)
    return FiledPixels(
        cuts=cuts,
        shares=1.0 / sizes[order],
        defect_image=np.repeat(np.arange(len(images)), [len(image.defect) for image in images])[order],
        normal_image=normal_image,
        ends=ends,
        outside=outside,
        regions=np.array([image.regions for image in images]),
        extents=extents,
    )


def drawn_extents(images: Sequence[ImagePixels], weights: IntArray) -> Float64Array:
    """Lowest and highest score of the images drawn in each resample, (resamples, 2)."""
    lowest, highest = np.array([image.lowest for image in images]), np.array([image.highest for image in images])
    drawn = [row > 0 for row in weights]
    return np.array([(lowest[chosen].min(), highest[chosen].max()) for chosen in drawn])


def weighted_counts(pixels: FiledPixels, weights: IntArray, extent: Float64Array) -> PixelCounts:
    """The counts of a class in which image i is there weights[i] times, (images,)."""
    slots = np.empty(len(pixels.ends) + 2, np.int64)
    kernels.weigh_slots(pixels.normal_image, pixels.ends, weights, slots[1:-1])
    slots[[0, -1]] = weights @ pixels.outside
    each = weights[pixels.defect_image]
    shares, defects = reach_defects(pixels.cuts, each * pixels.shares), reach_defects(pixels.cuts, each)
    normals = reach_normals(pixels.cuts, slots)
    low, high = extent.tolist()
    regions = int(pixels.regions @ weights)
    return join_counts(pixels.cuts, defects, shares, normals, regions=regions, extent=(low, high))


def resample_weights(images: int, resamples: int, seed: int, name: str) -> IntArray:
    """How often each image is drawn in each resample, (resamples, images); a class's draws depend on no other class."""
    generator = np.random.default_rng([seed, zlib.crc32(name.encode("utf-8", "surrogateescape"))])
    return np.stack([np.bincount(generator.integers(0, images, images), minlength=images) for _ in range(resamples)])


def resample_values(images: Sequence[Image], weights: IntArray, protocol: Protocol, threads: int = 1) -> Float64Array:
    """The fifteen numbers in each resample, NaN where undefined, (resamples, 15)."""
    labels = np.array([image.label(protocol) for image in images])
    scores = np.array([image.score for image in images])
    pixels = file_pixels([image.pixels for image in images], weights, threads)

    def values(resample: int) -> list[float]:
        drawn = weights[resample]
        ranking = rank(np.repeat(scores[labels], drawn[labels]), np.repeat(scores[~labels], drawn[~labels]))
        found, _ = all_values(ranking, weighted_counts(pixels, drawn, pixels.extents[resample]), protocol)
        return [np.nan if (value := found[key]) is None else value for key in KEYS]

    return np.array(in_threads(values, range(len(weights)), threads))


def intervals(found: Float64Array) -> dict[str, Interval]:
    """Key -> 95 % interval over the resamples that define it, (resamples, 15) -> (low, high); others are missing."""
    kept = {key: column[~np.isnan(column)] for key, column in zip(KEYS, found.T, strict=True)}
    ends = {key: np.percentile(column, PERCENTILES) for key, column in kept.items() if len(column)}
    return {key: (float(low), float(high)) for key, (low, high) in ends.items()}


def with_intervals(
    results: Results, images: Mapping[str, Sequence[Image]], resamples: int, seed: int, threads: int
) -> Results:
    """The results with the intervals of every class and of the mean."""
    classes, warnings, summed = [], list(results.warnings), np.zeros((resamples, len(KEYS)))
    for result in results.classes:
        found = _resample_class(result.name, images[result.name], results.protocol, resamples, seed, threads)
        skipped = {key: int(count) for key, count in zip(KEYS, np.isnan(found).sum(0), strict=True) if count}
        classes.append(replace(result, intervals=intervals(found), skipped_resamples=skipped))
        warnings += _skip_warning(result, skipped, resamples)
        defined = np.array([result.values[key] is not None for key in KEYS])
        summed += np.where(defined, found, 0.0)  # NaN marks a resample that this class leaves undefined
    counted = np.array([len(classes) - results.skipped[key] for key in KEYS])
    with np.errstate(invalid="ignore"):
        of_mean = intervals(summed / counted)
    return replace(
        results,
        classes=tuple(classes),
        warnings=tuple(warnings),
        intervals=of_mean,
        resamples=resamples,
        seed=seed,
    )


def _resample_class(
    name: str, images: Sequence[Image], protocol: Protocol, resamples: int, seed: int, threads: int
) -> Float64Array:
    digests = in_threads(lambda image: image.digest, images, threads)
    ordered = [images[index] for index in sorted(range(len(images)), key=digests.__getitem__)]
    return resample_values(ordered, resample_weights(len(ordered), resamples, seed, name), protocol, threads)


def _skip_warning(result: ClassResult, skipped: dict[str, int], resamples: int) -> list[str]:
    """A warning for the metrics that are defined on the class but not in every resample of it."""
    some = [f"{key} ({count})" for key, count in skipped.items() if result.values[key] is not None]
    return [f"{result.name}: left out of the intervals, of {resamples} resamples: {', '.join(some)}"] if some else []
