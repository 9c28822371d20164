"""Whether one model is better than another on the same images: intervals of the differences, by resampling pairs.

Each resample draws images, and both models are measured on those that were drawn: what makes an image hard is hard for
both and drops out of the difference, which two intervals side by side do not tell.
Paired bootstrap: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, sections 8.3 and 13.3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from invad.errors import MetricError
from invad.metrics.bootstrap import intervals, resample_values, resample_weights
from invad.metrics.classes import Image
from invad.metrics.keys import Float64Array
from invad.metrics.results import Interval, Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Differences:
    """95 % intervals of the first model's numbers less the second's; a key that no resample defines is missing."""

    classes: dict[str, dict[str, Interval]]
    mean: dict[str, Interval]
    """Of the means over all classes."""
    resamples: int
    seed: int


def paired_differences(
    first: Mapping[str, Sequence[Image]],
    second: Mapping[str, Sequence[Image]],
    *,
    protocol: Protocol,
    resamples: int,
    seed: int,
    threads: int,
) -> Differences:
    """Return the intervals of the differences.

    Args:
        first: the images of each class, as a model saw them.
        second: the same images in the same order, as another did.
        protocol: which numbers.
        resamples: how often images are drawn, at least once.
        seed: of the resampling.
        threads: how many to use; the numbers do not depend on it.

    Raises:
        MetricError: the images are not the same, as far as their number and labels show, or `resamples` is below 1.
    """
    if resamples < 1:
        raise MetricError(f"paired intervals need one resample or more, not {resamples}")
    if first.keys() != second.keys():
        raise MetricError(f"expected the same classes of both models; got {sorted(first)} and {sorted(second)}")
    drawn: dict[str, Float64Array] = {}
    for name in sorted(first):
        _check_pairs(name, first[name], second[name])
        weights = resample_weights(len(first[name]), resamples, seed, name)
        a, b = (resample_values(images, weights, protocol, threads) for images in (first[name], second[name]))
        drawn[name] = a - b  # (resamples, 15), NaN where either is undefined
    return Differences(
        classes={name: intervals(found) for name, found in drawn.items()},
        mean=intervals(_mean(list(drawn.values()))),
        resamples=resamples,
        seed=seed,
    )


def _mean(drawn: Sequence[Float64Array]) -> Float64Array:
    """The differences of the means, (resamples, 15): over the classes that any resample defines, as the means are."""
    counted = [~np.isnan(found).all(axis=0) for found in drawn]
    total = sum((np.where(there, found, 0.0) for there, found in zip(counted, drawn)), np.zeros(drawn[0].shape))
    classes = np.sum(counted, axis=0)  # (15,)
    mean: Float64Array = np.where(classes > 0, total / np.maximum(classes, 1), np.nan)
    return mean


def _check_pairs(name: str, first: Sequence[Image], second: Sequence[Image]) -> None:
    """Refuse what cannot be the same images."""
    if [image.anomalous for image in first] != [image.anomalous for image in second]:
        raise MetricError(f"{name}: the two models did not see the same images in the same order")


def is_real(interval: Interval | None) -> bool:
    """Whether an interval of a difference leaves out 0.

    Example:
        >>> is_real((0.01, 0.03)), is_real((-0.01, 0.03)), is_real(None)
        (True, False, False)
    """
    return interval is not None and not interval[0] <= 0 <= interval[1]
