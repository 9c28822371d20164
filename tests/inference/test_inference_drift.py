"""Drift: false warnings as rarely as stated, and what drift looks like is found."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from invad.errors import SettingsError
from invad.inference.calibration import Calibration
from invad.inference.drift import FALSE_WARNINGS, FEWEST, WINDOW, DriftWatch, compare
from invad.inference.thresholds import from_normal


def calibration(**scores: np.ndarray) -> Calibration:
    return Calibration(
        method="false-alarms",
        wanted=0.05,
        overall=from_normal(np.concatenate(list(scores.values())), 0.05),
        classes={name: from_normal(values, 0.05) for name, values in scores.items()},
        scores={name: tuple(np.sort(values).tolist()) for name, values in scores.items()},
        images="made",
        model="",
    )


@pytest.mark.parametrize(("count", "new"), [(30, FEWEST), (100, 60), (200, 500)])
def test_false_warnings_are_as_rare_as_stated(count: int, new: int) -> None:
    random = np.random.default_rng(3)
    repeats = 3000
    warnings = 0
    tails = []
    for _ in range(repeats):
        drift = compare(np.sort(random.gamma(0.5, size=count)), random.gamma(0.5, size=new).tolist())
        warnings += drift.warns
        tails.append(drift.tail)
    assert warnings <= stats.binom(repeats, FALSE_WARNINGS).ppf(0.9999)
    for level in (0.01, 0.05, 0.2):  # a p-value: no more than the level lie at or below it
        seen = sum(tail <= level for tail in tails)
        assert seen <= stats.binom(repeats, level).ppf(0.9999), level


def test_the_tails_chance_is_that_of_ranks() -> None:
    """By simulation of ranks: how many of m new ones lie above the e-th highest of N."""
    random = np.random.default_rng(0)
    ranks = random.random((20_000, 60 + 25)).argsort(axis=1).argsort(axis=1)
    cut = np.sort(ranks[:, :60], axis=1)[:, -3]  # 61 * 0.05 = 3.05
    counts = (ranks[:, 60:] > cut[:, None]).sum(axis=1)
    reference, low = np.arange(60) / 60, [0.0] * 25
    for seen in (1, 3, 6):
        scores = [2.0] * seen + low[seen:]
        expected = (counts >= seen).mean()
        assert compare(reference, scores).tail == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 20_000))
    assert compare(reference, low).expected == pytest.approx(counts.mean(), abs=0.03)


@pytest.mark.parametrize("moved", [lambda x: x + 0.05, lambda x: x * 1.6 - 0.18, lambda x: x - 0.05])
def test_scores_that_moved_are_found(moved: object) -> None:
    random = np.random.default_rng(1)
    reference = np.sort(random.normal(0.3, 0.02, 200))
    assert not compare(reference, random.normal(0.3, 0.02, 100).tolist()).warns
    assert callable(moved)
    drift = compare(reference, moved(random.normal(0.3, 0.02, 100)).tolist())
    assert drift.warns and "not like those calibrated on" in drift.text()


def test_windows_are_tested_when_full_and_the_rest_at_the_end() -> None:
    random = np.random.default_rng(2)
    watch = DriftWatch(calibration(a=random.normal(0, 1, 300), b=random.normal(9, 1, 300)))
    found = [drift for x in random.normal(0, 1, WINDOW + FEWEST) if (drift := watch.add(float(x), "a"))]
    assert [drift.scores for drift in found] == [WINDOW] and not found[0].warns
    for x in random.normal(0, 1, FEWEST):
        assert watch.add(float(x), "b") is None
    rest = list(watch.rest())
    assert [drift.scores for drift in rest] == [FEWEST, FEWEST] and watch.tested == 3
    assert [drift.warns for drift in rest] == [False, True], "b's own scores are higher"


def test_a_small_batch_far_from_normal_is_found() -> None:
    random = np.random.default_rng(4)
    watch = DriftWatch(calibration(a=random.normal(0, 1, 200)))
    for x in random.normal(6, 1, 10):
        watch.add(float(x), "a")
    assert [drift.warns for drift in watch.rest()] == [True]


def test_too_few_scores_are_not_tested() -> None:
    watch = DriftWatch(calibration(a=np.arange(50.0)))
    for _ in range(FEWEST - 1):
        watch.add(1e9)
    assert list(watch.rest()) == [] and watch.tested == 0


def test_a_class_without_a_threshold_is_compared_with_its_own_scores() -> None:
    """Folders come one after another: a window of one class looks like no mix of all."""
    random = np.random.default_rng(3)
    means = {name: float(i) for i, name in enumerate("abcde")}
    known = calibration(**{name: random.normal(mean, 0.1, 30) for name, mean in means.items()})
    watch = DriftWatch(replace(known, classes={}))
    found = [watch.add(x, name) for name, mean in means.items() for x in random.normal(mean, 0.1, WINDOW).tolist()]
    assert [drift.warns for drift in found if drift is not None] == [False] * 5


def test_a_shorter_window_is_tested_sooner() -> None:
    random = np.random.default_rng(5)
    watch = DriftWatch(calibration(a=random.normal(0, 1, 200)), window=20)
    found = [drift for x in random.normal(6, 1, 45) if (drift := watch.add(float(x), "a"))]
    assert [(drift.scores, drift.warns) for drift in found] == [(20, True), (20, True)]
    with pytest.raises(SettingsError, match="a window needs 10 scores or more, not 9"):
        DriftWatch(calibration(a=np.arange(50.0)), window=FEWEST - 1)
