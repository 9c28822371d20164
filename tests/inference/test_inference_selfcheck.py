"""An export that does not score as its run does is noticed, whatever is wrong with it, and takes no file's place."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from invad.errors import ModelFileError
from invad.inference import export_images, exporting
from invad.inference.exporting import export
from invad.inference.graph import ImageGraph, resize
from invad.inference.opening import OpenModel
from invad.inference.scorer import Scores, plain_scorer
from invad.inference.selfcheck import (
    BOUND,
    COMPARED,
    Case,
    Differences,
    Loss,
    agreement,
    cases,
    compare,
    measure_loss,
    require_same,
    require_worth,
)
from invad.runs import Run, load_model

SIZE = (24, 36)
Images = NDArray[np.uint8]


class Fake:
    """A scorer whose maps are the red channel at its size, over 255; it resizes as the graph does."""

    size = SIZE

    def __call__(self, images: Images) -> Scores:
        planes = resize(torch.from_numpy(np.ascontiguousarray(images[..., :1])).permute(0, 3, 1, 2), SIZE)
        maps = planes[:, 0].numpy() / np.float32(255)
        return maps, maps.max(axis=(1, 2))


class Wrong:
    """A scorer that is right but for one thing."""

    size = SIZE

    def __init__(self, change: Callable[[Images, Scores], Scores]) -> None:
        self.change = change

    def __call__(self, images: Images) -> Scores:
        return self.change(images, Fake()(images))


def nan_at(maps: bool) -> Callable[[Images, Scores], Scores]:
    def change(_: Images, found: Scores) -> Scores:
        values = found[0 if maps else 1].copy()
        values.flat[-1] = np.nan
        return (values, found[1]) if maps else (found[0], values)

    return change


def other_resize(images: Images, found: Scores) -> Scores:
    nearest = torch.nn.functional.interpolate(torch.from_numpy(images[..., 0])[:, None].float(), SIZE)
    maps = nearest[:, 0].numpy() / np.float32(255)
    return maps, maps.max(axis=(1, 2))


def mixed_up_at_the_models_size(images: Images, found: Scores) -> Scores:
    return (found[0][::-1], found[1][::-1]) if images.shape[1:3] == SIZE else found


WRONG: dict[str, Callable[[Images, Scores], Scores]] = {
    "map": lambda _, found: (found[0] + np.float32(2 * BOUND), found[1]),
    "score": lambda _, found: (found[0], found[1] * np.float32(1.01)),
    "nan in a map": nan_at(maps=True),
    "nan in a score": nan_at(maps=False),
    "infinite": lambda _, found: (found[0], found[1] * np.float32(np.inf)),
    "shape": lambda _, found: (found[0], found[1][:, None]),
    "images mixed up": lambda _, found: (found[0][::-1], found[1][::-1]),
    "images mixed up where none is resized": mixed_up_at_the_models_size,
    "the first image's answer for all": lambda _, found: (found[0][:1], found[1][:1]),
    "resize": other_resize,
}


def photos(count: int, size: tuple[int, int] = SIZE) -> list[Images]:
    return list(np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8))


@pytest.mark.parametrize("count", [1, 2, 30])
def test_what_is_the_same_passes(count: int) -> None:
    found = compare(cases(Fake(), photos(count)), Fake())
    assert found == Differences(map=0.0, score=0.0)
    require_same(found, "photos")


@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize("what", WRONG)
def test_every_fault_is_noticed(what: str, count: int) -> None:
    found = compare(cases(Fake(), photos(count)), Wrong(WRONG[what]))
    with pytest.raises(ModelFileError, match=r"maps differ .* scores by .* on photos; no file is written"):
        require_same(found, "photos")


def test_a_reference_that_gives_no_numbers_is_noticed() -> None:
    with pytest.raises(ModelFileError, match="by nan"):
        require_same(compare(cases(Wrong(nan_at(maps=True)), photos(3)), Fake()), "photos")


def test_the_bound_lies_where_it_is_said_to_lie() -> None:
    require_same(Differences(map=BOUND, score=BOUND), "photos")
    for found in (
        Differences(map=1.01 * BOUND, score=0.0),
        Differences(map=0.0, score=1.01 * BOUND),
        Differences(map=math.nan, score=0.0),
        Differences(map=0.0, score=math.nan),
    ):
        with pytest.raises(ModelFileError):
            require_same(found, "photos")


def test_differences_are_shares_of_the_range_of_all_maps() -> None:
    maps = np.array([[[1.0, 3.0]], [[2.0, 5.0]]], np.float32)  # 1 to 5
    wanted = [Case(images=np.zeros((1, 1, 2, 3), np.uint8), maps=m[None], scores=m.max()[None]) for m in maps]
    answers = iter([(maps[:1] + 1, np.array([3.0], np.float32)), (maps[1:], np.array([3.0], np.float32))])
    assert compare(wanted, lambda _: next(answers)) == Differences(map=0.25, score=0.5)


def test_another_shape_is_no_small_difference() -> None:
    wanted = [
        Case(
            images=np.zeros((2, 1, 1, 3), np.uint8), maps=np.ones((2, 4, 4), np.float32), scores=np.ones(2, np.float32)
        )
    ]
    assert compare(wanted, lambda _: (np.ones((2, 4, 4)), np.ones((2, 1)))) == Differences(map=0.0, score=math.inf)
    assert compare(wanted, lambda _: (np.ones((1, 4, 4)), np.ones(2))) == Differences(map=math.inf, score=0.0)


def test_images_go_alone_and_at_once_and_at_sizes_above_and_below() -> None:
    shapes = [case.images.shape[:3] for case in cases(Fake(), photos(30))]
    assert shapes[:COMPARED] == [(1, *SIZE)] * COMPARED and shapes[COMPARED] == (COMPARED, *SIZE)
    (_, *smaller), (_, *larger) = shapes[COMPARED + 1 :]
    assert all(s < m < g for s, m, g in zip(smaller, SIZE, larger, strict=True))
    ratios = {height / width for height, width in (SIZE, smaller, larger)}
    assert len(ratios) == 3, "height and width are scaled differently, so that mixing them up shows"


def loss(before: float, after: float) -> Loss:
    return Loss(measure="image AUROC", images="photos", before=before, after=after)


def test_a_loss_is_a_drop_and_not_a_gain() -> None:
    fine = Differences(map=0.3, score=0.3)
    for before, after in ((99.0, 98.5), (50.0, 100.0), (99.0, 99.0)):
        require_worth(fine, loss(before, after), "int8", 0.5)
    with pytest.raises(ModelFileError, match=r"int8 costs 1.00 points of image AUROC \(99.00 to 98.00, on photos\)"):
        require_worth(fine, loss(99.0, 98.0), "int8", 0.5)
    require_worth(fine, loss(99.0, 98.0), "int8", 1.0)
    require_worth(fine, loss(99.0, 50.0), "int8", math.inf)
    with pytest.raises(ModelFileError, match=r"int8 costs 0\.00 points .* more than nan"):
        require_worth(fine, loss(99.0, 99.0), "int8", math.nan)


def test_no_numbers_are_refused_whatever_may_be_lost() -> None:
    for found, lost in (
        (Differences(map=math.nan, score=0.0), loss(99.0, 99.0)),
        (Differences(map=0.0, score=math.inf), loss(99.0, 99.0)),
        (Differences(map=0.0, score=0.0), loss(99.0, math.nan)),
    ):
        with pytest.raises(ModelFileError, match="in fp16 the model gives maps or scores that are no numbers"):
            require_worth(found, lost, "fp16", 1000.0)


class Listed:
    """A scorer that gives its n-th image the n-th score."""

    size = (1, 1)

    def __init__(self, *scores: float) -> None:
        self.scores = iter(np.array(scores, np.float32))

    def __call__(self, images: Images) -> Scores:
        scores = np.array([next(self.scores) for _ in images], np.float32)
        return scores[:, None, None], scores


def test_the_loss_in_auroc_is_the_mean_of_the_classes() -> None:
    labels = [("a", False), ("b", True), ("a", True), ("b", False)]
    images = photos(4, (1, 1))
    found = measure_loss(Listed(0.1, 0.9, 0.2, 0.3), Listed(0.1, 0.2, 0.2, 0.3), images, labels, "photos")
    assert found == Loss(measure="image AUROC", images="photos", before=100.0, after=50.0) and found.drop == 50.0
    found = measure_loss(Listed(0.1, 0.2, 0.2, 0.3), Listed(0.1, 0.9, 0.2, 0.3), images, labels, "photos")
    assert found.drop == -50.0, "a gain is below 0"


def test_without_labels_the_loss_is_in_agreement_with_the_reference() -> None:
    images = photos(4, (1, 1))
    found = measure_loss(Listed(0.1, 0.2, 0.3, 0.4), Listed(0.1, 0.2, 0.3, 0.1), images, [], "photos")
    assert found == Loss(measure="agreement", images="photos", before=100.0, after=81.25) and found.drop == 18.75
    for scores in ((math.nan, 0.2, 0.3, 0.4), (0.1, 0.2, 0.3, math.inf)):
        assert math.isnan(measure_loss(Listed(0.1, 0.2, 0.3, 0.4), Listed(*scores), images, [], "photos").drop)
        labels = [("a", True), ("a", False)] * 2
        assert math.isnan(measure_loss(Listed(0.1, 0.2, 0.3, 0.4), Listed(*scores), images, labels, "photos").drop)


def test_agreement_counts_images_on_the_same_side_of_every_threshold() -> None:
    scores = np.random.default_rng(0).normal(size=40).astype(np.float32)
    others = scores + np.random.default_rng(1).normal(size=40).astype(np.float32)
    counted = [(a >= t) == (b >= t) for t in scores for a, b in zip(scores, others, strict=True)]
    assert agreement(scores, others) == pytest.approx(np.mean(counted)) and agreement(scores, others) < 0.95
    assert agreement(scores, scores) == 1.0
    assert agreement(scores, scores - 100) == pytest.approx(1 - np.mean(np.arange(1, 41)) / 40), "all below all"


@pytest.fixture
def opens(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Have every file that is exported opened as this scorer, and none built."""

    def let(scorer: Any) -> None:
        monkeypatch.setattr(exporting, "_build", lambda *_: (b"a model",))
        opened = OpenModel(scorer=scorer, scale=None, model="", decision=None)
        monkeypatch.setattr(exporting, "open_model", lambda *_, **__: opened)

    return let


