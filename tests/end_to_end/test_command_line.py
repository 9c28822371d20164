"""The command line as a person uses it: a whole run on a small synthetic set, and every bad input."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import invad
from invad import TrainSettings, evaluation
from invad.cli.main import VERBS, parse, run
from invad.data import make_synthetic
from invad.errors import SettingsError

SMALL = ("--encoder", "analytic", "--image-size", "64", "--blocks", "1", "1", "1", "--quiet")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "set"
    make_synthetic(root, train=8, good=3, defective=2, size=96)
    return root


@pytest.fixture(scope="session")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "a"
    assert (
        run(["train", "--data", f"folder:{data}", "--out", str(out), "--epochs", "2", "--batch-size", "4", *SMALL]) == 0
    )
    return out


def fails(capsys: pytest.CaptureFixture[str], argv: Sequence[str], *words: str) -> None:
    """The command ends with status 2 and one message that holds these words, without a traceback."""
    assert run(list(argv)) == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    for word in words:
        assert word in message, message


def train_args(data: str, out: Path, *more: str) -> list[str]:
    return ["train", "--data", data, "--out", str(out), "--epochs", "1", "--batch-size", "4", *SMALL, *more]


def test_run_folder_holds_what_is_needed(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    expected = {"settings.toml", "environment.json", "records.jsonl", "log.jsonl", "encoder.safetensors", "checkpoints"}
    assert expected <= names
    events = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert events[-1]["event"] == "finished"
    first = next(event for event in events if event["event"] == "step")
    assert {"loss", "learning_rate", "images_per_second"} <= set(first)


def test_evaluate_writes_every_format_and_a_report(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(trained), "--bootstrap", "5"]) == 0
    out = capsys.readouterr().out
    assert "exact" in out and "paper" in out and "mAU-ROC" in out
    for protocol in ("exact", "paper"):
        for suffix in ("json", "csv", "md"):
            assert (trained / "evaluation" / f"results-{protocol}.{suffix}").stat().st_size > 100
    assert "<html" in (trained / "evaluation/report.html").read_text()


def test_metrics_again_from_saved_maps(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps = tmp_path / "maps"
    argv = ["evaluate", str(trained), "--save-maps", str(maps), "--threshold", "0.1", "--no-report"]
    assert run(argv) == 0
    assert "recall from 0.1" in (trained / "evaluation/results-exact.md").read_text()
    assert run(["evaluate", "--from-maps", str(maps), "--threshold", "0.1"]) == 0
    for protocol in ("exact", "paper"):
        name = f"results-{protocol}.json"
        first, again = (json.loads((folder / name).read_text()) for folder in (trained / "evaluation", maps))
        assert again["classes"] == first["classes"] and again["mean"] == first["mean"]
    assert run(["evaluate", "--from-maps", str(maps), "--threshold", "0.1"]) == 0  # beside the results, too
    capsys.readouterr()
    fails(capsys, argv, "holds maps already")


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        ([], "Name a run folder"),
        (["runs/a", "--from-maps", "maps"], "MODEL cannot go with --from-maps"),
        (["--from-maps", "maps", "--data", "folder:x"], "--data cannot go with"),
        (["--from-maps", "maps", "--device", "cpu"], "--device cannot go with"),
        (["--from-maps", "maps"], "holds no maps"),
    ],
)
def test_maps_and_a_run_exclude_each_other(argv: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, ["evaluate", *argv], word)


def test_predict_on_a_folder(trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = next(path for path in sorted((data).glob("*/test/*")) if path.name != "good")
    out = tmp_path / "out"
    argv = ["predict", str(trained), str(folder), "--out", str(out), "--threshold", "0.1", "--maps"]
    assert run(argv) == 0
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == lines
    assert len(lines) == len(list(folder.iterdir()))
    for line in lines:
        assert line["anomalous"] == (line["score"] >= 0.1)
        values = np.load(line["map"])
        assert values.shape == (64, 64) and values.max() == pytest.approx(line["score"])
        assert Image.open(line["overlay"]).size == Image.open(line["image"]).size
    fails(capsys, argv, "exists", "--overwrite")


def test_library_use_gives_the_same_score(trained: Path, data: Path) -> None:
    path = sorted(data.glob("*/test/good/*.png"))[0]
    predictor = invad.load(trained, threshold=0.5)
    from_path = predictor(path)
    from_array = predictor(np.asarray(Image.open(path).convert("RGB")))
    from_pil = predictor(Image.open(path))
    assert from_path.score == from_array.score == from_pil.score
    assert from_path.anomalous == (from_path.score >= 0.5)
    assert invad.load(trained)(path).anomalous is None


def test_the_same_seed_gives_the_same_bits(trained: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "b"
    argv = ["train", "--data", f"folder:{data}", "--out", str(out), "--epochs", "2", "--batch-size", "4", *SMALL]
    assert run(argv) == 0
    a, b = (sorted((folder / "checkpoints").iterdir())[-1] for folder in (trained, out))
    assert a.name == b.name and a.read_bytes() == b.read_bytes()


def test_interrupted_and_resumed_equals_uninterrupted(
    trained: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import signal

    from invad.training import stepper

    steps = 0
    original: Callable[..., object] = stepper.train_step

    def interrupting(*args: object, **options: object) -> object:
        nonlocal steps
        steps += 1
        if steps == 3:  # in the middle of the first epoch
            signal.raise_signal(signal.SIGINT)
        return original(*args, **options)

    out = tmp_path / "c"
    monkeypatch.setattr(stepper, "train_step", interrupting)
    argv = ["train", "--data", f"folder:{data}", "--out", str(out), "--epochs", "2", "--batch-size", "4", *SMALL]
    assert run(argv) == 130
    assert f"invad train --resume {out}" in capsys.readouterr().err
    fails(capsys, ["predict", str(out), str(data)], "not complete", "--resume")
    assert run(["train", "--resume", str(out), "--quiet"]) == 0
    a, b = (sorted((folder / "checkpoints").iterdir())[-1] for folder in (trained, out))
    assert a.name == b.name and a.read_bytes() == b.read_bytes()
    assert run(["train", "--resume", str(out), "--quiet"]) == 0, "a complete run is returned as it is"


def test_settings_file(data: Path, tmp_path: Path) -> None:
    config = tmp_path / "settings.toml"
    config.write_text(
        f'data = ["folder:{data}"]\nencoder = "analytic"\nimage_size = [64, 96]\nblocks = [1, 1, 1]\nepochs = 5\n'
        "batch_size = 4\n"
    )
    out = tmp_path / "run"
    assert run(["train", "--config", str(config), "--epochs", "1", "--out", str(out), "--quiet"]) == 0
    settings = invad.TrainSettings.load(out / "settings.toml")
    assert (settings.epochs, settings.batch_size, settings.encoder) == (1, 4, "analytic")
    assert invad.load(out)(np.zeros((50, 70, 3), dtype=np.uint8)).map.shape == (64, 96)


def test_evaluation_while_training_and_two_sets(data: Path, tmp_path: Path) -> None:
    make_synthetic(tmp_path / "other", train=4, good=2, defective=1, size=64, seed=1)
    out = tmp_path / "run"
    argv = ["train", "--data", f"folder:{data}", "--out", str(out), "--epochs", "1", "--eval-every", "1"]
    argv += ["--data", f"folder:{tmp_path / 'other'}", "--batch-size", "8", "--track", "tensorboard"]
    assert run([*argv, *SMALL]) == 0
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    named = [e["event"] for e in events if e["event"] != "step"]
    assert named == ["started", "notice", "features", "evaluation", "finished"]
    assert len(invad.TrainSettings.load(out / "settings.toml").data) == 2
    assert (invad.Run.open(out).notices()[0]).startswith("classes capsule, fabric, washer, wood are in several sets")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(out / "tracking/tensorboard")).Reload()
    assert {"loss", "learning_rate", "test/mad"} <= set(board.Tags()["scalars"])
    make_synthetic(tmp_path / "third", train=4, good=2, defective=1, size=64, seed=2)
    for name in ("capsule", "fabric", "washer"):
        shutil.rmtree(tmp_path / "third" / name)
    (tmp_path / "third/wood").rename(tmp_path / "third/tile")
    for sets in (["other"], ["third", "other"]):
        specs = [f"folder:{tmp_path / name}" for name in sets]
        one = invad.evaluate(out, data=specs, classes=["wood"], bootstrap=0, quiet=True)
        assert [c.name for c in one.results[0].classes] == ["other/wood"], "called as in training"


def test_batch_larger_than_the_set_keeps_its_short_batch(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run(train_args(f"folder:{data}", out, "--batch-size", "1000")) == 0
    assert sorted((out / "checkpoints").iterdir())[-1].stem == "000000001"


def test_bad_inputs(data: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    fails(capsys, train_args("mvtec:/no/such/root", out), "/no/such/root")
    (tmp_path / "empty").mkdir()
    fails(capsys, train_args(f"folder:{tmp_path / 'empty'}", out), "empty")
    fails(capsys, train_args(f"folder:{data}", out, "--classes", "teapot"), "teapot")
    fails(capsys, train_args(f"folder:{data}", out, "--epochs", "0"), "epochs must be above 0")
    fails(capsys, train_args(f"folder:{data}", trained), "exists already", "--resume")
    fails(capsys, train_args(f"folder:{data}", out, "--encoder", "resnet34", "--weights", "no.pth"), "no weights file")
    fails(capsys, ["train", "--out", str(out)], "--data")
    fails(capsys, ["train", "--data", f"folder:{data}"], "--out")
    fails(capsys, ["evaluate", str(tmp_path / "absent")], "is not a run")
    fails(capsys, ["predict", str(trained), str(tmp_path / "absent.png")], "absent.png")
    fails(capsys, ["paint"], "unknown command")
    assert not out.exists(), "nothing half-made is left behind"


def test_a_corrupt_image_stops_with_its_name_or_is_left_out(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "set"
    shutil.copytree(data, root)
    victim = sorted(root.glob("*/train/good/*.png"))[3]
    victim.write_bytes(victim.read_bytes()[:200])
    fails(capsys, train_args(f"folder:{root}", tmp_path / "a"), victim.name)
    assert run(train_args(f"folder:{root}", tmp_path / "b", "--skip-unreadable")) == 0
    listed = (tmp_path / "b/records.jsonl").read_text()
    assert str(victim) not in listed


def test_a_corrupt_test_image_stops_with_its_name_or_is_left_out(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "set"
    shutil.copytree(data, root)
    victim = next(path for path in sorted(root.glob("*/test/*/*.png")) if path.parent.name != "good")
    victim.write_bytes(b"no image")
    for name, more in {"a": [], "b": ["--skip-unreadable"]}.items():
        assert run(train_args(f"folder:{root}", tmp_path / name, *more)) == 0
    fails(capsys, ["evaluate", str(tmp_path / "a"), "--bootstrap", "0"], victim.name)
    assert run(["evaluate", str(tmp_path / "b"), "--bootstrap", "0"]) == 0
    found = json.loads((tmp_path / "b/evaluation/results-exact.json").read_text())
    assert any("1 test images were left out" in warning and victim.name in warning for warning in found["warnings"])


def test_a_damaged_or_foreign_checkpoint(
    data: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(trained, broken)
    (newest,) = (broken / "checkpoints").iterdir()
    older = newest.with_name("000000001.safetensors")
    shutil.copy(newest, older)
    newest.write_bytes(newest.read_bytes()[:1000])
    out = str(tmp_path / "out")
    for argv in (["evaluate", str(broken)], ["predict", str(broken), str(data), "--out", out]):
        fails(capsys, argv, f"{newest} is damaged", "Restore it from a copy")
    (broken / "scale.json").unlink()
    older.write_bytes(older.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="is damaged"):
        fails(capsys, ["evaluate", str(broken)], "are damaged")
    foreign = tmp_path / "foreign"
    shutil.copytree(trained, foreign)
    settings = (foreign / "settings.toml").read_text()
    (foreign / "settings.toml").write_text(settings.replace("latent_channels = 16", "latent_channels = 8"))
    fails(capsys, ["evaluate", str(foreign)], "belongs to another model")


def test_a_full_disk_leaves_nothing_that_looks_whole(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import errno

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    fails(capsys, train_args(f"folder:{data}", tmp_path / "run"), "No space left on device")
    fails(capsys, ["evaluate", str(tmp_path / "run")], "is not a run")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no names that are not UTF-8")
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    make_synthetic(tmp_path / "made", train=4, good=2, defective=1, size=32)
    part = tmp_path / "set" / os.fsdecode(b"w\xe4sher")
    part.parent.mkdir()
    (tmp_path / "made/washer").rename(part)
    for kind in ("test", "ground_truth"):
        defect = next(folder for folder in sorted((part / kind).iterdir()) if folder.name != "good")
        defect.rename(defect.with_name(os.fsdecode(b"ri\xdf")))
    good = next((part / "test/good").iterdir())
    good.rename(good.with_name(os.fsdecode(b"gr\xfcn.png")))
    out, maps = str(tmp_path / "run"), str(tmp_path / "maps")
    cache = ("--cache", "disk", "--cache-dir", str(tmp_path / "cache"))
    assert run(train_args(f"folder:{part.parent}", tmp_path / "run", *cache)) == 0
    assert run(["evaluate", out, "--bootstrap", "5", "--save-maps", maps]) == 0
    assert run(["evaluate", "--from-maps", maps, "--bootstrap", "0"]) == 0
    assert run(["report", out]) == 0
    found = json.loads((tmp_path / "run/evaluation/results-exact.json").read_text())
    assert [one["name"] for one in found["classes"]] == [part.name]
    with pytest.raises(SettingsError, match="is not text that UTF-8 can hold; rename"):
        TrainSettings(data=(f"folder:{part}",)).save(tmp_path / "settings.toml")


@pytest.mark.parametrize(
    "options",
    [
        ["--threshold", "nan"],
        ["--threshold", "inf"],
        ["--bootstrap", "-1"],
        ["--bootstrap", "5", "--protocol", "paper"],
    ],
)
def test_what_cannot_be_meant_costs_no_evaluation(
    options: list[str], trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(evaluation, "evaluate_scorer", None)
    monkeypatch.setattr(evaluation.Evaluator, "from_maps", None)
    fails(capsys, ["evaluate", str(trained), *options], options[1])
    fails(capsys, ["evaluate", "--from-maps", str(tmp_path), *options], options[1])


def test_the_paper_protocol_alone_draws_no_intervals_unasked(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation"))
    assert run(["evaluate", str(tmp_path / "run"), "--protocol", "paper", "--no-report"]) == 0
    assert json.loads((tmp_path / "run/evaluation/evaluation.json").read_text())["bootstrap"] == 0


def test_resamples_of_a_file_need_tables_to_stand_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.onnx"
    file.touch()
    fails(capsys, ["evaluate", str(file), "--bootstrap", "5"], "--bootstrap gives intervals", "--out")


def test_maps_of_an_evaluation_that_was_stopped_are_no_set(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*args: Any, **options: Any) -> Any:
        yield next(whole(*args, **options))
        raise KeyboardInterrupt

    whole, maps = evaluation.score_images, str(tmp_path / "maps")
    monkeypatch.setattr(evaluation, "score_images", stopped)
    argv = ["evaluate", str(trained), "--save-maps", maps, "--no-report"]
    assert run(argv) != 0 and list((tmp_path / "maps").glob("*.json"))
    capsys.readouterr()
    monkeypatch.undo()
    fails(capsys, ["evaluate", "--from-maps", maps], "holds only a part of its maps", "delete")
    fails(capsys, argv, "holds a part of the maps", "choose an empty folder")


def test_a_run_that_is_not_complete_says_so(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation", "scale.json"))
    assert run(["evaluate", str(tmp_path / "run"), "--bootstrap", "0"]) == 0
    said = capsys.readouterr().out
    assert f"Finish it by `invad train --resume {tmp_path / 'run'}`" in said and "report:" not in said


def test_training_says_what_its_thresholds_promise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_synthetic(tmp_path / "set", train=10, good=1, defective=1, size=64)
    assert run(train_args(f"folder:{tmp_path / 'set/fabric'}", tmp_path / "run")) == 0
    said = capsys.readouterr().out
    assert "thresholds: from 1 normal images held back in training; about 50 % of good ones" in said
    assert f"invad calibrate {tmp_path / 'run'} --normal FOLDER --overwrite\n" in said


@pytest.mark.parametrize("verb", ["evaluate", "report", "calibrate"])
def test_lists_that_are_named_twice_add_up(verb: str) -> None:
    option = "--normal" if verb == "calibrate" else "--data"
    command = parse(verb, ["runs/a", option, "folder:a", option, "folder:b", "folder:c"])
    found = [str(one) for one in getattr(command, option.removeprefix("--"))]
    assert found == ["folder:a", "folder:b", "folder:c"]


@pytest.mark.parametrize("argv", [["data"], ["data", "--help"], ["marks", "-h"]])
def test_help_of_several_verbs(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(argv) == 0
    said = capsys.readouterr().out
    words = [verb.split()[1] for verb in VERBS if verb.startswith(f"{argv[0]} ")]
    assert words and all(f"  {word} " in said for word in words) and "  train " not in said


def test_help_lists_every_verb_and_importing_is_light() -> None:
    result = subprocess.run([sys.executable, "-m", "invad", "--help"], capture_output=True, text=True, check=True)
    assert all(verb in result.stdout for verb in VERBS)
    code = "import sys, invad; assert not {'torch', 'numpy', 'PIL'} & set(sys.modules); print(sorted(invad.__all__))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_reader_that_stops_early_is_no_fault() -> None:
    code = "import sys; from invad.cli.main import main; sys.stdin.readline(); main(['data', 'list'])"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin and process.stdout and process.stderr
    process.stdout.close()  # before anything is printed
    process.stdin.write(b"now\n")
    process.stdin.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


def test_a_name_that_is_not_text_can_be_printed() -> None:
    code = "from invad.cli import main; main.run = lambda argv: print('caf\\udce9') or 0; main.main([])"
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=strict)
    assert done.stdout == "caf\\udce9\n"


def test_public_names_are_pinned() -> None:
    assert invad.__all__ == sorted(invad.__all__)
    assert len(invad.__all__) <= 30
    for name in invad.__all__:
        assert getattr(invad, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'paint'"):
        _ = invad.paint
