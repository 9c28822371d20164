"""Run folders: made whole or not at all, and tidied after a kill."""

import os
from pathlib import Path

import pytest

from invad import Run, TrainSettings
from invad.colours import ColourScale
from invad.errors import RunError
from invad.records import Record
from invad.saved_evaluation import Request


def fill(run: Run) -> None:
    TrainSettings(data=("folder:x",)).save(run.settings_file)
    run.log(event="notice", text="hello")


@pytest.mark.parametrize("there", [True, False], ids=["an empty folder", "no folder"])
def test_a_run_is_made_whole_or_not_at_all(there: bool, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run"
    if there:
        path.mkdir(parents=True)
    with pytest.raises(ZeroDivisionError), Run.create(path) as run:
        fill(run)
        assert not Run(path).settings_file.exists(), "nobody sees half of one"
        _ = 1 / 0
    assert path.exists() == there and [p for p in path.parent.rglob("*") if p != path] == []
    with Run.create(path) as run:
        fill(run)
    assert Run.open(path).notices() == ("hello",)
    assert sorted(entry.name for entry in path.iterdir()) == ["log.jsonl", "settings.toml"]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("there", [True, False])
def test_what_a_killed_program_left_is_begun_anew(there: bool, tmp_path: Path) -> None:
    path = tmp_path / "run"
    if there:
        path.mkdir()
    left = path / ".new" if there else tmp_path / ".run.new"
    left.mkdir()
    (left / "encoder.safetensors").write_bytes(b"half")
    with Run.create(path) as run:
        fill(run)
    assert sorted(entry.name for entry in path.iterdir()) == ["log.jsonl", "settings.toml"] and not left.exists()


def test_the_folder_that_the_program_runs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Run.create(Path()) as run:
        fill(run)
    assert Run.open(Path()).notices() == ("hello",)


def test_a_taken_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"x")
    with pytest.raises(RunError, match="exists already"), Run.create(tmp_path):
        raise AssertionError
    assert [entry.name for entry in tmp_path.iterdir()] == ["photo.png"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a folder that may not be written")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="cannot make the run folder"), Run.create(tmp_path / "run"):
        raise AssertionError
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_line_that_was_cut_short(cut: int, tmp_path: Path) -> None:
    run = Run(tmp_path)
    fill(run)
    run.log(event="step", loss=1.0, total_steps=10)
    run.log_file.write_bytes(run.log_file.read_bytes()[:-cut])
    assert [event["event"] for event in run.events()] == ["notice"]
    run.tidy()
    run.log(event="resumed")
    assert [event["event"] for event in run.events()] == ["notice", "resumed"]


def test_tidying_a_whole_run_changes_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.tidy()
    fill(run)
    run.checkpoints.mkdir()
    (run.checkpoints / "000000001.safetensors").write_bytes(b"x")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    run.tidy()
    assert before.keys() == {path: 0 for path in tmp_path.rglob("*")}.keys()
    assert run.notices() == ("hello",)


def test_images_of_a_run_are_those_that_it_was_started_with(tmp_path: Path) -> None:
    run = Run(tmp_path)
    records = [Record(image=Path(f"{i}.png"), class_name="a", split="train") for i in range(3)]
    run.write_records(records, ["a", "b", "c"])
    run.check_records(records, ["a", "x", "c"])  # mended before the first step
    run.checkpoints.mkdir()
    (run.checkpoints / "000000001.safetensors").touch()
    run.check_records(records, ["a", "b", "c"])
    moved = [Record(image=Path(f"moved/{i}.png"), class_name="a", split="train") for i in range(3)]
    run.check_records(moved, ["a", "b", "c"])
    with pytest.raises(RunError, match="the training images are not those"):
        run.check_records([Record(image=r.image, class_name="b", split="train") for r in records], ["a", "b", "c"])
    for changed, hashes, first in (
        (records, ["a", "x", "c"], r"1\.png"),
        (records[:2], ["a", "b"], r"2\.png"),
        (records[::-1], ["c", "b", "a"], r"0\.png"),
    ):
        with pytest.raises(RunError, match=f"the training images are not those .*differs: {first}"):
            run.check_records(changed, hashes)
    run.check_held_back((), ())
    with pytest.raises(RunError, match="the images held back are not those"):
        run.check_held_back(records[:1], ["a"])
    (tmp_path / "records.jsonl").write_text('{"image": "0.png", "class": "a", "split": "train"}\n')
    run.check_records(records[:1], ["a"])  # a run of format 1 names no hashes


def test_a_run_is_called_as_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parts").mkdir()
    monkeypatch.chdir(tmp_path / "parts")
    assert Run(".").name == "parts" and Run("../parts").name == "parts"


def test_commands_can_be_typed() -> None:
    asked = Request(data=("folder:my photos",), classes=("left washer", "nut"))
    assert asked.arguments() == "--data 'folder:my photos' --classes 'left washer' nut --bootstrap 0"


@pytest.mark.parametrize("text", ['{"image": "a.png", "cla', '{"image": "a.png"}\n', "[1]\n", "\xff"])
def test_a_damaged_list_of_images(text: str, tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.records_file.write_bytes(text.encode("latin-1"))
    run.held_back_file.write_bytes(text.encode("latin-1"))
    for read in (run.trained_classes, run.held_back):
        with pytest.raises(RunError, match=r"is damaged.*restore it from a copy"):
            read()


@pytest.mark.parametrize("text", ["{", "[]", '{"low": 0.1}', '{"low": 0.1, "high": 0.2, "classes": {"pill": 0.3}}'])
def test_a_damaged_colour_scale(text: str, tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_scale(scale := ColourScale.from_classes({"pill": (0.25, 0.5), "bottle": (0.75, 1.0)}))
    assert run.scale() == scale and scale.of(None) == (0.5, 0.75) and scale.of("pill") == (0.25, 0.5)
    run.scale_file.write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=r"scale\.json is damaged or of another version .*--resume"):
        run.scale()
