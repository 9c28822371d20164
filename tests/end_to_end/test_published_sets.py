"""Every published data set from check to prediction through the command line, on a tiny fixture in its exact layout."""

import json
from pathlib import Path

import pytest

import invad
from invad.cli.main import run
from invad.data import FIXTURES, PUBLISHED

SMALL = ("--encoder", "analytic", "--image-size", "64", "--blocks", "1", "1", "1", "--epochs", "1", "--quiet")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("layout", FIXTURES)
def test_check_train_evaluate_predict(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out, split = tmp_path / "set", tmp_path / "run", ["--split", "0"] if layout == "coco" else []
    assert run(["data", "fixture", layout, str(root)]) == 0
    classes = PUBLISHED[layout].classes[:2]
    assert run(["data", "check", f"{layout}:{root}", "--classes", *classes, *split]) == 0
    assert "no errors" in capsys.readouterr().out
    assert run(["train", "--data", f"{layout}:{root}", "--out", str(out), *split, *SMALL]) == 0
    assert run(["evaluate", str(out), "--no-report"]) == 0
    results = json.loads((out / "evaluation/results-exact.json").read_text())
    assert [one["name"] for one in results["classes"]] == list(classes)
    assert all(value is not None for value in results["mean"].values())
    assert (results["sample_mean"] is not None) == (layout == "realiad"), "objects seen by several cameras"
    image = next(path for path in sorted(root.rglob("*")) if path.suffix.lower() in (".jpg", ".png"))
    assert run(["predict", str(out), str(image), "--out", str(tmp_path / "predictions")]) == 0


@pytest.mark.parametrize("layout", [name for name in FIXTURES if name != "coco"])
def test_the_check_is_strict_about_what_is_published(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "fixture", layout, str(tmp_path / "set")]) == 0
    status = run(["data", "check", f"{layout}:{tmp_path / 'set'}"])
    out = capsys.readouterr().out
    assert f"no class {PUBLISHED[layout].classes[2]}" in out
    assert status == (2 if PUBLISHED[layout].verified else 0)


def test_several_published_sets_make_one_model(tmp_path: Path) -> None:
    assert run(["data", "fixture", "mvtec", str(tmp_path / "m")]) == 0
    assert run(["data", "fixture", "visa", str(tmp_path / "v")]) == 0
    argv = ["train", "--data", f"mvtec:{tmp_path / 'm'}", "--data", f"visa:{tmp_path / 'v'}"]
    assert run([*argv, "--out", str(tmp_path / "run"), *SMALL]) == 0
    names = {json.loads(line)["class"] for line in (tmp_path / "run/records.jsonl").read_text().splitlines()}
    assert names == {"bottle", "cable", "candle", "capsules"}


def test_validation_images_are_used_or_left_out_and_the_results_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "fixture", "mvtec3d", str(tmp_path / "set")]) == 0
    argv = ["train", "--data", f"mvtec3d:{tmp_path / 'set'}", *SMALL, "--out"]
    for name, more, count, words in (
        ("a", [], 10, "train + validation"),
        ("b", ["--no-validation"], 8, "without the 2"),
    ):
        assert run([*argv, str(tmp_path / name), *more]) == 0
        assert len((tmp_path / name / "records.jsonl").read_text().splitlines()) == count
        assert any(words in notice for notice in invad.Run.open(tmp_path / name).notices())
    assert run(["data", "fixture", "mvtec", str(tmp_path / "m")]) == 0
    assert (
        run(["train", "--data", f"mvtec:{tmp_path / 'm'}", "--no-validation", *SMALL, "--out", str(tmp_path / "c")])
        == 2
    )
    assert "no split `validation`" in capsys.readouterr().err


def test_views(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "fixture", "realiad", str(tmp_path / "set")]) == 0
    argv = ["train", "--data", f"realiad:{tmp_path / 'set'}", *SMALL, "--out"]
    assert run([*argv, str(tmp_path / "run"), "--views", "C1", "C3"]) == 0
    images = [json.loads(line)["image"] for line in (tmp_path / "run/records.jsonl").read_text().splitlines()]
    assert len(images) == 16 and all("_C1_" in name or "_C3_" in name for name in images)
    assert run(["evaluate", str(tmp_path / "run"), "--no-report", "--protocol", "exact"]) == 0
    results = json.loads((tmp_path / "run/evaluation/results-exact.json").read_text())
    assert [one["images"] for one in results["classes"]] == [8, 8], "the run's own views"
    assert run([*argv, str(tmp_path / "x"), "--views", "C6"]) == 2
    assert "no view C6; it has C1, C2, C3, C4, C5" in capsys.readouterr().err


def test_the_list_shows_every_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "list"]) == 0
    out = capsys.readouterr().out
    for layout, published in PUBLISHED.items():
        assert f"{layout}: {published.title}" in out and published.source in out and published.licence in out


def test_the_splits_of_coco(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "set"
    assert run(["data", "fixture", "coco", str(root)]) == 0
    assert run(["data", "coco", "--root", str(root), "--all-splits"]) == 0
    out = capsys.readouterr().out
    assert "split 0: 4 train, 7 test (3 anomalous) images" in out and "split 3" in out
    for argv in ([], ["--split", "1", "--all-splits"]):
        assert run(["data", "coco", "--root", str(root), *argv]) == 2
    assert run(["data", "check", f"coco:{root}"]) == 2
    assert "choose one by --split 0, 1, 2 or 3" in capsys.readouterr().err
    assert run(["data", "fixture", "mvtec", str(tmp_path / "m")]) == 0
    assert run(["data", "check", f"mvtec:{tmp_path / 'm'}", "--split", "0"]) == 2
    assert "--split chooses a split of COCO-AD" in capsys.readouterr().err
