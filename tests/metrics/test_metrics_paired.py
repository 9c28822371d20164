"""Paired intervals, against resampling done by hand; a model beside itself; what cannot be paired."""

import zlib

import numpy as np
import pytest
from metrics_reference import random_set

from invad.errors import MetricError
from invad.metrics import KEYS, Evaluator, evaluate_class, is_real

RESAMPLES = 12


def evaluator(maps, masks, labels, classes):
    found = Evaluator()
    for name in sorted(set(classes)):
        own = [i for i, one in enumerate(classes) if one == name]
        found.update(maps[own], masks[own], name, labels[own])
    return found


def two_models():
    maps, masks, labels = random_set(4, images=16)
    noise = np.random.default_rng(1).integers(-9, 9, maps.shape) / 40
    return maps, (maps + noise).astype(np.float32), masks, labels, ["nut"] * 8 + ["cap"] * 8


def test_intervals_are_those_of_resampling_by_hand():
    first, second, masks, labels, classes = two_models()
    found = evaluator(first, masks, labels, classes).differences(
        evaluator(second, masks, labels, classes), RESAMPLES, seed=7
    )
    by_class = {}
    for name in ("cap", "nut"):
        own = np.array([i for i, one in enumerate(classes) if one == name])
        generator = np.random.default_rng([7, zlib.crc32(name.encode())])
        rows = []
        for _ in range(RESAMPLES):
            drawn = own[generator.integers(0, len(own), len(own))]
            a, b = (evaluate_class(maps[drawn], masks[drawn], labels[drawn]).values for maps in (first, second))
            rows.append([np.nan if a[key] is None or b[key] is None else a[key] - b[key] for key in KEYS])
        by_class[name] = np.array(rows)
        for key, column in zip(KEYS, by_class[name].T, strict=True):
            assert found.classes[name][key] == pytest.approx(
                np.percentile(column[~np.isnan(column)], (2.5, 97.5)), abs=1e-12
            )
    mean = (by_class["cap"] + by_class["nut"]) / 2
    for key, column in zip(KEYS, mean.T, strict=True):
        assert found.mean[key] == pytest.approx(np.percentile(column[~np.isnan(column)], (2.5, 97.5)), abs=1e-12)


def test_a_model_beside_itself_differs_in_nothing():
    first, _, masks, labels, classes = two_models()
    found = evaluator(first, masks, labels, classes).differences(evaluator(first, masks, labels, classes), RESAMPLES)
    assert set(found.mean.values()) == {(0.0, 0.0)} and not any(map(is_real, found.mean.values()))


def test_a_much_better_model_is_really_better():
    first, _, masks, labels, classes = two_models()
    better = evaluator(first + masks.astype(np.float32), masks, labels, classes)
    found = better.differences(evaluator(-first, masks, labels, classes), 40)
    assert found.mean["auroc_pixel"][0] > 0 and is_real(found.mean["auroc_pixel"])


def test_what_is_not_the_same_images_is_refused():
    first, second, masks, labels, classes = two_models()
    a = evaluator(first, masks, labels, classes)
    with pytest.raises(MetricError, match="same classes"):
        a.differences(evaluator(second[:8], masks[:8], labels[:8], classes[:8]), 3)
    with pytest.raises(MetricError, match="same images in the same order"):
        a.differences(evaluator(second[::-1].copy(), masks[::-1].copy(), labels[::-1].copy(), classes), 3)
    with pytest.raises(MetricError, match="one resample"):
        a.differences(a, 0)
