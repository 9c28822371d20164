"""The calibration as a file: every bit comes back, and nothing damaged is believed."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invad.errors import RunError, SettingsError
from invad.inference.calibration import FILE, Calibration, read_calibration, without_places
from invad.inference.thresholds import from_normal, from_recall

SCORES = st.lists(st.floats(0, 2, allow_nan=False), min_size=1, max_size=20)


def made(**scores: list[float]) -> Calibration:
    everything = [score for values in scores.values() for score in values]
    return Calibration(
        method="false-alarms",
        wanted=0.1,
        overall=from_normal(everything, 0.1),
        classes={name: from_normal(values, 0.1) for name, values in scores.items() if len(values) > 2},
        scores={name: tuple(sorted(values)) for name, values in scores.items()},
        images="held back",
        model="a" * 64,
        notices=("few",),
        places=("cannot be read: a/1.png",),
    )


@settings(deadline=None)
@given(SCORES, SCORES)
def test_it_comes_back_to_the_last_bit(a: list[float], b: list[float]) -> None:
    calibration = made(a=a, b=b)
    assert Calibration.from_json(calibration.to_json()) == calibration


@settings(deadline=None)
@given(SCORES, SCORES, st.floats(0, 2))
def test_share_below_is_counted(a: list[float], b: list[float], score: float) -> None:
    calibration = made(a=a, b=b)
    assert calibration.share_below(score) == np.mean(np.array([*a, *b]) < score)
    own = a if len(a) > 2 else [*a, *b]
    assert calibration.share_below(score, "a") == np.mean(np.array(own) < score)
    assert calibration.threshold("a") == from_normal(own, 0.1)
    assert calibration.threshold("unheard of") == calibration.threshold(None) == from_normal([*a, *b], 0.1)


def test_labelled_ones_come_back_too() -> None:
    import dataclasses

    calibration = dataclasses.replace(
        made(a=[0.1, 0.2]), method="recall", wanted=0.9, overall=from_recall([0.1], [0.2, 0.3], 0.9), regions=0.2
    )
    assert Calibration.from_json(calibration.to_json()) == calibration


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda values: values.pop("scores"), "damaged"),
        (lambda values: values.update(classes={"b": values["overall"]}), "a class has a threshold and no scores"),
        (lambda values: values["overall"].update(image=float("nan")), "not a number"),
        (lambda values: values["overall"].update(pixel=float("inf")), "not a number"),
        (lambda values: values.update(version=3), "version of invad reads"),
        (lambda values: values.update(version=1, notices=None), "damaged"),
        (lambda values: values.pop("places"), "damaged"),
        (lambda values: values.update(format="other"), "has format 'other'"),
        (lambda values: values["overall"].pop("image"), "damaged"),
        (lambda values: values["overall"].update(image="high"), "not a number"),
        (lambda values: values.update(extra=1), "damaged"),
        (lambda values: values.update(scores={"a": [0.3, 0.1]}), "not sorted"),
        (lambda values: values.update(scores={"a": []}), "missing"),
    ],
)
def test_what_is_damaged_is_refused(change: object, word: str) -> None:
    values = json.loads(made(a=[0.1, 0.2]).to_json())
    assert callable(change)
    change(values)
    with pytest.raises(RunError, match=word):
        Calibration.from_json(json.dumps(values))


def test_notices_of_the_first_version_that_may_name_folders_stay_here() -> None:
    values = json.loads(made(a=[0.1, 0.2]).to_json())
    named = ["1 images cannot be read and were left out: my set/1.png", r"the class nut of folder:C:\nuts may be two"]
    first = {**values, "version": 1, "images": "my set/good, C", "notices": ["few", *named, "copies"]}
    del first["places"]
    found = Calibration.from_json(json.dumps(first))
    assert found.notices == ("few", "copies") and found.places == ("images: my set/good, C", *named)
    assert found.images == "good, C"
    assert Calibration.from_json(found.to_json()) == found and without_places(found).places == ()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", made(a=[0.1]).to_json()[:-40]])
def test_what_is_cut_short_is_refused(text: str) -> None:
    with pytest.raises(RunError, match="calibrate again"):
        Calibration.from_json(text)


def test_it_belongs_to_one_model(tmp_path: Path) -> None:
    assert read_calibration(tmp_path, "a" * 64) is None
    calibration = made(a=[0.1, 0.2])
    (tmp_path / FILE).write_text(calibration.to_json())
    assert read_calibration(tmp_path, "a" * 64) == calibration
    with pytest.raises(RunError, match="belongs to another model"):
        read_calibration(tmp_path, "b" * 64)


def test_a_class_must_be_known() -> None:
    calibration = made(nut=[0.1, 0.2])
    calibration.require_class("nut")
    for name in ("bolt", ""):
        with pytest.raises(SettingsError, match="it knows nut"):
            calibration.require_class(name)
