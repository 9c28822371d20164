"""Confidence intervals: how far the numbers move when the images of each class are drawn anew.

Each resample draws as many images as the class has, with replacement, and is nothing but an integer weight per image.
The pixels are sorted once; a resample then costs a running sum over the sorted pixels' weights.
Percentile bootstrap: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from invad.metrics.checks import FloatArray
from invad.metrics.classes import Image, all_values
from invad.metrics.counts import DefectPixels, ImagePixels, PixelCounts, pool_defects, rank, suffix_sums
from invad.metrics.kernels import Float64Array, IntArray, weighted_ranks
from invad.metrics.results import KEYS, ClassResult, Interval, Protocol, Results

PERCENTILES = (2.5, 97.5)
"""The ends of a 95 % interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SortedPixels:
    """The pixels of a class, sorted once, each with the index of its image."""

    defect: DefectPixels
    normal: FloatArray  # (n,) ascending
    normal_image: npt.NDArray[np.uint16 | np.uint32]  # (n,)
    below: npt.NDArray[np.intp]  # (J,) normal pixels below each distinct defect score
    reached: npt.NDArray[np.intp]  # (J,) normal pixels at or below it
    regions: IntArray  # (images,)
    lowest: Float64Array  # (images,)
    highest: Float64Array  # (images,)


def sort_pixels(images: Sequence[ImagePixels]) -> SortedPixels:
    """Sort the pixels of all images; cost O(n log n)."""
    defect = pool_defects(images)
    normal = np.concatenate([image.normal for image in images])
    index: npt.NDArray[Any] = np.arange(len(images), dtype=np.uint16 if len(images) < 1 << 16 else np.uint32)
    order = np.argsort(normal)
    normal = normal[order]
    return SortedPixels(
        defect=defect,
        normal=normal,
        normal_image=np.repeat(index, [len(image.normal) for image in images])[order],
        below=count_below(normal, defect.cuts),
        reached=count_below(normal, np.nextafter(defect.cuts, np.inf)),
        regions=np.array([image.regions for image in images]),
        lowest=np.array([image.lowest for image in images]),
        highest=np.array([image.highest for image in images]),
    )


def weighted_counts(pixels: SortedPixels, weights: IntArray) -> PixelCounts:
    """The counts of a class in which image i is there weights[i] times, (images,)."""
    ranks = np.empty(len(pixels.normal) + 1, np.int64)
    weighted_ranks(pixels.normal_image, weights, ranks)
    each = weights[pixels.defect.image]
    drawn = weights > 0
    return PixelCounts(
        pixels=pixels.defect,
        defects_from=suffix_sums(each),
        shares_from=suffix_sums(each * pixels.defect.shares),
        normals_from=ranks[-1] - ranks[pixels.below],
        normals_above=ranks[-1] - ranks[pixels.reached],
        count_normals=lambda cuts: ranks[-1] - ranks[count_below(pixels.normal, cuts)],
        normals=int(ranks[-1]),
        regions=int(pixels.regions @ weights),
        lowest=float(pixels.lowest[drawn].min()),
        highest=float(pixels.highest[drawn].max()),
    )


def count_below(ascending: FloatArray, cuts: Float64Array) -> npt.NDArray[np.intp]:
    """Number of scores below each float64 cut, without widening the scores."""
    narrow = cuts.astype(ascending.dtype)
    up = np.nextafter(narrow, ascending.dtype.type(np.inf))
    return np.searchsorted(ascending, np.where(narrow < cuts, up, narrow))


def resample_weights(images: int, resamples: int, seed: int, name: str) -> IntArray:
    """How often each image is drawn in each resample, (resamples, images); a class's draws depend on no other class."""
    generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return np.stack([np.bincount(generator.integers(0, images, images), minlength=images) for _ in range(resamples)])


def resample_values(images: Sequence[Image], weights: IntArray, protocol: Protocol) -> Float64Array:
    """The fifteen numbers in each resample, NaN where undefined, (resamples, 15)."""
    labels = np.array([image.label(protocol) for image in images])
    scores = np.array([image.score for image in images])
    pixels = sort_pixels([image.pixels for image in images])
    found = np.empty((len(weights), len(KEYS)))
    for row, drawn in zip(found, weights, strict=True):
        ranking = rank(np.repeat(scores[labels], drawn[labels]), np.repeat(scores[~labels], drawn[~labels]))
        values, _ = all_values(ranking, weighted_counts(pixels, drawn), protocol)
        row[:] = [np.nan if (value := values[key]) is None else value for key in KEYS]
    return found


def intervals(found: Float64Array) -> dict[str, Interval]:
    """Key -> 95 % interval over the resamples that define it, (resamples, 15) -> (low, high); others are missing."""
    kept = {key: column[~np.isnan(column)] for key, column in zip(KEYS, found.T, strict=True)}
    ends = {key: np.percentile(column, PERCENTILES) for key, column in kept.items() if len(column)}
    return {key: (float(low), float(high)) for key, (low, high) in ends.items()}


def with_intervals(results: Results, images: Mapping[str, Sequence[Image]], resamples: int, seed: int) -> Results:
    """The results with the intervals of every class and of the mean."""
    classes, warnings, summed = [], list(results.warnings), np.zeros((resamples, len(KEYS)))
    for result in results.classes:
        found = _resample_class(result.name, images[result.name], results.protocol, resamples, seed)
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


def _resample_class(name: str, images: Sequence[Image], protocol: Protocol, resamples: int, seed: int) -> Float64Array:
    ordered = sorted(images, key=lambda image: image.digest)
    return resample_values(ordered, resample_weights(len(ordered), resamples, seed, name), protocol)


def _skip_warning(result: ClassResult, skipped: dict[str, int], resamples: int) -> list[str]:
    """A warning for the metrics that are defined on the class but not in every resample of it."""
    some = [f"{key} ({count})" for key, count in skipped.items() if result.values[key] is not None]
    return [f"{result.name}: left out of the intervals, of {resamples} resamples: {', '.join(some)}"] if some else []