def test_an_export_asks_its_own_check(
    trained: Path, opens: Callable[[Any], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export of fp32 and of less, with a run's own scorer and with one that is turned around."""
    reference = plain_scorer(load_model(Run.open(trained)), (64, 64))

    class AsTheRun:
        size = (64, 64)

        def __init__(self, sign: float) -> None:
            self.sign = np.float32(sign)

        def __call__(self, images: Images) -> Scores:
            planes = resize(torch.from_numpy(images.copy()).permute(0, 3, 1, 2), self.size)
            maps, scores = reference(planes.permute(0, 2, 3, 1).to(torch.uint8).contiguous().numpy())
            return self.sign * maps, self.sign * scores

    images = photos(6, (64, 64))
    scores = reference(np.stack(images))[1]
    labels = [("a", bool(score > np.median(scores))) for score in scores]  # the run tells them apart
    monkeypatch.setattr(export_images, "labelled_images", lambda _: (images, labels))
    out = tmp_path / "model.pt2"
    opens(AsTheRun(-1))
    with pytest.raises(ModelFileError, match="maps differ from the run's"):
        export(trained, out, to="pt2")
    with pytest.raises(ModelFileError, match=r"bf16 costs 100.00 points .*, on 6 of the run's test images\)"):
        export(trained, out, to="pt2", precision="bf16", max_drop=99.0)
    assert not out.exists()
    turned = export(trained, out, to="pt2", precision="bf16", max_drop=100.0).loss
    assert turned is not None and turned.drop == 100.0
    opens(AsTheRun(1))
    found = export(trained, out, to="pt2", overwrite=True)
    assert found.differences.map < BOUND and found.differences.score < BOUND and found.loss is None
    assert found.images.startswith(f"{COMPARED} of the run's training images (")
    same = export(trained, out, to="pt2", precision="bf16", max_drop=0.0, overwrite=True).loss
    assert same is not None and same.drop == 0.0
    monkeypatch.setattr(export_images, "labelled_images", lambda _: ([], []))
    count = len(export_images.choose_images(Run.open(trained), Run.open(trained).settings(), (), "bf16").normal)
    unlabelled = export(trained, out, to="pt2", precision="bf16", overwrite=True).loss
    assert unlabelled is not None and unlabelled.images.startswith(f"{count} of the run's training images (")


class Tampered(ImageGraph):
    """A graph whose score is not its map's maximum."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps, scores = super().forward(images)
        return maps, 1.01 * scores


def test_a_graph_that_was_tampered_with_takes_no_files_place(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "ImageGraph", Tampered)
    out = tmp_path / "model.pt2"
    out.write_bytes(b"what stood there")
    with pytest.raises(ModelFileError, match="no file is written"):
        export(trained, out, to="pt2", overwrite=True)
    assert out.read_bytes() == b"what stood there" and list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(("count", "apart"), [(export_images.APART, True), (export_images.APART - 1, False)])
def test_int8_is_measured_on_images_that_its_ranges_do_not_come_from(
    count: int, apart: bool, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [np.full((64, 64, 3), i, np.uint8) for i in range(count)]
    monkeypatch.setattr(export_images, "normal_images", lambda *_: (images, "photos"))
    run = Run.open(trained)
    with_labels = export_images.choose_images(run, run.settings(), (), "int8")
    assert with_labels.normal is images and with_labels.labels, "there are test images: all ranges from normal ones"
    assert with_labels.measured_origin == f"{len(with_labels.measured)} of the run's test images"
    monkeypatch.setattr(export_images, "labelled_images", lambda _: ([], []))
    asked = export_images.choose_images(run, run.settings(), (), "int8")
    ranges, measured = ({int(i[0, 0, 0]) for i in some} for some in (asked.normal, asked.measured))
    assert not ranges & measured and len(ranges | measured) == count
    assert ("others than those" if apart else f"the {count} normal images that its ranges") in asked.measured_origin
    assert len(measured) == (count // 2 if apart else 0)
    assert export_images.choose_images(run, run.settings(), (), "fp32").measured == []
