"""Thresholds from scores, with what they promise: pure statistics, no files and no model.

**From normal images alone.** N normal scores that no threshold or weight was chosen by, and the score of one more
normal image, are exchangeable: each of the N + 1 is as likely as any other to be the largest, the second largest, and
so on. So the chance that the new one lies above the k-th smallest of the N is (N + 1 - k) / (N + 1), whatever the
scores' distribution; with ties it is less. For a false-alarm rate `a` we take k = ceil((N + 1) (1 - a)), the smallest
that keeps this chance at or below `a`: the threshold of split conformal prediction. The true rate of the threshold that
came out is random through the N images; it follows Beta(N + 1 - k, k), which gives its interval exactly.

**From defective images** a wanted recall is the same with the tails exchanged.

Reference: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World (2005), chapter 2; David and Nagaraja,
Order Statistics (2003), section 2.3; Clopper and Pearson, Biometrika 26 (1934).
"""

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from invad.errors import MetricError, SettingsError

CONFIDENCE = 0.95
"""How often the intervals hold what they are about."""
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """From which score on an image counts as anomalous, and what that promises."""

    image: float
    """The image score from which on an image counts as anomalous."""
    pixel: float
    """The map's value from which on a pixel belongs to a region."""
    normal: int
    """The normal images that it comes from."""
    false_alarms: float
    """Share of new normal images that are expected to count as anomalous, in [0, 1]: at most this (from normal images
    alone), or as measured on those it comes from (from labelled ones)."""
    false_alarm_interval: Interval
    """Where the true share lies, with the confidence of the calibration."""
    anomalous: int = 0
    """The anomalous images that it comes from; 0 where it comes from normal ones alone."""
    recall: float | None = None
    """Share of new anomalous images that are expected to be found, in [0, 1]; None where there were none."""
    recall_interval: Interval | None = None
    """Where the true recall lies, with the same confidence."""


def from_normal(normal: ArrayLike, rate: float, *, regions: float | None = None) -> Threshold:
    """Return the lowest threshold that keeps the expected false-alarm rate at or below the one wanted.

    With fewer than 1 / rate - 1 images no threshold can promise the rate. The one returned then lies just above the
    largest score, and its `false_alarms` says the smallest rate that so many images reach, 1 / (N + 1).

    Args:
        normal: scores of normal images that were not trained on, (N,).
        rate: the false-alarm rate wanted, in (0, 1).
        regions: share of normal images wanted that have a region at all, in (0, 1); None: the rate, so that an image
            is anomalous exactly where it has a region.

    Raises:
        MetricError: there is no score, or one that is not finite.
        SettingsError: a rate is not in (0, 1).

    Example:
        >>> threshold = from_normal([0.1, 0.2, 0.3, 0.4], rate=0.4)
        >>> 0.3 < threshold.image < 0.300001, threshold.false_alarms
        (True, 0.4)
    """
    scores = _checked(normal, "normal")
    alarms = alarm_ranks(len(scores), rate)
    image = above(scores, rate)
    return Threshold(
        image=image,
        pixel=image if regions is None else above(scores, regions),
        normal=len(scores),
        false_alarms=alarms / (len(scores) + 1),
        false_alarm_interval=beta_interval(alarms, len(scores) + 1 - alarms),
    )


def from_recall(normal: ArrayLike, anomalous: ArrayLike, recall: float, *, regions: float | None = None) -> Threshold:
    """Return the highest threshold that keeps the expected recall at or above the one wanted.

    With fewer than 1 / (1 - recall) - 1 anomalous images no threshold can promise the recall. The one returned is then
    the lowest score, and its `recall` says the highest that so many images reach, N / (N + 1).

    Args:
        normal: scores of normal images, (N,), for the false alarms at that threshold.
        anomalous: scores of anomalous images, (M,).
        recall: share of anomalous images wanted that are found, in (0, 1).
        regions: as in `from_normal`, but None: regions begin at the image's threshold.

    Raises: as `from_normal`.

    Example:
        >>> from_recall([0.1], [0.2, 0.3, 0.4], recall=0.75).image
        0.2
    """
    check_share("recall", recall)
    scores, found = _checked(normal, "normal"), _checked(anomalous, "anomalous")
    missed = max(1, math.floor((len(found) + 1) * (1 - _exact(recall))))
    kept = len(found) + 1 - missed
    measured = _from_labelled(scores, found, float(found[missed - 1]), regions)
    return replace(measured, recall=kept / (len(found) + 1), recall_interval=beta_interval(kept, missed))


def from_f1max(normal: ArrayLike, anomalous: ArrayLike, *, regions: float | None = None) -> Threshold:
    """Return the threshold with the highest F1 on these images; of several, the highest.

    False alarms and recall are those of the images that it was chosen on, which flatters them a little.

    Args and raises as `from_recall`.

    Example:
        >>> from_f1max([0.1, 0.2], [0.15, 0.3, 0.4]).image
        0.15
    """
    scores, found = _checked(normal, "normal"), _checked(anomalous, "anomalous")
    cuts = np.unique(found)[::-1]  # (M',), from the highest; between two of them only false alarms grow
    hits = len(found) - np.searchsorted(found, cuts)
    alarms = len(scores) - np.searchsorted(scores, cuts)
    f1 = 2 * hits / (len(found) + hits + alarms)
    return _from_labelled(scores, found, float(cuts[np.argmax(f1)]), regions)


