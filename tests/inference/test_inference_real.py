"""Real bottles: what is held back calibrates, the promise holds on images never used, and defects get regions."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import betabinom

import invad
from invad.data.images import read_size
from invad.inference.drift import compare
from invad.inference.thresholds import alarm_ranks, from_normal

pytestmark = [pytest.mark.shared, pytest.mark.slow]
RATE = 0.05
"""What the fixture `bottles` is calibrated to."""


def test_the_promise_holds_on_bottles_never_used(bottles: Path, shared: Path) -> None:
    """Random halves of the unseen ones: the alarms in one half at the threshold of the other are as promised."""
    calibration = invad.load(bottles).calibration
    assert calibration is not None
    scores = np.array(calibration.scores["bottle"])
    assert len(scores) == 104 and calibration.test_images == 0
    random = np.random.default_rng(0)
    count = 52
    ranks = alarm_ranks(count, RATE)
    chance = betabinom(52, ranks, count + 1 - ranks)
    low, high = chance.ppf(0.025), chance.ppf(0.975)
    alarms = np.empty(2000)
    for i in range(len(alarms)):
        order = random.permutation(104)
        alarms[i] = (scores[order[count:]] >= from_normal(scores[order[:count]], RATE).image).sum()
    promised = chance.cdf(high) - chance.cdf(low - 1)
    error = 4 * np.sqrt(promised * (1 - promised) / len(alarms))
    assert ((low <= alarms) & (alarms <= high)).mean() == pytest.approx(promised, abs=error)
    assert alarms.mean() == pytest.approx(chance.mean(), abs=4 * chance.std() / np.sqrt(len(alarms)))


def test_the_test_sets_good_bottles(bottles: Path, shared: Path) -> None:
    """Twenty of another day: no more alarms than the promise allows in 999 of 1,000 cases, and no drift."""
    predictor = invad.load(bottles, class_name="bottle")
    assert predictor.calibration is not None
    good = list(predictor.stream(sorted((shared / "data/mvtec/bottle/test/good").glob("*.png"))))
    ranks, count = alarm_ranks(104, RATE), 104
    allowed = betabinom(len(good), ranks, count + 1 - ranks).ppf(0.999)
    assert sum(prediction.anomalous is True for prediction in good) <= allowed
    reference = predictor.calibration.reference("bottle")
    assert not compare(reference, [prediction.score for prediction in good]).warns


def test_broken_bottles_have_regions_where_they_are_broken(bottles: Path, shared: Path) -> None:
    predictor = invad.load(bottles, class_name="bottle")
    paths = sorted((shared / "data/mvtec/bottle/test/broken_large").glob("*.png"))
    found = list(predictor.stream(paths))
    assert sum(prediction.anomalous is True for prediction in found) > len(found) / 2
    hits = 0
    for path, prediction in zip(paths, found, strict=True):
        assert prediction.anomalous == bool(prediction.regions)
        if not prediction.regions:
            continue
        height, width = read_size(path)
        best = prediction.regions[0]
        assert best.peak == prediction.score and 0 < best.area <= height * width
        mask = invad.data.read_mask(shared / f"data/mvtec/bottle/ground_truth/broken_large/{path.stem}_mask.png")
        left, top, right, bottom = best.box
        hits += bool(mask[top:bottom, left:right].any())
        assert mask.shape == (height, width) and mask.shape[1] >= right and mask.shape[0] >= bottom
    assert hits > len(found) / 2


def test_another_light_is_drift(bottles: Path, shared: Path) -> None:
    predictor = invad.load(bottles)
    assert predictor.calibration is not None
    images = [invad.data.read_image(path) // 2 for path in sorted((shared / "data/mvtec/bottle/test/good").iterdir())]
    scores = [prediction.score for prediction in predictor.stream(images)]
    assert compare(predictor.calibration.reference(), scores).warns
