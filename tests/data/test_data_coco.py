"""COCO-AD against a brute-force reading of the annotations with pycocotools, and every fault named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invad.data import build_splits, make_fixture, open_dataset, read_mask
from invad.data.coco import anomalous_categories, union_mask
from invad.errors import DataError, SettingsError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def compare(root: Path, split: int) -> tuple[int, int]:
    """Every record and every pixel of a split against pycocotools' own reading; returns masks and crowds seen."""
    from pycocotools.coco import COCO

    train, val = (COCO(str(root / f"annotations/instances_{name}2017.json")) for name in ("train", "val"))
    wanted = sorted(train.getCatIds())[20 * split : 20 * split + 20]
    normal = [
        image["file_name"]
        for image in train.dataset["images"]
        if train.getAnnIds(imgIds=image["id"]) and not train.getAnnIds(imgIds=image["id"], catIds=wanted)
    ]
    data = open_dataset(f"coco:{root}", split=split)
    assert data.classes == ("coco",)
    assert [r.image for r in data.split("train")] == [root / "train2017" / name for name in sorted(normal)]
    assert not any(r.anomalous for r in data.split("train"))
    tested = {record.image.name: record for record in data.split("test")}
    masks = crowds = 0
    for image in val.dataset["images"]:
        annotations = val.loadAnns(val.getAnnIds(imgIds=image["id"]))
        if not annotations:
            assert image["file_name"] not in tested
            continue
        record = tested.pop(image["file_name"])
        expected = np.zeros((image["height"], image["width"]), dtype=bool)
        for annotation in (one for one in annotations if one["category_id"] in wanted):
            expected |= val.annToMask(annotation).astype(bool)
            crowds += annotation["iscrowd"]
        assert record.anomalous == any(one["category_id"] in wanted for one in annotations)
        assert (record.mask is not None) == record.anomalous
        if record.mask is not None:
            masks += 1
            assert np.array_equal(read_mask(record.mask), expected)
    assert not tested
    return masks, crowds


@pytest.mark.shared
def test_the_mini_set_in_all_splits(shared: Path) -> None:
    found = [compare(shared / "data/coco2017_mini", split) for split in range(4)]
    assert sum(masks for masks, _ in found) > 79 and sum(crowds for _, crowds in found) > 0


@pytest.mark.parametrize("split", range(4))
def test_the_fixture_with_crowds_and_images_without_annotations(split: int, tmp_path: Path) -> None:
    make_fixture("coco", tmp_path / "set")
    masks, crowds = compare(tmp_path / "set", split)
    assert masks >= 1 and (crowds >= 1 or split > 1)


def test_a_second_run_finds_what_the_first_made(tmp_path: Path, cache: Path) -> None:
    make_fixture("coco", tmp_path / "set")
    indexes = build_splits(tmp_path / "set", range(4))
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    assert len(files) == 4 + sum(len(json.loads(index.read_text())["anomalous"]) for index in indexes)
    assert build_splits(tmp_path / "set", range(4)) == indexes
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()} == files
    indexes[0].unlink()  # a writer that was killed leaves masks without their list
    build_splits(tmp_path / "set", range(4))
    assert indexes[0].is_file()


def test_other_annotations_are_another_set(tmp_path: Path) -> None:
    make_fixture("coco", tmp_path / "set")
    (before,) = build_splits(tmp_path / "set", [0])
    change(tmp_path / "set", "val", lambda content: content["annotations"].pop())
    (after,) = build_splits(tmp_path / "set", [0])
    assert before.parent != after.parent


def test_the_root_is_only_read_and_no_image_is_opened(tmp_path: Path) -> None:
    root = tmp_path / "set"
    make_fixture("coco", root)
    for path in root.rglob("*.jpg"):
        path.write_bytes(b"")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert len(open_dataset(f"coco:{root}", split=0).records) == 11
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_without_the_images_of_a_half(tmp_path: Path) -> None:
    import shutil

    make_fixture("coco", tmp_path / "set")
    shutil.rmtree(tmp_path / "set/train2017")
    data = open_dataset(f"coco:{tmp_path / 'set'}", split=0)
    assert not data.split("train") and len(data.split("test")) == 7
    assert any("train2017: its images are left out" in notice for notice in data.notices)
    assert any("COCO 2017 has 118287 train" in notice for notice in data.notices)


def test_categories_and_masks() -> None:
    assert [min(anomalous_categories(range(1, 81), k)) for k in range(4)] == [1, 21, 41, 61]
    with pytest.raises(DataError, match="79 categories"):
        anomalous_categories(range(79), 0)
    assert not union_mask([{"segmentation": []}], (4, 5)).any()
    square = {"segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]}
    run_lengths = {"segmentation": {"size": [4, 5], "counts": [16, 4]}}
    expected = np.zeros((4, 5), dtype=bool)
    expected[:2, :2] = expected[:, 4] = True
    assert np.array_equal(union_mask([square, run_lengths], (4, 5)), expected)


def test_compressed_run_lengths_are_drawn() -> None:
    from pycocotools import mask as coco_mask

    expected = np.random.default_rng(0).random((30, 50)) > 0.7
    run_lengths = coco_mask.encode(np.asfortranarray(expected.astype(np.uint8)))
    segmentation = {**run_lengths, "counts": run_lengths["counts"].decode()}  # as JSON holds it
    assert np.array_equal(union_mask([{"segmentation": segmentation}], (30, 50)), expected)
    square = {"segmentation": [[0, 0, 9, 0, 9, 9, 0, 9]]}
    expected[:9, :9] = True
    assert np.array_equal(union_mask([{"segmentation": segmentation}, square], (30, 50)), expected)


def change(root: Path, name: str, edit: Any) -> None:
    file = root / f"annotations/instances_{name}2017.json"
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c["images"][0].update(file_name="../../etc/passwd"), "the path '../../etc/passwd' leaves"),
        (lambda c: c["images"][0].update(file_name="x.jpg"), r"1 images .* are not in .*val2017: x\.jpg"),
        (lambda c: c["categories"].pop(), "79 categories; expected the 80"),
        (lambda c: c["annotations"][0].update(image_id=99), "annotates images that it does not list: 99"),
        (lambda c: c["annotations"][0].pop("image_id"), "is not an instances file of COCO"),
        (lambda c: c["annotations"][0].update(segmentation="?"), "segmentations of image 1 cannot be drawn"),
        (
            lambda c: c["annotations"][0].update(segmentation={"size": [4, 5], "counts": "zz"}),
            "segmentations of image 1 cannot be drawn",
        ),
        (lambda c: c.pop("images"), "expected an object with 'images'"),
    ],
)
def test_faults(tmp_path: Path, edit: Any, message: str) -> None:
    make_fixture("coco", tmp_path / "set")
    change(tmp_path / "set", "val", edit)
    with pytest.raises(DataError, match=message):
        open_dataset(f"coco:{tmp_path / 'set'}", split=0)


def test_files_that_are_not_there_or_cut_short(tmp_path: Path) -> None:
    root = tmp_path / "set"
    make_fixture("coco", root)
    with pytest.raises(SettingsError, match="choose one by --split"):
        open_dataset(f"coco:{root}")
    file = root / "annotations/instances_train2017.json"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"train2017\.json is not JSON"):
        open_dataset(f"coco:{root}", split=0)
    file.unlink()
    with pytest.raises(DataError, match="expected COCO 2017 as downloaded"):
        open_dataset(f"coco:{root}", split=0)
