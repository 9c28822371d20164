"""The fast metrics against their definitions and scikit-learn, on small sets with every kind of tie and region."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from metrics_reference import evaluate, random_set
from sklearn.metrics import average_precision_score, f1_score, jaccard_score, roc_auc_score

from invad import metrics
from invad.metrics import KEYS, evaluate_class

SHAPE = (4, 5, 6)
RANKS = ("auroc_image", "ap_image", "f1max_image", "aupro", "auroc_pixel", "ap_pixel", "f1max_pixel", "iou_max")
NUMBERS = st.one_of(st.integers(-4, 4).map(float), st.floats(-1e6, 1e6, width=32))
FEW = settings(max_examples=60, deadline=None)


@st.composite
def sets(draw, dtype=np.float32):
    """Maps and masks such that all metrics are defined: the first image is normal, the last has a defect."""
    maps = draw(arrays(dtype, SHAPE, elements=draw(st.sampled_from([NUMBERS, st.integers(0, 3).map(float)]))))
    masks = draw(arrays(np.bool_, SHAPE))
    masks[0] = False
    masks[-1, 0, 0] = True
    maps[0, 0, 0], maps[-1, -1, -1] = maps.min() - 1, maps.max() + 1  # not constant
    return maps, masks


@FEW
@given(sets(), st.sampled_from(["exact", "paper"]))
def test_equals_the_definitions(data, protocol):
    maps, masks = data
    labels = masks.any((1, 2))
    result = evaluate_class(maps, masks, labels, protocol=protocol)
    assert result.values == pytest.approx(evaluate(maps, masks, labels, protocol), abs=1e-9)
    assert set(result.reasons) == {key for key in KEYS if result.values[key] is None}
    assert all(value is None or 0 <= value <= 1 for value in result.values.values())


@FEW
@given(sets())
def test_equals_scikit_learn(data):
    maps, masks = data
    truth, scores, labels = masks.ravel(), maps.ravel(), masks.any((1, 2))
    images = maps.max((1, 2))
    assert metrics.auroc_pixel(maps, masks) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert metrics.ap_pixel(maps, masks) == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    best = max(f1_score(truth, scores >= threshold) for threshold in np.unique(scores)[-5:])
    assert metrics.f1max_pixel(maps, masks) >= best - 1e-12
    overlap = max(jaccard_score(truth, scores >= threshold) for threshold in np.unique(scores)[-5:])
    assert metrics.iou_max(maps, masks) >= overlap - 1e-12
    if images.min() < images.max():
        assert metrics.auroc_image(images, labels) == pytest.approx(roc_auc_score(labels, images), abs=1e-12)
        assert metrics.ap_image(images, labels) == pytest.approx(average_precision_score(labels, images), abs=1e-12)


@FEW
@given(sets())
def test_functions_equal_the_class_result(data):
    maps, masks = data
    for protocol in ("exact", "paper"):
        values = evaluate_class(maps, masks, masks.any((1, 2)), protocol=protocol).values
        assert metrics.f1max_pixel(maps, masks, protocol=protocol) == values["f1max_pixel"]
        assert metrics.iou_max(maps, masks, protocol=protocol) == values["iou_max"]
        assert metrics.f1_range(maps, masks, protocol=protocol) == values["f1_range"]
        assert metrics.acc_range(maps, masks) == values["acc_range"]
        assert metrics.iou_range(maps, masks) == values["iou_range"]
        if values["aupro"] is not None:
            assert metrics.aupro(maps, masks, protocol=protocol) == values["aupro"]


@FEW
@given(sets())
def test_increasing_maps_change_no_rank_metric(data):
    maps, masks = data
    labels = masks.any((1, 2))
    _, order = np.unique(maps, return_inverse=True)
    stretched = (order.reshape(SHAPE) ** 3 - 50.0).astype(np.float64)
    before = evaluate_class(maps, masks, labels).values
    after = evaluate_class(stretched, masks, labels).values
    assert {key: before[key] for key in RANKS} == {key: after[key] for key in RANKS}


@FEW
@given(sets(), st.integers(-3, 3), st.integers(-8, 8))
def test_positive_affine_maps_change_no_range_metric(data, power, shift):
    maps, masks = data
    maps = np.round(maps / np.abs(maps).max() * 64)  # small integers: no two become one, and the spans stay exact
    labels = masks.any((1, 2))
    before = evaluate_class(maps, masks, labels).values
    after = evaluate_class(maps * np.float32(2.0**power) + np.float32(shift), masks, labels).values
    ranges = ("f1_range", "acc_range", "iou_range")
    assert [after[key] for key in ranges] == pytest.approx([before[key] for key in ranges], abs=1e-9)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("protocol", ["exact", "paper"])
def test_other_floats(dtype, protocol):
    maps, masks, labels = random_set(5)
    maps = maps.astype(dtype) * (1 if dtype == np.float16 else np.pi)
    result = evaluate_class(maps, masks, labels, protocol=protocol)
    assert result.values == pytest.approx(evaluate(maps, masks, labels, protocol), abs=1e-9)


def test_float64_ranks_what_float32_ties():
    maps = np.array([[[1.0, 1.0 + 1e-12, 0.0]]])
    assert metrics.auroc_pixel(maps, np.array([[[0, 1, 0]]])) == 1.0
    assert metrics.auroc_pixel(maps.astype(np.float32), np.array([[[0, 1, 0]]])) == 0.75


def test_extreme_scores():
    maps = np.array([[[-1e308, 1e308, 0.0, 5e-324, -0.0]]])
    mask = np.array([[[0, 1, 0, 1, 0]]])
    assert metrics.auroc_pixel(maps, mask) == 1.0
    with pytest.raises(metrics.UndefinedMetricError, match="float32 does not hold"):
        metrics.f1_range(maps, mask)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        # corners touch: one region of which the low score is a half; apart: two regions, one found, one not
        ([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], 1),
        ([[1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0]], 2),
    ],
)
def test_regions_touch_at_corners(mask, expected):
    from invad.metrics.pixels import split_stack

    assert split_stack(np.zeros((1, 3, 4), np.float32), np.array([mask], bool))[0].regions == expected


def test_aupro_weighs_regions_not_pixels():
    mask = np.zeros((1, 10, 10), bool)
    mask[0, 0, 0], mask[0, 5:8, 5:8] = True, True  # a pixel at the border, and nine
    maps = np.where(mask, 1.0, 0.5)
    maps[0, 0, 0] = 0.0  # the small region is missed
    assert metrics.aupro(maps, mask) == pytest.approx(0.5 + 0.5 * 0.0, abs=1e-12)
    mask[0, 4, 4], maps[0, 4, 4] = True, 0.0  # joins the nine by its corner
    assert metrics.aupro(maps, mask) == pytest.approx(0.45, abs=1e-12)


def test_tie_of_normal_and_defect_runs_diagonally():
    maps = np.array([[[1.0, 1.0, 0.0, 0.0]]], np.float32)
    mask = np.array([[[1, 0, 0, 0]]])  # from (0, 0) to (1/3, 1)
    assert metrics.aupro(maps, mask) == pytest.approx(0.3 * 0.9 / 2 / 0.3)
