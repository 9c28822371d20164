"""The published layouts: records from tiny fixtures, every documented variant, and every fault named."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from invad.data import FIXTURES, PUBLISHED, ImageSource, check_dataset, make_fixture, open_dataset, read_mask
from invad.data.dataset import parse_spec
from invad.data.visa import INDEX, read_visa
from invad.errors import DataError, ImageError, SettingsError

SPLIT = {"coco": 0}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def made(layout: str, root: Path) -> Path:
    make_fixture(layout, root)
    return root


@pytest.mark.parametrize(
    ("layout", "train", "validation", "test", "masks"),
    [
        ("mvtec", 8, 0, 8, 4),
        ("visa", 8, 0, 8, 4),
        ("mvtec3d", 8, 2, 8, 4),
        ("realiad", 40, 0, 40, 16),
        ("medical", 8, 0, 8, 4),
    ],
)
def test_records(layout: str, train: int, validation: int, test: int, masks: int, tmp_path: Path) -> None:
    root = made(layout, tmp_path / "set")
    data = open_dataset(f"{layout}:{root}")
    assert data.classes == PUBLISHED[layout].classes[:2]
    counts = Counter(record.split for record in data.records)
    assert (counts["train"], counts["validation"], counts["test"]) == (train, validation, test)
    assert all((record.mask is not None) == record.anomalous for record in data.records)
    marked = [record.mask for record in data.records if record.mask]
    assert len(marked) == masks and all(read_mask(path).sum() == 16 * 20 for path in marked)
    assert f"holds 2 of {PUBLISHED[layout].title}'s" in data.notices[-1]
    assert parse_spec(str(root))[0] == layout if layout not in ("mvtec", "medical") else True
    (tmp_path / "moved").mkdir()
    moved = shutil.copytree(root, tmp_path / "moved" / "set")
    again = open_dataset(f"{layout}:{moved}")
    assert [r.image.relative_to(moved) for r in again.records] == [r.image.relative_to(root) for r in data.records]


@pytest.mark.parametrize("layout", FIXTURES)
def test_a_missing_class_a_missing_mask_and_a_truncated_image(layout: str, tmp_path: Path) -> None:
    spec = f"{layout}:{made(layout, tmp_path / 'set')}"
    data = open_dataset(spec, split=SPLIT.get(layout))
    mask = next(record.mask for record in data.records if record.mask)
    original, (image, *_) = mask.read_bytes(), (record.image for record in data.records)
    mask.unlink()
    if layout == "coco":  # ours to make again
        open_dataset(spec, split=0)
        assert mask.read_bytes() == original
    else:
        with pytest.raises(DataError, match=mask.stem.removesuffix("_mask")):
            open_dataset(spec)
        mask.write_bytes(original)
    image.write_bytes(image.read_bytes()[:300])
    report = check_dataset(spec, split=SPLIT.get(layout))
    assert any(str(image) in error for error in report.errors)
    records = open_dataset(spec, split=SPLIT.get(layout)).records
    with pytest.raises(ImageError, match=image.name):
        ImageSource(records, (64, 64)).image(0)
    assert ImageSource(records, (64, 64), skip_unreadable=True).skipped == (image,)
    with pytest.raises(DataError, match="has no class teapot"):
        open_dataset(spec, ["teapot"], split=SPLIT.get(layout))


@pytest.mark.parametrize("layout", [name for name in FIXTURES if name != "coco"])
def test_a_root_of_links_in_a_folder_with_spaces_and_letters(layout: str, tmp_path: Path) -> None:
    root = made(layout, tmp_path / "set")
    linked = tmp_path / "an Größe 大 folder"
    linked.mkdir()
    for path in root.iterdir():
        (linked / path.name).symlink_to(path)
    data = open_dataset(f"{layout}:{linked}")
    assert data.classes == PUBLISHED[layout].classes[:2] and all(r.image.is_relative_to(linked) for r in data.records)
    first = data.classes[0]
    shutil.rmtree(linked.parent / "set" / first, ignore_errors=True)
    shutil.rmtree(linked.parent / "set/realiad_256" / first, ignore_errors=True)
    if layout in ("visa", "realiad"):
        assert open_dataset(f"{layout}:{linked}").classes == data.classes[1:], "a class that is not there is left out"


@pytest.mark.parametrize("layout", FIXTURES)
def test_a_root_is_only_read(layout: str, tmp_path: Path) -> None:
    root = made(layout, tmp_path / "set")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    root.chmod(0o555)
    check_dataset(f"{layout}:{root}", split=SPLIT.get(layout))
    root.chmod(0o755)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def renamed(root: Path, old: str, new: str) -> None:
    """Rename everything under the root, in names and in indexes."""
    for path in sorted(root.rglob("*"), key=lambda path: -len(path.parts)):
        if path.suffix in (".csv", ".json"):
            path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8", newline="")
        path.rename(path.with_name(path.name.replace(old, new)))


@pytest.mark.parametrize("layout", FIXTURES)
@pytest.mark.parametrize("old", ["000", ".jpg", ".png", "CLASS"])
def test_upper_case_extensions_and_names_of_any_letters(layout: str, old: str, tmp_path: Path) -> None:
    root = made(layout, tmp_path / "set")
    expected = open_dataset(f"{layout}:{root}", split=SPLIT.get(layout)).records
    name = PUBLISHED[layout].classes[0] if old == "CLASS" else old
    renamed(root, name, name.upper() if name.startswith(".") else f"Größe 大 {name}")
    found = open_dataset(f"{layout}:{root}", split=SPLIT.get(layout)).records
    assert Counter((r.split, r.defect, r.mask is None) for r in found) == Counter(
        (r.split, r.defect, r.mask is None) for r in expected
    )
    assert all(record.image.is_file() for record in found)


@pytest.mark.parametrize("layout", ["realiad", "coco"])
def test_a_byte_order_mark_in_json(layout: str, tmp_path: Path) -> None:
    root = made(layout, tmp_path / "set")
    for path in root.rglob("*.json"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"}, ", b"},\r\n"))
    assert open_dataset(f"{layout}:{root}", split=SPLIT.get(layout)).records


@pytest.mark.parametrize("layout", ["mvtec", "mvtec3d", "medical"])
def test_a_mask_without_its_image(layout: str, tmp_path: Path) -> None:
    root = made(layout, tmp_path / "set")
    image = next(record.image for record in open_dataset(f"{layout}:{root}").records if record.anomalous)
    image.unlink()
    with pytest.raises(DataError, match="have no image"):
        open_dataset(f"{layout}:{root}")


def test_a_folder_of_masks_without_images(tmp_path: Path) -> None:
    root = made("mvtec", tmp_path / "set")
    shutil.rmtree(root / "bottle/test/crack")
    with pytest.raises(DataError, match="have no image"):
        open_dataset(f"mvtec:{root}")


# VisA


def test_visa_values_above_one_are_defects(tmp_path: Path) -> None:
    root = made("visa", tmp_path / "set")
    assert set(np.unique(Image.open(root / "candle/Data/Masks/Anomaly/001.png"))) == {0, 3}
    assert read_mask(root / "candle/Data/Masks/Anomaly/001.png").sum() == 16 * 20


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("candle/Data/Images/Normal/0000.JPG", "../../etc/passwd", "line 2: the path '../../etc/passwd' leaves"),
        ("candle/Data/Images/Normal/0000.JPG", "/etc/passwd", "leaves the folder"),
        ("candle/Data/Images/Normal/0000.JPG", "candle/absent.JPG", r"1 files that .*1cls.csv names .*absent\.JPG"),
        ("object,split", "class,split", "has no column object"),
        ("candle,train", "candle,tset", "line 2: split 'tset'"),
        ("candle/Data/Masks/Anomaly/000.png", "", "line 8: label 'anomaly' with the mask ''"),
        (",candle/Data/Masks/Anomaly/000.png", "", "line 8: fewer cells"),
    ],
)
def test_visa_faults(tmp_path: Path, old: str, new: str, message: str) -> None:
    root = made("visa", tmp_path / "set")
    text = (root / INDEX).read_bytes().decode()
    (root / INDEX).write_bytes(text.replace(old, new).encode())
    with pytest.raises(DataError, match=message):
        open_dataset(f"visa:{root}")


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_visa_line_ends_and_byte_order_mark(tmp_path: Path, newline: bytes, mark: bytes) -> None:
    root = made("visa", tmp_path / "set")
    expected = open_dataset(f"visa:{root}").records
    (root / INDEX).write_bytes(mark + (root / INDEX).read_bytes().replace(b"\r\n", newline))
    assert open_dataset(f"visa:{root}").records == expected


def test_visa_without_its_index_and_with_unlisted_files(tmp_path: Path) -> None:
    root = made("visa", tmp_path / "set")
    shutil.copy(root / "candle/Data/Masks/Anomaly/000.png", root / "candle/Data/Masks/Anomaly/777.png")
    assert any(
        "1 files are not in" in notice and "777.png" in notice for notice in open_dataset(f"visa:{root}").notices
    )
    (root / INDEX).unlink()
    with pytest.raises(DataError, match="expected VisA as it is unpacked"):
        open_dataset(f"visa:{root}")


@pytest.mark.shared
def test_the_real_split_file_of_visa(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import csv

    from invad.data import visa
    from invad.data.catalog import differences

    real = shared / "data/visa/split_csv/1cls.csv"
    with real.open(newline="") as file:
        rows = list(csv.DictReader(file))
    (tmp_path / "split_csv").mkdir()
    shutil.copy(real, tmp_path / "split_csv")
    for name in visa.CLASSES:
        (tmp_path / name).mkdir()
    monkeypatch.setattr(visa, "require_files", lambda paths, index: None)  # there are no images
    records, notices = read_visa(tmp_path)
    found = Counter((r.class_name, r.split, r.anomalous) for r in records)
    assert found == Counter((row["object"], row["split"], row["label"] == "anomaly") for row in rows)
    assert [r.image.relative_to(tmp_path).as_posix() for r in records] == [row["image"] for row in rows]
    assert not differences("visa", tmp_path, records) and not notices


# Real-IAD


def test_realiad_views_and_samples(tmp_path: Path) -> None:
    data = open_dataset(f"realiad:{made('realiad', tmp_path / 'set')}")
    assert Counter(record.view for record in data.records) == dict.fromkeys(("C1", "C2", "C3", "C4", "C5"), 16)
    samples = Counter(record.sample for record in data.records)
    assert len(samples) == 16 and set(samples.values()) == {5}
    assert {r.defect for r in data.records if r.sample == "audiojack/NG/AK/S0006"} == {"AK", "good"}
    assert {r.view for r in open_dataset(f"realiad:{data.root}", views=["C2"]).records} == {"C2"}
    with pytest.raises(SettingsError, match="has no view C9; it has C1"):
        open_dataset(f"realiad:{data.root}", views=["C9"])
    with pytest.raises(SettingsError, match="has no view C1; it has none"):
        open_dataset(f"mvtec:{made('mvtec', tmp_path / 'm')}", views=["C1"])


@pytest.mark.parametrize("resolution", ["realiad_256", "realiad_512", "realiad_1024", "realiad_raw"])
@pytest.mark.parametrize("place", ["realiad_jsons", "realiad_jsons/realiad_jsons", "beside"])
def test_realiad_variants(tmp_path: Path, resolution: str, place: str) -> None:
    root = made("realiad", tmp_path / "set")
    expected = [r.image.relative_to(root / "realiad_256") for r in open_dataset(f"realiad:{root}").records]
    (root / "realiad_256").rename(root / resolution)
    (root / "realiad_jsons").rename(tmp_path / "jsons")
    target = root / (resolution if place == "beside" else place)
    target.mkdir(parents=True, exist_ok=True)
    for path in (tmp_path / "jsons").iterdir():
        shutil.move(path, target)
    for spec in (root, root / resolution):
        found = open_dataset(f"realiad:{spec}").records
        assert [r.image.relative_to(root / resolution) for r in found] == expected


def test_several_resolutions_are_a_question(tmp_path: Path) -> None:
    root = made("realiad", tmp_path / "set")
    shutil.copytree(root / "realiad_256", root / "realiad_512")
    with pytest.raises(SettingsError, match=r"say which: realiad:.*realiad_256 or realiad:.*realiad_512"):
        open_dataset(f"realiad:{root}")
    assert len(open_dataset(f"realiad:{root / 'realiad_512'}").records) == 80


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("OK/S0000/audiojack_0000_OK_C1", "../../etc/passwd_C1", "train 0: the path .* leaves the folder"),
        ("OK/S0000/audiojack_0000_OK_C1", "/etc/passwd_C1", "leaves the folder"),
        ('"prefix": "audiojack/"', '"prefix": "../../etc/"', "leaves the folder"),
        ("audiojack_0000_OK_C1_", "audiojack_0000_OK_", "names no view; expected one of C1"),
        ('"normal_class"', '"usual_class"', "expected an object with 'normal_class'"),
        ('"train": [', '"train": [1, ', "train 0: expected an object with 'image_path'"),
        ("_C1_20231013131805.jpg", "_C1_0.jpg", r"8 files that .*audiojack\.json names are not there"),
        ('"pre_transform"', '"pre', "is not JSON"),
    ],
)
def test_realiad_faults(tmp_path: Path, old: str, new: str, message: str) -> None:
    root = made("realiad", tmp_path / "set")
    index = root / "realiad_jsons/audiojack.json"
    index.write_text(index.read_text().replace(old, new, -1 if "jpg" in old else 1))
    with pytest.raises(DataError, match=message):
        open_dataset(f"realiad:{root}")


def test_realiad_masks_that_are_not_as_they_should_be(tmp_path: Path) -> None:
    root = made("realiad", tmp_path / "set")
    index = root / "realiad_jsons/audiojack.json"
    content = json.loads(index.read_text())
    defective = [item for item in content["test"] if item["mask_path"]]
    content["train"][0]["mask_path"] = defective[0]["mask_path"]
    defective[1]["mask_path"] = None
    index.write_text(json.dumps(content))
    notices = " ".join(open_dataset(f"realiad:{root}").notices)
    assert "1 normal images have a mask, which is not used" in notices and "1 defective images have no mask" in notices
    assert any("no mask, though" in error for error in check_dataset(f"realiad:{root}").errors)
    (root / "realiad_jsons/bottle_cap.json").unlink()
    assert any("the classes bottle_cap have no JSON" in notice for notice in open_dataset(f"realiad:{root}").notices)


# The published toolbox's index


def entry(image: str, mask: str = "", anomaly: int = 0, specie: str = "good") -> dict[str, object]:
    return {"img_path": image, "mask_path": mask, "cls_name": "bottle", "specie_name": specie, "anomaly": anomaly}


def test_meta_json(tmp_path: Path) -> None:
    root = made("mvtec", tmp_path / "set")
    content = {
        "train": {"bottle": [entry("bottle/train/good/000.png")]},
        "test": {
            "bottle": [
                entry("bottle/test/crack/000.png", "bottle/ground_truth/crack/000_mask.png", 1, "crack"),
                entry("bottle/test/good/000.png"),
                entry("bottle/test/crack/001.png", "bottle/ground_truth/crack/001_mask.png", 1, ""),
            ]
        },
    }
    (root / "meta.json").write_text(json.dumps(content))
    data = open_dataset(f"folder:{root / 'meta.json'}")
    assert [(r.split, r.defect, r.mask is not None) for r in data.records] == [
        ("train", "good", False),
        ("test", "crack", True),
        ("test", "good", False),
        ("test", "anomalous", True),
    ]
    assert len(open_dataset(f"mvtec:{root}").records) == 16, "class folders are read as they are"
    (tmp_path / "bare").mkdir()
    shutil.copy(root / "meta.json", tmp_path / "bare")
    assert len(open_dataset(f"folder:{tmp_path / 'bare'}").records) == 4
    for text, message in (
        (json.dumps(content).replace("bottle/train/good", "../../etc"), "leaves the folder"),
        ("[]", "is no index file"),
        ('{"train": {}}', "names no image"),
        ('{"train": {"bottle": [{}]}}', "train bottle 0: expected an object with 'anomaly'"),
        ("{", "is not JSON"),
    ):
        (root / "meta.json").write_text(text)
        with pytest.raises(DataError, match=message):
            open_dataset(f"folder:{root / 'meta.json'}")


def test_fixtures_refuse_a_folder_in_use(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="other files"):
        make_fixture("visa", tmp_path)
    with pytest.raises(DataError, match="expected one of mvtec"):
        make_fixture("vista", tmp_path / "x")