def alarm_ranks(count: int, rate: float) -> int:
    """Return how many of the `count + 1` ranks of a new score are alarms: at most the rate's share, at least one.

    Raises:
        SettingsError: the rate is not in (0, 1).

    Example:
        >>> alarm_ranks(99, 0.01), alarm_ranks(98, 0.01), alarm_ranks(299, 0.01)
        (1, 1, 3)
    """
    check_share("false-alarm rate", rate)
    return max(1, math.floor((count + 1) * _exact(rate)))


def is_reachable(count: int, rate: float) -> bool:
    """Return whether so many images can promise the rate.

    Example:
        >>> is_reachable(99, 0.01), is_reachable(98, 0.01)
        (True, False)
    """
    return (count + 1) * _exact(rate) >= 1


def is_recall_reachable(count: int, recall: float) -> bool:
    """Return whether so many anomalous images can promise the recall.

    Example:
        >>> is_recall_reachable(9, 0.9), is_recall_reachable(8, 0.9)
        (True, False)
    """
    return (count + 1) * (1 - _exact(recall)) >= 1


def above(scores: NDArray[np.float64], rate: float) -> float:
    """Return the smallest number above the k-th smallest of sorted scores (N,), k = ceil((N + 1) (1 - rate)) or N."""
    return math.nextafter(float(scores[len(scores) - alarm_ranks(len(scores), rate)]), math.inf)


def beta_interval(successes: float, failures: float, confidence: float = CONFIDENCE) -> Interval:
    """Return the equal-tailed interval of Beta(successes, failures).

    Example:
        >>> low, high = beta_interval(1, 99)  # the largest of 99 scores
        >>> round(low, 5), round(high, 4)
        (0.00026, 0.0366)
    """
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    return float(betaincinv(successes, failures, tail)), float(betaincinv(successes, failures, 1 - tail))


def binomial_interval(hits: int, count: int, confidence: float = CONFIDENCE) -> Interval:
    """Return the interval of Clopper and Pearson for a share of which `hits` of `count` were seen.

    Example:
        >>> low, high = binomial_interval(0, 20)
        >>> low, round(high, 3)
        (0.0, 0.168)
    """
    low = beta_interval(hits, count - hits + 1, confidence)[0] if hits else 0.0
    high = beta_interval(hits + 1, count - hits, confidence)[1] if hits < count else 1.0
    return low, high


def images_needed(rate: float, upper: float, confidence: float = CONFIDENCE) -> int:
    """Return how many normal images are enough, however many more there are, for an interval that ends at `upper`.

    The interval jumps each time that one more rank may be an alarm, and is widest just after the jump; so we look for
    the first jump from which on all are narrow enough.

    Args:
        rate: the false-alarm rate wanted, in (0, 1).
        upper: where its interval may end, above the rate.
        confidence: of the interval.

    Raises:
        SettingsError: the rate is not in (0, 1), or `upper` not above it.

    Example:
        >>> images_needed(0.01, 0.02)
        599
    """
    check_share("false-alarm rate", rate)
    if not rate < upper:
        raise SettingsError(f"an interval about a rate of {rate:g} cannot end at {upper:g}; choose a larger end")

    def enough(alarms: int) -> bool:
        count = _first_count(alarms, rate)
        return beta_interval(alarms, count + 1 - alarms, confidence)[1] <= upper

    most = 1
    while not enough(most):
        most *= 2
    least = most // 2  # not enough, or 0
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if enough(middle) else (middle, most)
    return _first_count(most, rate)


def _first_count(alarms: int, rate: float) -> int:
    """The fewest images with which so many ranks are alarms."""
    return math.ceil(alarms / _exact(rate)) - 1


def _from_labelled(
    normal: NDArray[np.float64], anomalous: NDArray[np.float64], image: float, regions: float | None
) -> Threshold:
    """A threshold with false alarms and recall as measured."""
    alarms, hits = int((normal >= image).sum()), int((anomalous >= image).sum())
    return Threshold(
        image=image,
        pixel=image if regions is None else above(normal, regions),
        normal=len(normal),
        false_alarms=alarms / len(normal),
        false_alarm_interval=binomial_interval(alarms, len(normal)),
        anomalous=len(anomalous),
        recall=hits / len(anomalous),
        recall_interval=binomial_interval(hits, len(anomalous)),
    )


def _checked(scores: ArrayLike, what: str) -> NDArray[np.float64]:
    """Scores (N,), sorted."""
    values = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if not len(values) or not np.isfinite(values).all():
        raise MetricError(f"a threshold needs the scores of at least one {what} image, all finite; got {len(values)}")
    return values


def check_share(what: str, value: float) -> None:
    """Refuse what is no share.

    Raises:
        SettingsError: the value is not in (0, 1).
    """
    if not 0 < value < 1:
        raise SettingsError(f"expected a {what} between 0 and 1, such as 0.01 or 0.95, got {value:g}")


def _exact(share: float) -> Fraction:
    """The share as it is written: 0.01 is a hundredth, which no binary number is."""
    return Fraction(repr(float(share)))
