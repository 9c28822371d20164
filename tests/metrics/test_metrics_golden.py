"""The published toolbox's and the reference implementations' own answers, and ours, kept."""

import json
from pathlib import Path

import numpy as np
import pytest
from metrics_reference import random_set

from invad.metrics import KEYS, Evaluator, evaluate_class

SMALL = Path(__file__).parents[1] / "golden" / "metrics_small.json"
NAMES = {
    "mAUROC_sp_max": "auroc_image",
    "mAP_sp_max": "ap_image",
    "mF1_max_sp_max": "f1max_image",
    "mAUROC_px": "auroc_pixel",
    "mAP_px": "ap_pixel",
    "mF1_max_px": "f1max_pixel",
    "mAUPRO_px": "aupro",
    "aupro_fpr30": "aupro",
    "mF1_px_0.2_0.8_0.1": "f1_range",
    "mAcc_px_0.2_0.8_0.1": "acc_range",
    "mIoU_px_0.2_0.8_0.1": "iou_range",
    "mIoU_max_px": "iou_max",
    "ioumax_pixel": "iou_max",
}


@pytest.mark.shared
@pytest.mark.parametrize("scores", ["smooth", "tied"])
@pytest.mark.parametrize(
    ("protocol", "source", "tolerance"), [("exact", "exact", 1e-9), ("paper", "paper_toolbox", 1e-7)]
)
def test_published_toolbox(shared, scores, protocol, source, tolerance):
    expected = json.loads((shared / "golden" / "metrics_expected.json").read_text())[scores]
    with np.load(shared / "golden" / "metrics_inputs.npz") as inputs:
        maps, masks, classes = inputs[f"maps_{scores}"], inputs["masks"], inputs["classes"]
    evaluator = Evaluator()
    evaluator.update(maps, masks, classes, masks.any((1, 2)))
    results = evaluator.compute(protocol)
    assert [result.name for result in results.classes] == sorted(expected)
    for result in results.classes:
        wanted = {NAMES.get(name, name): value for name, value in expected[result.name][source].items()}
        found = {key: result.values[key] for key in wanted}
        assert found == pytest.approx(wanted, abs=tolerance, rel=0)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("protocol", ["exact", "paper"])
def test_our_own(seed, protocol):
    expected = json.loads(SMALL.read_text())[protocol][str(seed)]
    maps, masks, labels = random_set(seed)
    values = evaluate_class(maps, masks, labels, protocol=protocol).values
    assert list(values) == list(KEYS)
    assert values == pytest.approx(expected, abs=1e-12, rel=0)
