"""People's own folders and manifests where they are not quite as they should be."""

import json
from pathlib import Path

import pytest
from PIL import Image

from invad.data import check_dataset, open_dataset
from invad.data.synthetic import make_synthetic
from invad.errors import DataError


def test_a_class_may_be_called_by_a_number(tmp_path: Path) -> None:
    rows = [{"image": "a.png", "class": 0}, {"image": "b.png", "class": 1}, {"image": "c.png", "class": ""}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = open_dataset(f"folder:{tmp_path / 'list.jsonl'}")
    assert [record.class_name for record in data.records] == ["0", "1", "list"]


def test_an_image_beside_folders_of_classes_is_not_all_there_is(tmp_path: Path) -> None:
    made = make_synthetic(tmp_path / "set", train=2, good=1, defective=1, size=16)
    stray = tmp_path / "set" / "overview.png"
    stray.write_bytes(next((made[0] / "train/good").iterdir()).read_bytes())
    with pytest.raises(
        DataError, match=r"holds both images \(overview\.png, say\) and folders of classes or images \(capsule"
    ):
        open_dataset(f"folder:{tmp_path / 'set'}")


def write_images(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")


def test_a_folder_of_good_photos_for_each_part_is_enough(tmp_path: Path) -> None:
    write_images(tmp_path / "nut", 3)
    write_images(tmp_path / "bolt", 2)
    (tmp_path / "papers").mkdir()
    data = open_dataset(str(tmp_path))
    assert [(r.class_name, r.image.name, r.split, r.anomalous) for r in data.records] == [
        *(("bolt", f"{i}.png", "train", False) for i in range(2)),
        *(("nut", f"{i}.png", "train", False) for i in range(3)),
    ]
    assert data.notices == (f"all images of {tmp_path} are taken as normal training images: 2 of bolt, 3 of nut",)
    assert not check_dataset(str(tmp_path)).errors


@pytest.mark.parametrize("called", ["good", "Good", "OK", "defective", "Masks"])
def test_good_and_defective_photos_side_by_side_are_not_two_parts(tmp_path: Path, called: str) -> None:
    write_images(tmp_path / "part" / called, 2)
    write_images(tmp_path / "part" / "zinc", 2)
    with pytest.raises(DataError, match=f"holds a folder '{called}' of images.*PART/train/good/"):
        open_dataset(f"folder:{tmp_path / 'part'}")
    with pytest.raises(DataError, match=r"expected CLASS/train/good/ .*there are images in .*part"):
        open_dataset(f"folder:{tmp_path}")


def test_folders_beside_classes_are_said_to_be_not_used(tmp_path: Path) -> None:
    write_images(tmp_path / "nut/train/good", 3)
    write_images(tmp_path / "bolt", 2)
    data = open_dataset(f"folder:{tmp_path}")
    assert data.classes == ("nut",)
    assert data.notices == (f"{tmp_path / 'bolt'} holds images, but no `train/good`: they are not used",)


def test_the_test_folder_of_a_part_is_no_set_of_good_photos(tmp_path: Path) -> None:
    write_images(tmp_path / "nut/test/dent", 2)
    with pytest.raises(DataError, match=r"test is a part of a class; expected the class's folder"):
        open_dataset(f"folder:{tmp_path / 'nut/test'}")


def test_an_image_beside_folders_of_photos_is_not_all_there_is(tmp_path: Path) -> None:
    write_images(tmp_path / "nut", 3)
    Image.new("RGB", (8, 8)).save(tmp_path / "overview.png")
    with pytest.raises(DataError, match=r"both images \(overview\.png, say\) and folders of classes or images \(nut\)"):
        open_dataset(f"folder:{tmp_path}")


def test_a_part_that_is_called_as_a_published_class_needs_no_layout_in_front(tmp_path: Path) -> None:
    write_images(tmp_path / "screw", 2)
    assert open_dataset(str(tmp_path)).classes == ("screw",)


def test_what_an_index_leaves_out_is_no_fault(tmp_path: Path) -> None:
    write_images(tmp_path / "all", 2)
    entry = {"img_path": "all/0.png", "mask_path": "", "cls_name": "nut", "specie_name": "good", "anomaly": 0}
    (tmp_path / "meta.json").write_text(json.dumps({"train": {"nut": [entry]}, "test": {}}))
    assert check_dataset(f"folder:{tmp_path}").warnings == ()
