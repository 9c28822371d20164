"""Layouts: what is on disk becomes records, in one order, and every fault is named."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from invad.data import (
    check_dataset,
    check_masks,
    make_synthetic,
    open_dataset,
    open_datasets,
    render,
    synthetic,
)
from invad.data.dataset import parse_spec
from invad.errors import DataError, SettingsError


def write_image(path: Path, seed: int = 0, size: tuple[int, int] = (8, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return path


def write_mask(path: Path, size: tuple[int, int] = (8, 10), filled: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, np.uint8)
    mask[2:4, 2:5] = 255 * filled
    Image.fromarray(mask).save(path)
    return path


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Two classes, the first with a defect and its masks, in both ways to name them."""
    root = tmp_path / "parts"
    for i in range(3):
        write_image(root / f"nut/train/good/{i}.png", i)
        write_image(root / f"bolt/train/good/{i}.png", 10 + i)
    write_image(root / "nut/test/good/0.png", 20)
    write_image(root / "nut/test/dent/0.png", 21)
    write_image(root / "nut/test/dent/1.png", 22)
    write_mask(root / "nut/ground_truth/dent/0_mask.png")
    write_mask(root / "nut/ground_truth/dent/1.png")
    return root


def test_class_folders(parts: Path) -> None:
    data = open_dataset(f"folder:{parts}")
    assert data.classes == ("bolt", "nut")
    assert [(r.class_name, r.image.name) for r in data.split("train")] == [
        (name, f"{i}.png") for name in ("bolt", "nut") for i in range(3)
    ]
    masks = {r.image.name: r.mask.name for r in data.records if r.mask}
    assert masks == {"0.png": "0_mask.png", "1.png": "1.png"}
    assert [r.anomalous for r in data.split("test")] == [True, True, False]
    assert open_dataset(f"folder:{parts}", ["nut"]).classes == ("nut",)
    assert open_dataset(f"folder:{parts / 'nut'}").classes == ("nut",)
    check_masks(data.records)


def test_what_is_hidden_is_no_image_mask_or_class(parts: Path) -> None:
    before = open_dataset(f"folder:{parts}")
    for name in ("nut/train/good/._0.png", "nut/test/dent/._0.png", "nut/ground_truth/dent/._1.png"):
        (parts / name).write_bytes(b"Mac OS X")
    shutil.copytree(parts / "nut", parts / ".trash")
    write_image(parts / "nut/test/.trash/0.png", 0)
    assert open_dataset(f"folder:{parts}") == before
    flat = parts / "nut/train/good"
    assert open_dataset(f"folder:{flat}").records == tuple(
        replace(record, class_name="good") for record in before.records if record.image.parent == flat
    )


def test_masks_and_images_must_pair(parts: Path) -> None:
    truth = parts / "nut/ground_truth/dent"
    (truth / "1.png").rename(truth / "2.png")
    with pytest.raises(DataError, match=r"1 of the files .* have no mask in .*1\.png"):
        open_dataset(f"folder:{parts}")
    write_mask(truth / "1.png")
    with pytest.raises(DataError, match=r"have no image in .*2\.png"):
        open_dataset(f"folder:{parts}")
    (truth / "2.png").rename(truth / "0.png")
    with pytest.raises(DataError, match="more than one mask for 0"):
        open_dataset(f"folder:{parts}")


def test_no_masks_at_all_is_a_notice(parts: Path) -> None:
    import shutil

    shutil.rmtree(parts / "nut/ground_truth")
    data = open_dataset(f"folder:{parts}")
    assert any("'nut' has no masks" in notice for notice in data.notices)
    check_masks(data.records)


def test_a_mask_of_another_size_is_refused(parts: Path) -> None:
    write_mask(parts / "nut/ground_truth/dent/1.png", size=(4, 5))
    with pytest.raises(DataError, match=r"1\.png is 4 x 5, its image 8 x 10"):
        check_masks(open_dataset(f"folder:{parts}").records)


def test_roots_that_are_no_data_set(tmp_path: Path, parts: Path) -> None:
    with pytest.raises(DataError, match=r"nott does not exist \(.*parts does, and holds bolt, nut\)"):
        open_dataset(f"folder:{parts / 'nott'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no class folder; expected CLASS/train/good/"):
        open_dataset(f"folder:{tmp_path / 'empty'}")
    (tmp_path / "bad/a/train/defective").mkdir(parents=True)
    with pytest.raises(DataError, match=r"class 'a' has no image in .*good"):
        open_dataset(f"mvtec:{tmp_path / 'bad'}")
    with pytest.raises(DataError, match="has no class teapot; it has bolt, nut"):
        open_dataset(f"folder:{parts}", ["teapot"])


