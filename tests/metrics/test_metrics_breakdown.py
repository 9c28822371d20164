"""Samples, types of defect, and curves."""

import numpy as np
import pytest
from metrics_reference import ap, auroc, f1, maximum, random_set

from invad import metrics
from invad.errors import MetricError
from invad.metrics import Evaluator, evaluate_defects, evaluate_samples, from_json, to_json, to_markdown

RANDOM = np.random.default_rng(5)
SCORES = RANDOM.integers(0, 9, 40) / 8
LABELS = RANDOM.random(40) < 0.2
SAMPLES = [str(i // 5) for i in RANDOM.permutation(40)]


def test_samples():
    names = sorted(set(SAMPLES))
    of = np.array(SAMPLES)
    highest = np.array([SCORES[of == name].max() for name in names])
    truth = np.array([LABELS[of == name].any() for name in names])
    found = evaluate_samples(SCORES, LABELS, SAMPLES)
    expected = {"auroc_sample": auroc(highest, truth), "ap_sample": ap(highest, truth)}
    assert found.values == pytest.approx({**expected, "f1max_sample": maximum(highest, truth, f1)}, abs=1e-12)
    assert (found.samples, found.anomalous) == (8, truth.sum())


def test_samples_undefined_or_refused():
    found = evaluate_samples(SCORES, LABELS | True, SAMPLES)
    assert found.reason == "no sample is normal"
    assert set(found.values.values()) == {None}
    with pytest.raises(MetricError, match="40 images and 39 samples"):
        evaluate_samples(SCORES, LABELS, SAMPLES[1:])


def test_defects():
    names = np.array(["good", "crack", "dent", "good"] * 10)
    crack, dent = evaluate_defects(SCORES, names, threshold=0.5)
    own = np.isin(names, ["crack", "good"])
    assert crack.auroc_image == pytest.approx(auroc(SCORES[own], names[own] == "crack"), abs=1e-12)
    assert dent.recall == np.mean(SCORES[names == "dent"] >= 0.5)
    assert (crack.defect, crack.images) == ("crack", 10)
    assert evaluate_defects(SCORES, names)[0].recall is None
    assert evaluate_defects(SCORES, ["crack"] * 40)[0].auroc_image is None
    with pytest.raises(MetricError, match="40 images and 1 defects"):
        evaluate_defects(SCORES, ["crack"])


def test_in_the_results():
    maps, masks, labels = random_set(7, images=12)
    evaluator = Evaluator()
    defects, samples = np.where(labels, "crack", "good"), ["a", "b", "c", "d"] * 3
    evaluator.update(maps, masks, "x", labels, defects=defects, samples=samples)
    evaluator.update(maps, masks, "y", labels)
    results = evaluator.compute(threshold=0.5)
    x, y = results.classes
    assert x.defects[0].auroc_image == x.values["auroc_image"]
    assert x.samples == evaluate_samples(maps.max((1, 2)), labels, samples)
    assert (y.samples, y.defects, results.sample_mean) == (None, (), x.samples.values)
    assert from_json(to_json(results)) == results
    text = to_markdown(results)
    assert "| class | samples | anomalous | S-AU-ROC | S-AP | S-F1max |" in text
    assert f"| x | crack | 6 | {100 * x.values['auroc_image']:.2f} |" in text
    assert "recall from 0.5" in text
    with pytest.raises(MetricError, match="one defect per map"):
        evaluator.update(maps, masks, "x", labels, defects=["crack"])


def test_a_threshold_for_each_class():
    maps, masks, labels = random_set(7, images=12)
    evaluator = Evaluator()
    for name in ("x", "y", "z"):
        evaluator.update(maps, masks, name, labels, defects=np.where(labels, "crack", "good"))
    results = evaluator.compute(threshold={"x": 0.5, "y": 0.9})
    for one, threshold in zip(results.classes[:2], (0.5, 0.9)):
        assert one.defects == evaluator.compute(threshold=threshold).classes[0].defects
    assert results.classes[2].defects[0].recall is None and results.threshold is None
    assert "| recall |" in to_markdown(results) and from_json(to_json(results)) == results


def area(curve, limit=1.0):
    inside = curve.x <= limit
    x, y = np.append(curve.x[inside], limit), np.append(curve.y[inside], np.interp(limit, curve.x, curve.y))
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2) / limit


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_areas_under_the_curves(seed):
    maps, masks, labels = random_set(seed)
    images = maps.max((1, 2))
    assert area(metrics.roc_pixel(maps, masks)) == pytest.approx(metrics.auroc_pixel(maps, masks), abs=1e-12)
    assert area(metrics.roc_image(images, labels)) == pytest.approx(metrics.auroc_image(images, labels), abs=1e-12)
    assert area(metrics.pro(maps, masks), 0.3) == pytest.approx(metrics.aupro(maps, masks), abs=1e-9)
    for curve, expected in (
        (metrics.pr_pixel(maps, masks), metrics.ap_pixel(maps, masks)),
        (metrics.pr_image(images, labels), metrics.ap_image(images, labels)),
    ):
        assert np.sum(np.diff(curve.x) * curve.y[1:]) == pytest.approx(expected, abs=1e-12)


def test_points_are_those_of_their_thresholds():
    maps, masks, _ = random_set(4)
    truth, scores = masks.astype(bool), maps.astype(np.float64)
    curve = metrics.roc_pixel(maps, masks)
    assert (np.diff(curve.thresholds) < 0).all()
    for x, y, threshold in zip(curve.x, curve.y, curve.thresholds, strict=True):
        assert x == pytest.approx((scores[~truth] >= threshold).mean(), abs=1e-12)
        assert y == pytest.approx((scores[truth] >= threshold).mean(), abs=1e-12)
    thin = curve.thinned(7)
    assert len(thin.x) == 7 and (thin.x[0], thin.x[-1]) == (0, 1)


def test_a_threshold_just_above_a_score_finds_nothing():
    """A float64 threshold is not rounded to the scores' float32, and onto one of them."""
    scores = np.array([0.1, 0.3], np.float32)
    just_above = float(np.nextafter(float(scores[1]), np.inf))
    (at,) = evaluate_defects(scores, ["good", "dent"], threshold=float(scores[1]))
    (above,) = evaluate_defects(scores, ["good", "dent"], threshold=just_above)
    assert (at.recall, above.recall) == (1.0, 0.0)
