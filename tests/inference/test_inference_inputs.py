"""Whatever a command is pointed at, one image after another."""

import io
import json
import os
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest

from invad.errors import DataError, SettingsError
from invad.inference import inputs
from invad.inference.inputs import class_of, list_inputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/2.png", "b/1.JPG", "a/x/3.tif", "4.bmp", "b/notes.txt"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "images"


def names(*roots: object, without: Sequence[Path] = ()) -> list[str]:
    return [item.path.name for item in list_inputs([str(root) for root in roots], without=without)]


def test_folders_are_searched_in_order_and_files_are_taken_as_they_are(folder: Path) -> None:
    assert names(folder) == ["4.bmp", "3.tif", "1.JPG", "2.png"]
    assert names(folder / "b/notes.txt", folder / "b") == ["notes.txt", "1.JPG", "2.png"]
    assert names(folder, without=[folder / "a"]) == ["4.bmp", "1.JPG", "2.png"]


def test_patterns(folder: Path) -> None:
    assert names(folder / "**/*.[pt]*[gf]") == ["3.tif", "2.png"]
    assert names(folder / "**/*.*", without=[folder / "b"]) == ["4.bmp", "3.tif"]
    assert names(folder / "b/*", without=[folder / "a"]) == ["1.JPG", "2.png", "notes.txt"]
    with pytest.raises(DataError, match="no file matches"):
        names(folder / "*.webp")
    (folder / "odd[1].png").touch()
    assert names(folder / "odd[1].png") == ["odd[1].png"], "a file that is there is no pattern"


def test_hidden_files_and_folders_are_left_out(folder: Path) -> None:
    (folder / ".trash").mkdir()
    for name in ("b/._2.png", "b/.5.png", ".trash/6.png"):
        (folder / name).touch()
    assert names(folder) == ["4.bmp", "3.tif", "1.JPG", "2.png"]
    assert names(folder / "**/*.png") == ["2.png"]
    assert names(folder / "b/.*", folder / "b/._2.png") == [".5.png", "._2.png", "._2.png"], "where they are named"


def test_masks_are_no_photos(folder: Path) -> None:
    (folder / "b/ground_truth/hole").mkdir(parents=True)
    (folder / "b/ground_truth/hole/2_mask.png").touch()
    assert names(folder) == ["4.bmp", "3.tif", "1.JPG", "2.png"]
    assert names(folder / "b/ground_truth") == ["2_mask.png"], "where they are named"


def test_links_in_a_circle_end(folder: Path) -> None:
    (folder / "b/again").symlink_to(folder, target_is_directory=True)
    (folder / "c").symlink_to(folder / "a", target_is_directory=True)
    assert names(folder) == ["4.bmp", "3.tif", "1.JPG", "2.png", "3.tif"]


def test_what_cannot_be_looked_at_is_an_image_that_cannot_be_read(folder: Path) -> None:
    (folder / "5.png").symlink_to("5.png")
    (folder / "6.png").symlink_to("nowhere.png")
    assert names(folder) == ["4.bmp", "5.png", "6.png", "3.tif", "1.JPG", "2.png"]


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
def test_a_list_of_nothing_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("image,class\n" if name.endswith("csv") else "\n")
    with pytest.raises(DataError, match=f"{name} names no image"):
        list_inputs([str(tmp_path / name)])


def test_an_empty_name_is_not_the_folder_one_is_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(SettingsError, match="empty name; was a variable of the shell not set"):
        list_inputs([""])


def test_manifests(folder: Path) -> None:
    (folder / "list.csv").write_text("class,image\nnut,b/1.JPG\n,b/2.png\n")
    (folder / "list.jsonl").write_text(
        json.dumps({"image": "b/1.JPG", "class": "nut"}) + "\n\n" + json.dumps({"image": str(folder / "4.bmp")}) + "\n"
    )
    found = list(list_inputs([str(folder / "list.csv"), str(folder / "list.jsonl")]))
    assert [(item.path, item.class_name) for item in found] == [
        (folder / "b/1.JPG", "nut"),
        (folder / "b/2.png", None),
        (folder / "b/1.JPG", "nut"),
        (folder / "4.bmp", None),
    ]


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("a.csv", "path\nx.png\n", "no column `image`"),
        ("a.csv", "image\n\n,\n", "no column|line 3: no image"),
        ("a.jsonl", '{"image": "a.png"}\n{"img": 3}\n', "line 2: no image"),
        ("a.jsonl", "x.png\n", "line 1 is not JSON"),
        ("a.jsonl", '{"image": 3}\n', "line 1: no image"),
        ("a.jsonl", "[" * 100_000 + "\n", "line 1 is not JSON"),
        ("a.csv", b"image\n\xff.png\n", "cannot be read"),
    ],
)
def test_faulty_manifests(tmp_path: Path, name: str, text: str | bytes, word: str) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=word):
        names(tmp_path / name)


def test_standard_input_is_read_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = io.BytesIO(b"a.png\r\n\nb c.png\n" + "ü.png\n".encode() + b"last.png")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(lines))
    found = list_inputs(["-"])
    assert next(found).path.name == "a.png"
    assert [item.path.name for item in found] == ["b c.png", "ü.png", "last.png"]
    with pytest.raises(SettingsError, match="only once"):
        list_inputs(["-", "-"])


def test_what_is_wrong_is_refused_at_once(folder: Path) -> None:
    with pytest.raises(SettingsError, match="no image given"):
        list_inputs([])
    with pytest.raises(DataError, match="there is no image or folder"):
        list_inputs([str(folder), str(folder / "absent.png")])
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        list_inputs([str(folder), str(folder / "empty")])


def test_large_folders_are_not_held(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "SORTED_ENTRIES", 2)
    expected = {"4.bmp", "3.tif", "1.JPG", "2.png"}
    assert set(names(folder)) == expected and set(names(f"{folder}/**/*.*")) == {*expected, "notes.txt"}


def test_nothing_is_taken_before_it_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(path) or scandir(path))
    found = list_inputs([str(folder)])
    list(islice(found, 1))
    assert len(looked) == 1


def test_class_of_a_path() -> None:
    classes = {"nut", "bolt"}
    assert class_of(Path("nut/bolt/good/1.png"), classes) == "bolt"
    assert class_of(Path("parts/1.png"), classes) is None
    assert class_of(Path("nut"), classes) is None
    shared = {"north/nut", "south/nut", "nut", "bolt"}
    assert class_of(Path("/data/south/nut/good/1.png"), shared) == "south/nut", "the longer name, at the same folder"
    assert class_of(Path("east/nut/1.png"), shared) == "nut"
    assert class_of(Path("north/nut/bolt/1.png"), shared) == "bolt", "the nearest folder"
    assert class_of(Path("north/x/nut/1.png"), {"north/nut"}) is None
