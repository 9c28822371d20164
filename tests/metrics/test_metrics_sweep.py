"""Rates over thresholds: each row is what brute force counts, and the lines between them stay near the exact curve."""

import numpy as np
import pytest
from metrics_reference import random_set, regions

from invad.metrics import (
    Evaluator,
    UndefinedMetricError,
    f1max_image,
    f1max_pixel,
    pr_pixel,
    pro,
    roc_pixel,
    sweep_images,
    sweep_pixels,
)
from invad.metrics.sweep import TOLERANCES

COLUMNS = ("false_positive_rate", "recall", "precision", "overlap")


def continuous(seed=0, images=12, size=48, widest=14):
    """Maps of distinct scores whose defects lie higher, as models give them."""
    generator = np.random.default_rng(seed)
    masks = np.zeros((images, size, size), bool)
    for mask in masks[::2]:
        y, x = generator.integers(0, size - widest, 2)
        mask[y : y + generator.integers(3, widest), x : x + generator.integers(3, widest)] = True
    return (generator.gamma(2.0, 0.1, masks.shape) + 0.2 * masks).astype(np.float32), masks


def counted(maps, masks, thresholds):
    """False positive rate, recall, precision and overlap at each threshold, by looking at every pixel."""
    truth, scores = masks.astype(bool), maps.astype(np.float64)
    parts = [scores[i][tuple(np.transpose(region))] for i, mask in enumerate(masks) for region in regions(mask)]
    found = []
    for threshold in thresholds:
        above = scores >= threshold
        precision = (above & truth).sum() / above.sum() if above.any() else 1.0
        overlap = np.mean([(part >= threshold).mean() for part in parts])
        found.append(((above & ~truth).sum() / (~truth).sum(), (above & truth).sum() / truth.sum(), precision, overlap))
    return np.array(found)


@pytest.mark.parametrize("seed", range(3))
def test_every_row_is_what_brute_force_counts(seed):
    maps, masks, _ = random_set(seed)
    found = sweep_pixels(maps, masks)
    assert (np.diff(found.thresholds) <= 0).all() and found.recall[0] == 0 and found.recall[-1] == 1
    rates = np.column_stack([getattr(found, name) for name in COLUMNS])
    assert rates == pytest.approx(counted(maps, masks, found.thresholds), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_lines_between_the_rows_leave_the_exact_curves_by_less_than_the_tolerances(seed):
    maps, masks = continuous(seed, images=20, size=96, widest=48)
    found = sweep_pixels(maps, masks)
    exact = np.unique(maps[masks].astype(np.float64))
    exact = np.sort(np.concatenate((exact, np.nextafter(exact, np.inf))))
    assert len(found.thresholds) < len(exact) / 10
    asked = exact[:: len(exact) // 500]
    true = counted(maps, masks, asked)
    for column, name in enumerate(COLUMNS):
        line = np.interp(-asked, -found.thresholds, getattr(found, name))
        assert np.abs(line - true[:, column]).max() <= TOLERANCES[column]


def test_the_rows_lie_on_the_exact_curves():
    maps, masks = continuous()
    found = sweep_pixels(maps, masks)
    curves = {"recall": roc_pixel(maps, masks), "overlap": pro(maps, masks)}
    for name, curve in curves.items():
        points = set(zip(curve.x.round(9).tolist(), curve.y.round(9).tolist(), strict=True))
        rows = zip(found.false_positive_rate.round(9).tolist(), getattr(found, name).round(9).tolist(), strict=True)
        levels = set(curve.y.round(9).tolist())
        assert all(row in points or row[1] in levels for row in rows)  # fixed cuts lie on the level parts
    curve = pr_pixel(maps, masks)
    tops = dict(zip(curve.x.round(9).tolist(), curve.y.tolist(), strict=True))
    assert all(
        p <= tops[round(r, 9)] + 1e-12 for r, p in zip(found.recall.tolist(), found.precision.tolist(), strict=True)
    )


def test_the_best_threshold_has_the_best_f1():
    maps, masks = continuous()
    labels = masks.any((1, 2))
    scores = maps.max((1, 2))
    for values, truth, expected in (
        (scores, labels, f1max_image(scores, labels)),
        (maps.ravel(), masks.ravel(), f1max_pixel(maps, masks)),
    ):
        best = sweep_images(values, truth).best
        above = values.astype(np.float64) >= best
        assert 2 * (above & truth).sum() / (above.sum() + truth.sum()) == expected
    assert sweep_pixels(maps, masks).best == sweep_images(maps.ravel(), masks.ravel()).best


def test_images_keep_every_row():
    scores, labels = np.array([0.1, 0.4, 0.35, 0.8, 0.4]), np.array([0, 0, 1, 1, 1])
    found = sweep_images(scores, labels)
    assert found.overlap is None
    for index, threshold in enumerate(found.thresholds):
        above = scores >= threshold
        assert found.false_positive_rate[index] == (above & (labels == 0)).sum() / 2
        assert found.recall[index] == (above & (labels == 1)).sum() / 3
    with pytest.raises(UndefinedMetricError, match="no image is normal"):
        sweep_images([0.1, 0.2], [1, 1])


def test_an_evaluator_gives_the_rates_of_classes_that_have_some():
    maps, masks = continuous()
    evaluator = Evaluator()
    evaluator.update(maps, masks, "b", masks.any((1, 2)))
    evaluator.update(maps, np.zeros_like(masks), "a", np.zeros(len(maps), bool))
    found = evaluator.sweeps()
    assert list(found) == ["b"]
    expected = sweep_pixels(maps, masks)
    assert found["b"].best == expected.best
    assert all(np.array_equal(getattr(found["b"], name), getattr(expected, name)) for name in COLUMNS)
