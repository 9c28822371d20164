"""Tables name their protocol, keep the published order, and come back from JSON as they went."""

import csv
import io
import json

import numpy as np
import pytest
from metrics_reference import random_set
from rich.console import Console

from invad.errors import MetricError
from invad.metrics import KEYS, TITLES, Evaluator, footnotes, from_json, to_csv, to_json, to_markdown, to_rich

ORDER = [
    *("auroc_image", "ap_image", "f1max_image", "aupro", "auroc_pixel", "ap_pixel", "f1max_pixel"),
    *("f1_range", "acc_range", "iou_range", "iou_max", "mad_image", "mad_pixel", "mad_range", "mad"),
]


@pytest.fixture(scope="module")
def collected():
    evaluator = Evaluator()
    for seed, name in enumerate(("bottle", "a|b [red]")):
        evaluator.update(*random_set(seed, images=12)[:2], name, random_set(seed, images=12)[2])
    maps, masks, labels = random_set(9)
    evaluator.update(maps, masks * 0, "cable", labels & False)
    masks[0] = 0
    evaluator.update(maps, masks, "grid", labels)
    return evaluator


@pytest.mark.parametrize(("protocol", "bootstrap"), [("exact", 0), ("paper", 0), ("exact", 8)])
def test_json_round_trip(collected, protocol, bootstrap):
    results = collected.compute(protocol, bootstrap=bootstrap)
    assert results.warnings
    assert from_json(to_json(results)) == results
    assert json.loads(to_json(results))["version"] == 1


def test_json_refused(collected):
    whole = json.loads(to_json(collected.compute()))
    for change, message in (
        ({"version": 2}, "format version 2, but this InvAD reads version 1"),
        ({"format": "other"}, "another kind of file"),
        ({"classes": [{"name": "a"}]}, "damaged"),
        ({"unknown": 1}, "damaged"),
        ({"protocol": "best"}, "the protocol is one of"),
    ):
        with pytest.raises(MetricError, match=message):
            from_json(json.dumps({**whole, **change}))
    for text in ("", "[]", "{}"):
        with pytest.raises(MetricError, match="expected results in JSON"):
            from_json(text)


def test_markdown(collected):
    results = collected.compute()
    lines = to_markdown(results).splitlines()
    assert lines[0] == "Protocol: `exact`."
    assert lines[2] == "| " + " | ".join(["class", *TITLES.values()]) + " |"
    assert list(KEYS) == list(TITLES) == ORDER
    assert lines[4].startswith("| a\\|b [red] | ")
    assert lines[6] == "| cable | " + " | ".join(["–"] * 15) + " |"
    assert lines[8].split(" | ")[:2] == ["| mean", f"{100 * results.mean['auroc_image']:.2f}"]
    notes = "\n".join(lines[9:])
    assert "- cable: mAU-ROC_I, mAP_I, mF1-max_I –: no image is anomalous" in notes
    assert "- mean: leaves out 1 of 4 classes: mAU-ROC_I," in notes
    assert "- grid: 1 anomalous image has an empty mask" in notes


def test_markdown_with_intervals(collected):
    results = collected.compute(bootstrap=8)
    assert "[" not in to_markdown(results).splitlines()[8]
    lines = to_markdown(results, intervals=True).splitlines()
    assert "8 resamples" in lines[0]
    low, high = results.intervals["mad"]
    assert lines[8].endswith(f"| {100 * results.mean['mad']:.2f} [{100 * low:.1f}, {100 * high:.1f}] |")


def test_csv(collected):
    results = collected.compute("paper", bootstrap=4)
    rows = list(csv.DictReader(to_csv(results).splitlines()))
    assert [row["class"] for row in rows] == ["a|b [red]", "bottle", "cable", "grid", "mean"]
    assert {row["protocol"] for row in rows} == {"paper"}
    assert rows[4]["mAD_I"] == f"{100 * results.mean['mad_image']:.2f}"
    assert rows[2]["mAD"] == ""
    assert rows[4]["images"] == "40"
    wide = list(csv.DictReader(to_csv(results, intervals=True).splitlines()))
    assert wide[4]["mAD_I high"] == f"{100 * results.intervals['mad_image'][1]:.2f}"


def test_rich(collected):
    console = Console(width=250, record=True, file=io.StringIO())
    results = collected.compute(bootstrap=4)
    console.print(to_rich(results, intervals=False))
    text = console.export_text()
    assert "Protocol: exact." in text
    assert "a|b [red]" in text and "mIoU_.2/.8" in text
    assert any("no image is anomalous" in note for note in footnotes(results))


def test_what_holds_for_all_classes_is_said_once():
    rng = np.random.default_rng(0)
    evaluator = Evaluator()
    for name in ("bracket", "screw"):
        evaluator.update(rng.random((6, 4, 4), np.float32), np.zeros((6, 4, 4), bool), name, [False] * 3 + [True] * 3)
    notes = footnotes(evaluator.compute())
    assert len(notes) == 4 and all(note.startswith("all classes: ") for note in notes), notes
    assert notes[0].endswith("no mask marks a defect") and "mAU-ROC_P" in notes[0] and "mAU-ROC_I" not in notes[0]