def test_a_flat_folder_is_one_class_of_normal_images(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", "notes.txt"):
        path = tmp_path / "screws" / name
        path.parent.mkdir(exist_ok=True)
        write_image(path) if name != "notes.txt" else path.write_text("x")
    data = open_dataset(f"folder:{tmp_path / 'screws'}")
    assert [(r.class_name, r.image.name, r.split) for r in data.records] == [
        ("screws", "a.jpg", "train"),
        ("screws", "b.png", "train"),
    ]
    assert data.notices[0].endswith("are taken as normal training images: 2 of screws")
    (tmp_path / "screws/train").mkdir()
    with pytest.raises(DataError, match="both images and folders"):
        open_dataset(f"folder:{tmp_path / 'screws'}")


def test_a_root_alone_is_enough_where_one_layout_fits(parts: Path, tmp_path: Path) -> None:
    assert parse_spec(str(parts)) == ("folder", parts)
    write_image(tmp_path / "m/bottle/train/good/0.png")
    with pytest.raises(SettingsError, match=r"say which: mvtec:.* or folder:"):
        parse_spec(str(tmp_path / "m"))
    make_synthetic(tmp_path / "s", train=1, good=1, defective=1, size=32)
    assert parse_spec(str(tmp_path / "s"))[0] == "synthetic"
    with pytest.raises(DataError, match="LAYOUT mvtec or visa or"):
        parse_spec("visual:/no/where")


def test_some_classes_of_mvtec_are_a_notice_and_a_fault_of_the_check(tmp_path: Path) -> None:
    for i, name in enumerate(("bottle", "pill")):
        write_image(tmp_path / f"m/{name}/train/good/0.png", i)
    assert "2 of MVTec AD's 15 classes; without cable" in open_dataset(f"mvtec:{tmp_path / 'm'}").notices[0]
    assert "13 things differ" in check_dataset(f"mvtec:{tmp_path / 'm'}").errors[0]
    assert not check_dataset(f"mvtec:{tmp_path / 'm'}", ["bottle", "pill"]).errors
    assert not open_dataset(f"mvtec:{tmp_path / 'm/bottle'}").notices


def test_several_sets_become_one(parts: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "more/nut/train/good/0.png")
    data = open_datasets([f"folder:{parts}", f"folder:{tmp_path / 'more'}"])
    assert data.classes == ("bolt", "more/nut", "parts/nut")
    assert "several sets" in data.notices[-1]
    write_image(tmp_path / "x/parts/nut/train/good/0.png")
    with pytest.raises(SettingsError, match="rename one"):
        open_datasets([f"folder:{parts}", f"folder:{tmp_path / 'x/parts'}"])


MANIFEST = """image,mask,class,defect,split,label
a/0.png,,nut,,train,0
a/1.png,,nut,,test,normal
a/2.png,a/2_mask.png,nut,dent,test,1
a/3.png,,bolt,,test,anomalous
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_manifest(tmp_path: Path, encoding: str, newline: str) -> None:
    path = tmp_path / "parts.csv"
    path.write_bytes(MANIFEST.replace("\n", newline).encode(encoding))
    data = open_dataset(f"folder:{path}")
    assert [(r.image.name, r.class_name, r.defect, r.split) for r in data.records] == [
        ("0.png", "nut", "good", "train"),
        ("1.png", "nut", "good", "test"),
        ("2.png", "nut", "dent", "test"),
        ("3.png", "bolt", "anomalous", "test"),
    ]
    assert data.records[2].mask == tmp_path / "a/2_mask.png" and not data.notices


def test_a_manifest_of_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "parts.jsonl"
    path.write_text('{"image": "0.png", "camera": 3}\n\n{"image": "1.png", "split": "test", "label": 1}\n')
    data = open_dataset(f"folder:{path}")
    assert [(r.class_name, r.anomalous) for r in data.records] == [("parts", False), ("parts", True)]
    assert "the columns camera are not read" in data.notices[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image\n../secret.png\n", "line 2: the path '../secret.png' leaves the folder"),
        ("image\n/etc/passwd\n", "leaves the folder"),
        ("image,split\na.png,tset\n", "line 2: unknown split 'tset'; expected one of train"),
        ("image,label\na.png,2\n", "unknown label '2'"),
        ("image,label,defect\na.png,0,dent\n", "label '0' contradicts defect 'dent'"),
        ("image,mask\na.png,m.png\n", "line 2: a mask, but no label and no defect; expected label 1"),
        ("image,mask,defect,split\na.png,m.png,dent,test\nb.png,m.png,,test\n", "line 3: a mask, but no label"),
        ("file\na.png\n", "line 2: no image; expected a column `image`"),
        ("image\n", "names no image"),
        ("", "names no image"),
    ],
)
def test_a_manifest_with_a_fault(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        open_dataset(f"folder:{path}")


def test_manifests_that_are_none(tmp_path: Path) -> None:
    for name, content in {"a.jsonl": b"image: a.png", "b.jsonl": b"[1]", "c.csv": b"\xff\xfe\x00"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            open_dataset(f"folder:{tmp_path / name}")


def test_masks_for_some_defects_only_are_refused(tmp_path: Path) -> None:
    for i in range(3):
        write_image(tmp_path / f"{i}.png", i)
    write_mask(tmp_path / "m.png")
    path = tmp_path / "m.csv"
    path.write_text("image,mask,split,label\n0.png,,train,0\n1.png,m.png,test,1\n2.png,,test,1\n")
    with pytest.raises(DataError, match=r"1 defective images have no mask, though .*2\.png"):
        check_masks(open_dataset(f"folder:{path}").records)
    assert "no mask, though" in check_dataset(f"folder:{path}").errors[0]


def test_the_check_names_every_fault(parts: Path) -> None:
    assert not check_dataset(f"folder:{parts}").errors
    (parts / "bolt/train/good/9.png").write_bytes(b"")
    write_image(parts / "bolt/train/good/8.png", 8, size=(4, 4))
    write_mask(parts / "nut/ground_truth/dent/1.png", filled=False)
    write_image(parts / "nut/test/good/5.png", 1)  # the same pixels as a training image
    write_image(parts / "nut/train/good/7.png", 2)  # the same pixels as another one
    write_mask(parts / "nut/ground_truth/dent/0_mask.png", size=(4, 4))
    report = check_dataset(f"folder:{parts}")
    errors, warnings = " ".join(report.errors), " ".join(report.warnings)
    for word in ("cannot be read", "9.png", "another size", "0_mask.png", "training images too", "5.png"):
        assert word in errors
    for word in ("masks of defective images are empty", "1.png", "not 8 x 10", "8.png", "in one split twice", "7.png"):
        assert word in warnings
    assert report.counts["nut", "train", "good"] == 4
    assert "error: " in render(report) and "kinds of errors" in render(report)


def test_the_check_names_pictures_that_are_not_used(parts: Path) -> None:
    assert not check_dataset(f"folder:{parts}").warnings
    overlooked = [
        write_image(parts / place, 30)
        for place in ("nut/train/good/monday/0.png", "nut/test/9.png", "washer/good/0.png", "nut/train/1.png")
    ]
    (parts / "nut/train/good/8.png").symlink_to(parts / "gone.png")
    (parts / "bolt/train/good/phone.HEIC").write_bytes(b"")
    write_image(parts / "nut/train/good/.thumbnails/0.png")
    (parts / "nut/train/good/again").symlink_to(parts, target_is_directory=True)
    write_mask(parts / "nut/ground_truth/good/0.png", filled=False)
    unread, unused = sorted(check_dataset(f"folder:{parts}").warnings)
    assert unused.startswith("5 image files are not used") and all(str(path) in unused for path in overlooked)
    assert str(parts / "nut/train/good/8.png") in unused and "thumbnails" not in unused and "again" not in unused
    assert unread.startswith("1 pictures are not used") and "phone.HEIC" in unread
    assert not check_dataset(f"folder:{parts}", ["bolt"]).warnings


@pytest.mark.parametrize("called", ["Good", "OK", "normal"])
def test_normal_test_images_in_a_folder_of_another_name_are_no_defects(parts: Path, called: str) -> None:
    write_image(parts / "bolt/test" / called / "0.png", 30)
    with pytest.raises(DataError, match=f"{called} would count as a defect.*called `good`: rename it"):
        open_dataset(f"folder:{parts}")


def test_a_normal_image_whose_mask_marks_something_is_named_by_check_and_evaluation(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_image(tmp_path / f"{name}.png", ord(name))
    write_mask(tmp_path / "empty.png", filled=False)
    write_mask(tmp_path / "drawn.png")
    (tmp_path / "list.csv").write_text("image,split,label,mask\na.png,train,,\nb.png,test,0,empty.png\n")
    assert not check_dataset(f"folder:{tmp_path / 'list.csv'}").warnings
    with (tmp_path / "list.csv").open("a") as file:
        file.write("c.png,test,0,drawn.png\n")
    (said,) = check_dataset(f"folder:{tmp_path / 'list.csv'}").errors
    assert said == f"1 masks mark something on normal images: {tmp_path / 'drawn.png'}"
    with pytest.raises(DataError, match=r"1 masks mark something on normal images: .*drawn\.png\. Give such images"):
        check_masks(open_dataset(f"folder:{tmp_path / 'list.csv'}").records)


def test_masks_are_found_however_names_are_spelt_and_where_images_are_called_masks(parts: Path) -> None:
    write_image(parts / "nut/test/lu\u0308cke/gru\u0308n.png", 30)
    write_mask(parts / "nut/ground_truth/l\u00fccke/gr\u00fcn_mask.png")
    for name in ("a", "a_mask"):
        write_image(parts / f"nut/test/face/{name}.png", 31 + len(name))
        write_mask(parts / f"nut/ground_truth/face/{name}.png")
        write_image(parts / f"nut/test/both/{name}.png", 41 + len(name))
        write_mask(parts / f"nut/ground_truth/both/{name}_mask.png")
    found = {
        f"{r.defect}/{r.image.stem}": r.mask.stem for r in open_dataset(f"folder:{parts}").records if r.mask is not None
    }
    assert found["face/a"] == "a" and found["face/a_mask"] == "a_mask"
    assert found["both/a"] == "a_mask" and found["both/a_mask"] == "a_mask_mask"
    assert found["l\u00fccke/gru\u0308n"] == "gr\u00fcn_mask"


def test_the_synthetic_set_is_the_same_at_every_call(tmp_path: Path) -> None:
    options = {"train": 2, "good": 1, "defective": 1, "size": 48}
    make_synthetic(tmp_path / "a", **options)
    make_synthetic(tmp_path / "b", **options)
    a, b = (sorted((tmp_path / name).rglob("*.png")) for name in "ab")
    assert [path.read_bytes() for path in a] == [path.read_bytes() for path in b]
    data = open_dataset(f"synthetic:{tmp_path / 'a'}")
    assert len(data.classes) >= 3 and len({r.defect for r in data.records}) >= 4
    with pytest.raises(DataError, match="other settings"):
        make_synthetic(tmp_path / "a", **{**options, "seed": 1})
    (tmp_path / "c").mkdir()
    (tmp_path / "c/notes.txt").write_text("mine")
    with pytest.raises(DataError, match="other files"):
        make_synthetic(tmp_path / "c")


def test_a_persons_photos_are_no_synthetic_set_that_was_begun(tmp_path: Path) -> None:
    photo = tmp_path / "wood" / "train" / "good" / "000.png"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"mine")
    with pytest.raises(DataError, match="other files"):
        open_dataset(f"synthetic:{tmp_path}")
    assert photo.read_bytes() == b"mine" and [path.name for path in tmp_path.iterdir()] == ["wood"]


def test_a_synthetic_set_that_was_begun_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"train": 1, "good": 1, "defective": 1, "size": 16}
    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "PRODUCTS", {**synthetic.PRODUCTS, "zebra": None})
        with pytest.raises(TypeError):
            make_synthetic(tmp_path / "set", **options)
    assert len(make_synthetic(tmp_path / "set", **options)) == len(synthetic.PRODUCTS)
    assert not list((tmp_path / "set").glob("*.part"))


def test_a_negative_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="seed must be 0 or more, not -1"):
        make_synthetic(tmp_path / "set", seed=-1)
    assert not list(tmp_path.iterdir())


def test_synthetic_masks_mark_what_was_changed(tmp_path: Path) -> None:
    make_synthetic(tmp_path / "s", train=1, good=1, defective=3, size=128)
    report = check_dataset(f"synthetic:{tmp_path / 's'}")
    assert not report.errors and not report.warnings


@pytest.mark.shared
def test_real_images(shared: Path) -> None:
    counts = {"bottle": (209, 83, 63), "pill": (267, 167, 141)}
    for name, (train, test, masks) in counts.items():
        data = open_dataset(f"mvtec:{shared}/data/mvtec", [name])
        assert (len(data.split("train")), len(data.split("test"))) == (train, test)
        assert sum(r.mask is not None for r in data.records) == masks
        check_masks(data.records)
    report = check_dataset(f"mvtec:{shared}/data/hazelnut_toy")
    assert {(split, defect): n for (_, split, defect), n in report.counts.items()} == {
        ("train", "good"): 28,
        ("test", "good"): 6,
        ("test", "colour"): 17,
    }
    assert any("1 images are not 512 x 512" in warning for warning in report.warnings)
