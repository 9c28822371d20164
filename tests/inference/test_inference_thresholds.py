"""Thresholds and what they promise, against brute force, SciPy and simulation."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score, precision_recall_curve

from invad.errors import MetricError, SettingsError
from invad.inference.thresholds import (
    alarm_ranks,
    beta_interval,
    binomial_interval,
    from_f1max,
    from_normal,
    from_recall,
    images_needed,
    is_reachable,
    is_recall_reachable,
)

scores = st.lists(st.floats(0, 2, width=32), min_size=1, max_size=60)
rates = st.sampled_from([0.001, 0.01, 0.03, 0.05, 0.1, 0.3, 0.5, 0.9])


@settings(deadline=None)
@given(scores, rates)
def test_the_threshold_is_the_lowest_that_keeps_the_promise(values: list[float], rate: float) -> None:
    """Brute force over exchangeability: each of N + 1 scores in turn is the new one, the others calibrate."""
    threshold = from_normal(values, rate)
    count = len(values)
    allowed = max(1, int(Fraction(str(rate)) * (count + 1)))
    assert sum(value >= threshold.image for value in values) <= allowed - 1, "so many of the N + 1 ranks are alarms"
    lower = max(value for value in values if value < threshold.image)
    assert sum(value >= lower for value in values) > allowed - 1, "the next lower one would be one too many"
    assert threshold.false_alarms == allowed / (count + 1)
    assert is_reachable(count, rate) == (threshold.false_alarms <= rate)
    assert threshold.pixel == threshold.image


@settings(deadline=None)
@given(st.lists(st.floats(0, 2, width=32), min_size=2, max_size=40), rates)
def test_leaving_each_out_in_turn_never_exceeds_the_rate(values: list[float], rate: float) -> None:
    """The finite statement behind conformal prediction, exact for any values, ties included."""
    alarms = sum(values[i] >= from_normal(values[:i] + values[i + 1 :], rate).image for i in range(len(values)))
    assert alarms <= alarm_ranks(len(values) - 1, rate)


@settings(deadline=None)
@given(st.permutations(list(range(12))), rates)
def test_order_does_not_matter_and_increasing_maps_carry_over(order: list[int], rate: float) -> None:
    values = np.linspace(0.1, 0.9, 12)
    threshold = from_normal(values, rate)
    assert from_normal(values[order], rate) == threshold
    cubed = from_normal(values**3, rate)
    assert ((values**3 >= cubed.image) == (values >= threshold.image)).all()


@pytest.mark.parametrize("count", [1, 5, 99, 100, 250, 1000])
@pytest.mark.parametrize("rate", [0.005, 0.01, 0.1])
def test_the_interval_is_that_of_the_order_statistic(count: int, rate: float) -> None:
    threshold = from_normal(np.arange(count) / count, rate)
    alarms = round(threshold.false_alarms * (count + 1))
    expected = stats.beta(alarms, count + 1 - alarms).ppf([0.025, 0.975])
    assert threshold.false_alarm_interval == pytest.approx(tuple(expected), rel=1e-9)


@pytest.mark.parametrize(("hits", "count"), [(0, 20), (20, 20), (3, 50), (1, 1), (0, 1), (499, 1000)])
def test_binomial_interval_is_scipys(hits: int, count: int) -> None:
    expected = stats.binomtest(hits, count).proportion_ci(0.95, "exact")
    assert binomial_interval(hits, count) == pytest.approx((expected.low, expected.high), rel=1e-9)


@settings(deadline=None)
@given(scores, scores)
def test_f1max_is_the_best_of_all_thresholds(normal: list[float], anomalous: list[float]) -> None:
    labels = [0] * len(normal) + [1] * len(anomalous)
    precision, recall, _ = precision_recall_curve(labels, [*normal, *anomalous])
    best = (2 * precision * recall / np.maximum(precision + recall, 1e-300)).max()
    threshold = from_f1max(normal, anomalous)
    assert f1_score(labels, np.array([*normal, *anomalous]) >= threshold.image) == pytest.approx(best)
    assert threshold.recall == np.mean(np.array(anomalous) >= threshold.image)
    assert threshold.false_alarms == np.mean(np.array(normal) >= threshold.image)


@settings(deadline=None)
@given(scores, st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]))
def test_the_recalls_threshold_is_the_mirror_of_the_false_alarms(anomalous: list[float], recall: float) -> None:
    threshold = from_recall([0.5], anomalous, recall)
    count = len(anomalous)
    missed = max(1, int((1 - Fraction(str(recall))) * (count + 1)))
    assert threshold.image == sorted(anomalous)[missed - 1]
    assert threshold.recall == pytest.approx((count + 1 - missed) / (count + 1))
    assert is_recall_reachable(count, recall) == (Fraction(count + 1 - missed, count + 1) >= Fraction(str(recall)))
    rate = float(1 - Fraction(str(recall)))
    mirrored = from_normal([-value for value in anomalous], rate)
    assert sum(-value >= mirrored.image for value in anomalous) == sum(value < threshold.image for value in anomalous)
    expected = stats.beta(count + 1 - missed, missed).ppf([0.025, 0.975])
    assert threshold.recall_interval == pytest.approx(tuple(expected), rel=1e-9)


@pytest.mark.parametrize(("rate", "upper"), [(0.01, 0.02), (0.01, 0.05), (0.1, 0.15), (0.05, 0.5), (0.002, 0.01)])
def test_images_needed_by_brute_force(rate: float, upper: float) -> None:
    def width(counts: range) -> np.ndarray:
        alarms = np.array([alarm_ranks(count, rate) for count in counts])
        return np.asarray(stats.beta.ppf(0.975, alarms, np.array(counts) + 1 - alarms))

    needed = images_needed(rate, upper)
    step = math.ceil(1 / rate)
    assert (width(range(needed, needed + 5 * step)) <= upper).all()
    assert needed < step or width(range(needed - step, needed - step + 1))[0] > upper, "one jump fewer is too few"


@settings(deadline=None)
@given(st.integers(2, 200), st.integers(0, 2**32 - 1))
def test_region_threshold_has_a_rate_of_its_own(count: int, seed: int) -> None:
    values = np.random.default_rng(seed).random(count)
    threshold = from_normal(values, 0.01, regions=0.2)
    assert threshold.image == from_normal(values, 0.01).image
    assert threshold.pixel == from_normal(values, 0.2).image <= threshold.image


DISTRIBUTIONS = {
    "normal": (stats.norm(0.3, 0.05), 0.0),
    "heavy tail": (stats.lomax(2.5), 0.0),
    "skewed": (stats.gamma(0.5), 0.0),
    "ties": (stats.norm(0.3, 0.05), 0.02),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize(("count", "rate"), [(50, 0.1), (99, 0.01), (40, 0.01), (400, 0.01)])
def test_promised_coverage_on_known_distributions(name: str, count: int, rate: float) -> None:
    """Over 2,000 calibrations the true rate, known from the distribution, keeps the promises of mean and interval."""
    distribution, grid = DISTRIBUTIONS[name]
    random = np.random.default_rng(7)
    true, inside, low, high = [], 0, 0.0, 0.0
    repeats = 2000
    promise = 0.0
    for values in distribution.rvs((repeats, count), random_state=random):
        threshold = from_normal(np.round(values / grid) * grid if grid else values, rate)
        cut = (math.floor(threshold.image / grid + 1e-6) + 0.5) * grid if grid else threshold.image
        true.append(distribution.sf(cut))
        low, high = threshold.false_alarm_interval
        inside += low <= true[-1] <= high
        promise = threshold.false_alarms
    error = 4 * np.std(true) / math.sqrt(repeats)  # one in 16,000 by chance
    if grid:
        assert np.mean(true) <= promise + error, "ties make the rate smaller, never larger"
        assert np.mean(np.array(true) <= high) >= 0.975 - 4 * math.sqrt(0.025 * 0.975 / repeats)
    else:
        assert abs(np.mean(true) - promise) <= error
        assert abs(inside / repeats - 0.95) <= 4 * math.sqrt(0.05 * 0.95 / repeats)


@pytest.mark.parametrize("bad", [[], [math.nan], [0.1, math.inf]])
def test_scores_that_are_none_are_refused(bad: list[float]) -> None:
    with pytest.raises(MetricError, match="at least one normal image, all finite"):
        from_normal(bad, 0.01)
    with pytest.raises(MetricError, match="at least one anomalous image"):
        from_f1max([0.1], bad)


@pytest.mark.parametrize("rate", [0, 1, -0.1, 5, math.nan])
def test_rates_out_of_range_are_refused(rate: float) -> None:
    for call in (
        lambda: from_normal([0.1], rate),
        lambda: from_normal([0.1], 0.5, regions=rate),
        lambda: from_recall([0.1], [0.2], rate),
        lambda: images_needed(rate, 0.5),
    ):
        with pytest.raises(SettingsError, match="between 0 and 1"):
            call()
    with pytest.raises(SettingsError, match="cannot end at"):
        images_needed(0.1, 0.1)


def test_few_images_reach_what_they_can() -> None:
    threshold = from_normal([0.1, 0.3, 0.2], 0.01)
    assert threshold.image == math.nextafter(0.3, math.inf) and threshold.false_alarms == 0.25
    assert beta_interval(1, 3) == threshold.false_alarm_interval
