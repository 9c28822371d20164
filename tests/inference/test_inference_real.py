"""Real bottles: calibration on what is held back, regions where defects are, and the same answers from every format."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import betabinom

import invad
from invad.data import open_datasets
from invad.data.images import read_mask, read_size
from invad.data.resizing import resize_mask
from invad.inference.decisions import Prediction
from invad.inference.drift import compare
from invad.inference.exporting import SUFFIX, Precision, Target, export
from invad.inference.thresholds import alarm_ranks, from_normal
from invad.metrics import auroc_image, auroc_pixel
from invad.records import Record

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


@pytest.fixture(scope="module")
def tested(shared: Path) -> tuple[Record, ...]:
    return open_datasets([f"mvtec:{shared / 'data/mvtec'}"], ["bottle"]).split("test")


@pytest.fixture(scope="module")
def answers(bottles: Path, tested: tuple[Record, ...]) -> list[Prediction]:
    """Those of the run itself."""
    return list(invad.load(bottles).stream(record.image for record in tested))


def accuracy(found: list[Prediction], tested: tuple[Record, ...]) -> tuple[float, float]:
    """Image and pixel AUROC in percent."""
    maps = np.stack([prediction.map for prediction in found])
    blank = np.zeros(maps.shape[1:], dtype=bool)
    masks = [blank if r.mask is None else resize_mask(read_mask(r.mask), blank.shape) for r in tested]
    scores = [prediction.score for prediction in found]
    image, pixel = auroc_image(scores, [record.anomalous for record in tested]), auroc_pixel(maps, np.stack(masks))
    return 100 * image, 100 * pixel


@pytest.mark.parametrize(
    ("kind", "precision"),
    [
        *((kind, "fp32") for kind in SUFFIX),
        ("onnx", "fp16"),
        ("onnx", "int8"),
        ("openvino", "bf16"),
        ("openvino", "int8"),
        ("pt2", "bf16"),
    ],
)
def test_every_format_answers_as_its_run(
    kind: Target,
    precision: Precision,
    bottles: Path,
    tested: tuple[Record, ...],
    answers: list[Prediction],
    tmp_path: Path,
) -> None:
    """Exactly in fp32; below, image AUROC within 0.2 points of the run's, and pixel AUROC within 0.1."""
    for module in ("onnx", "onnxruntime", "openvino", "nncf"):
        pytest.importorskip(module)
    path = tmp_path / f"bottles{SUFFIX[kind]}"
    exported = export(bottles, path, to=kind, precision=precision, max_drop=0.2)
    assert exported.loss is None if precision == "fp32" else exported.loss.measure == "image AUROC"
    found = list(invad.load(path).stream(record.image for record in tested))
    if precision == "fp32":
        spread = max(float(prediction.map.max()) for prediction in answers)
        for ours, theirs in zip(answers, found, strict=True):
            assert np.abs(ours.map - theirs.map).max() < 1e-4 * spread
            assert (ours.anomalous, len(ours.regions)) == (theirs.anomalous, len(theirs.regions))
    (image, pixel), (own_image, own_pixel) = accuracy(found, tested), accuracy(answers, tested)
    assert abs(image - own_image) <= 0.2 and abs(pixel - own_pixel) <= 0.1, f"{image - own_image}, {pixel - own_pixel}"
