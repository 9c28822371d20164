"""What no metric may be computed from is refused with a sentence."""

import numpy as np
import pytest
from metrics_reference import random_set

from invad.errors import MetricError
from invad.metrics import Evaluator, UndefinedMetricError, auroc_image, auroc_pixel, evaluate_class

MAPS, MASKS, LABELS = random_set(1, images=6)
HOLED = MAPS.copy()
HOLED[1, 0, 0], HOLED[2, 3, 3], HOLED[4, 0, 0], HOLED[5, 1, 1] = np.nan, np.inf, -np.inf, np.nan


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((MAPS.astype(np.int64), MASKS, LABELS), "map 0 is int64"),
        ((MAPS.astype(np.complex64), MASKS, LABELS), "must be float16, float32 or float64"),
        ((HOLED, MASKS, LABELS), r"NaN or infinity is in map 1, 2, 4 and 1 more"),
        ((MAPS[0], MASKS, LABELS), r"must be \(N, H, W\)"),
        ((MAPS[:0], MASKS[:0], LABELS[:0]), "at least one image"),
        (([np.zeros((0, 3))], [np.zeros((0, 3))], [True]), r"map 0 is \(0, 3\)"),
        ((MAPS, MASKS[:5], LABELS), "6 maps and 5 masks"),
        ((MAPS, MASKS[:, 1:], LABELS), r"mask 0 is \(9, 12\) but its map is \(10, 12\)"),
        ((MAPS, MASKS * 255, LABELS), "for 0/255 use mask > 127"),
        ((MAPS, MASKS, LABELS[:5]), r"labels must be \(6,\)"),
        ((MAPS, MASKS, LABELS + 1), "labels must be bool or 0 and 1"),
        ((MAPS, MASKS, ~LABELS), "labelled normal must have an empty mask, but defect pixels are in mask 0, 2, 4"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(MetricError, match=message):
        evaluate_class(*arguments)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.arange(6), "image scores must be float"),
        (np.ones(5), r"must be \(6,\)"),
        (np.array([0.1, np.nan, 0, 0, 0, 0]), "infinity is at 1"),
    ],
)
def test_image_scores_refused(scores, message):
    with pytest.raises(MetricError, match=message):
        evaluate_class(MAPS, MASKS, LABELS, scores=scores)


def test_a_refused_batch_leaves_no_trace():
    evaluator = Evaluator()
    evaluator.update(MAPS, MASKS, "a", LABELS)
    expected = evaluator.compute()
    for maps, classes in ((HOLED, "a"), (MAPS, ["a"] * 5)):
        with pytest.raises(MetricError):
            evaluator.update(maps, MASKS, classes, LABELS)
    assert evaluator.compute() == expected


@pytest.mark.parametrize("arguments", [("ader",), ("exact", -1), ("exact", 1, -1)])
def test_settings_refused(arguments):
    evaluator = Evaluator()
    evaluator.update(MAPS, MASKS, "a", LABELS)
    with pytest.raises(MetricError):
        evaluator.compute(*arguments)


def test_functions_raise_where_undefined():
    with pytest.raises(UndefinedMetricError, match="no image is normal"):
        auroc_image([0.1, 0.2], [1, 1])
    with pytest.raises(UndefinedMetricError, match="every image has the same score"):
        auroc_image([0.1, 0.1], [0, 1])
    with pytest.raises(UndefinedMetricError, match="no mask marks a defect"):
        auroc_pixel(MAPS, MASKS * 0)
    with pytest.raises(MetricError, match="the protocol is one of exact, paper"):
        evaluate_class(MAPS, MASKS, LABELS, protocol="papers")
