"""Resampled values equal those of the resampled images; intervals are seeded and hold the value."""

import numpy as np
import pytest
from metrics_reference import random_set

from invad.metrics import KEYS, Evaluator, evaluate_class
from invad.metrics.bootstrap import resample_values, resample_weights
from invad.metrics.classes import read_images


@pytest.mark.parametrize("protocol", ["exact", "paper"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_weights_stand_for_copies(protocol, dtype):
    maps, masks, labels = random_set(4)
    maps = (maps * np.pi).astype(dtype)
    weights = np.concatenate((np.ones((1, 8), np.int64), resample_weights(8, 12, 0, "a")))
    found = resample_values(read_images(maps, masks, labels, None), weights, protocol)
    for row, drawn in zip(found, weights, strict=True):
        copies = np.repeat(np.arange(8), drawn)
        values = evaluate_class(maps[copies], masks[copies], labels[copies], protocol=protocol).values
        expected = [np.nan if values[key] is None else values[key] for key in KEYS]
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-12)
    plain = evaluate_class(maps, masks, labels, protocol=protocol).values
    assert dict(zip(KEYS, found[0].tolist(), strict=True)) == plain  # to the bit


def evaluator():
    collected = Evaluator()
    for name, seed in (("a", 1), ("b", 2)):
        maps, masks, labels = random_set(seed, images=20)
        collected.update(maps, masks, name, labels)
    return collected


def test_intervals():
    results = evaluator().compute(bootstrap=60, seed=1)
    assert results.resamples == 60 and results.seed == 1
    for owner in (*results.classes, results):
        values = owner.mean if owner is results else owner.values
        for key in KEYS:
            low, high = owner.intervals[key]
            assert 0 <= low <= high <= 1
            assert low - 0.1 <= values[key] <= high + 0.1
    assert results == evaluator().compute(bootstrap=60, seed=1)
    assert results != evaluator().compute(bootstrap=60, seed=2)


def test_a_class_draws_alone():
    alone = Evaluator()
    maps, masks, labels = random_set(2, images=20)
    alone.update(maps, masks, "b", labels)
    together = evaluator().compute(bootstrap=10).classes[1]
    assert alone.compute(bootstrap=10).classes[0] == together


def test_undefined_resamples_are_skipped_and_counted():
    maps, masks, labels = random_set(3, images=4)
    masks[2], labels[2] = 0, False  # one anomalous image of four: absent from a third of the resamples
    collected = Evaluator()
    collected.update(maps, masks, "a", labels)
    results = collected.compute(bootstrap=100)
    (result,) = results.classes
    assert 15 < result.skipped_resamples["aupro"] < 50
    assert "aupro" in result.intervals
    assert f"aupro ({result.skipped_resamples['aupro']})" in results.warnings[0]


def test_a_class_without_defects_has_no_intervals():
    maps, masks, labels = random_set(3)
    collected = evaluator()
    collected.update(maps, masks * 0, "c", labels & False)
    results = collected.compute(bootstrap=5)
    assert results.classes[2].intervals == {}
    assert results.classes[2].skipped_resamples == dict.fromkeys(KEYS, 5)
    assert not results.warnings
    assert results.intervals == evaluator().compute(bootstrap=5).intervals
