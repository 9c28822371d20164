"""One answer whatever the batches, their order and the number of evaluators; undefined values with reasons."""

import numpy as np
import pytest
from metrics_reference import random_set

from invad.errors import MetricError
from invad.metrics import KEYS, Evaluator, evaluate_class


def three_classes():
    """Images of three classes, of which one has no defects."""
    maps, masks, labels = random_set(7, images=18)
    classes = np.array(["screw", "bottle", "cable"] * 6)
    masks[classes == "cable"], labels[classes == "cable"] = 0, False
    return maps, masks, classes, labels


def evaluated(order, batch, bootstrap=0, evaluators=1, protocol="exact"):
    maps, masks, classes, labels = three_classes()
    several = [Evaluator() for _ in range(evaluators)]
    for number, start in enumerate(range(0, len(order), batch)):
        part = order[start : start + batch]
        several[number % evaluators].update(maps[part], masks[part], classes[part], labels[part])
    for other in several[1:]:
        several[0].merge(other)
    return several[0].compute(protocol, bootstrap=bootstrap, seed=3)


@pytest.mark.parametrize("protocol", ["exact", "paper"])
def test_batches_and_order_change_nothing(protocol):
    expected = evaluated(np.arange(18), 18, bootstrap=5, protocol=protocol)
    for seed, batch, evaluators in ((0, 1, 1), (1, 5, 2), (2, 4, 3)):
        order = np.random.default_rng(seed).permutation(18)
        assert evaluated(order, batch, bootstrap=5, evaluators=evaluators, protocol=protocol) == expected


def test_equals_the_function_and_the_mean():
    maps, masks, classes, labels = three_classes()
    results = evaluated(np.arange(18), 7)
    for result in results.classes:
        own = classes == result.name
        assert result == evaluate_class(maps[own], masks[own], labels[own], name=result.name)
    bottle, cable, screw = results.classes
    assert set(cable.reasons.values()) >= {"no image is anomalous", "no mask marks a defect"}
    assert set(results.skipped.values()) == {1}
    assert results.mean == pytest.approx({key: (bottle.values[key] + screw.values[key]) / 2 for key in KEYS})


def test_the_caller_may_reuse_his_buffers():
    maps, masks, labels = random_set(1)
    evaluator = Evaluator()
    evaluator.update(maps, masks, "a", labels)
    expected = evaluator.compute()
    maps[:], masks[:] = 0, 1 - masks
    assert evaluator.compute() == expected


def test_image_sizes_may_differ():
    maps, masks, _ = random_set(1)
    evaluator = Evaluator()
    evaluator.update([maps[0], maps[1, :4, :5]], [masks[0], masks[1, :4, :5]], "a", [True, False])
    assert evaluator.compute().mean["mad"] is not None


def test_image_scores_of_its_own():
    maps, masks, labels = random_set(1)
    own = np.where(labels, 2.0, 1.0)
    assert evaluate_class(maps, masks, labels, scores=own).values["auroc_image"] == 1.0
    assert evaluate_class(maps, masks, labels, scores=-own).values["auroc_image"] == 0.0
    largest = maps.max((1, 2))
    assert evaluate_class(maps, masks, labels, scores=largest) == evaluate_class(maps, masks, labels)


def test_tensors():
    torch = pytest.importorskip("torch")
    maps, masks, labels = random_set(1)
    result = evaluate_class(torch.tensor(maps, requires_grad=True), torch.tensor(masks), torch.tensor(labels))
    assert result == evaluate_class(maps, masks, labels)
    half = evaluate_class(torch.tensor(maps).bfloat16(), torch.tensor(masks).bool(), labels)
    assert half == evaluate_class(torch.tensor(maps).bfloat16().float().numpy(), masks, labels)


def test_a_vanished_mask_keeps_the_label_and_warns():
    maps, masks, labels = random_set(1)
    masks[0] = 0
    evaluator = Evaluator()
    evaluator.update(maps, masks, "bottle", labels)
    exact, paper = evaluator.compute(), evaluator.compute("paper")
    assert (exact.classes[0].anomalous, paper.classes[0].anomalous) == (4, 3)
    assert exact.classes[0].empty_masks == 1
    assert exact.warnings[0].startswith("bottle: 1 anomalous image has an empty mask")
    assert "takes such an image to be normal" in paper.warnings[0]


IMAGE = {"auroc_image", "ap_image", "f1max_image", "mad_image", "mad"}


@pytest.mark.parametrize("protocol", ["exact", "paper"])
@pytest.mark.parametrize(
    ("change", "undefined", "reason"),
    [
        (lambda maps, masks, labels: (maps, masks * 0, labels & False), set(KEYS), "no image is anomalous"),
        (lambda maps, masks, labels: (maps[labels], masks[labels], labels[labels]), IMAGE, "no image is normal"),
        (lambda maps, masks, labels: (maps * 0 + 3, masks, labels), set(KEYS), "every pixel has the same score"),
        (lambda maps, masks, labels: (maps, masks * 0 + 1, labels | True), set(KEYS), "no pixel is normal"),
    ],
)
def test_undefined(protocol, change, undefined, reason):
    result = evaluate_class(*change(*random_set(1)), protocol=protocol)
    assert {key for key, value in result.values.items() if value is None} == undefined == set(result.reasons)
    assert reason in result.reasons.values()
    assert "is undefined: " in result.reasons["mad"]


def test_no_masks():
    maps, masks, labels = random_set(1)
    result = evaluate_class(maps, masks * 0, labels)
    assert result.values["auroc_image"] is not None
    assert result.reasons["aupro"] == result.reasons["iou_range"] == "no mask marks a defect"
    assert evaluate_class(maps, masks * 0, labels, protocol="paper").values["auroc_image"] is None


def test_paper_aupro_without_two_points():
    maps = np.array([[[1.0, 0.9, 0.9, 0.9, 1.0, 0.0]]])
    result = evaluate_class(maps, np.array([[[1, 0, 0, 0, 0, 0]]]), [True], protocol="paper")
    assert result.values["aupro"] is None
    assert "the same rate" in result.reasons["aupro"]
    crowded = np.array([[[0.0, 1.0, 1.0]]])
    result = evaluate_class(crowded, np.array([[[1, 0, 0]]]), [True], protocol="paper")
    assert "fewer than two" in result.reasons["aupro"]


def test_nothing_to_evaluate():
    with pytest.raises(MetricError, match="call update"):
        Evaluator().compute()
