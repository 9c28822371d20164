"""A run that something happened to goes on, or says in a sentence why it does not; and its results tell the truth."""

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import at_step, copy_when, ctrl_c, small, weights

from invad import Run, calibrate, resume, train
from invad.checkpoint import list_checkpoints
from invad.cli.main import run as command
from invad.errors import ImageError, RunError, SettingsError
from invad.processes import Processes
from invad.runs import differences, environment
from invad.settings import MAY_CHANGE, TrainSettings
from invad.training import job, loop, stepper
from invad.training.loop import epoch_batches


def stopped(data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, step: int = 8, **changes: object) -> Run:
    """A run that was stopped after so many steps."""
    at_step(monkeypatch, step, ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        train(small(data, **changes), folder / "run", quiet=True)
    return Run.open(folder / "run")


def rewrite(run: Run, **changes: object) -> None:
    """Edit a run's settings file."""
    dataclasses.replace(run.settings(), **changes).save(run.settings_file)  # type: ignore[arg-type]


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-500] ^= 1
    path.write_bytes(data)


def test_a_damaged_checkpoint_is_set_aside(
    small_set: Path, untouched: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped(small_set, tmp_path, monkeypatch)
    newest, before = list_checkpoints(run.checkpoints)
    flip_a_bit(newest)
    at_step(monkeypatch, 1, ctrl_c)
    with pytest.warns(UserWarning, match="is damaged"), pytest.raises(KeyboardInterrupt):
        resume(run.path, quiet=True)
    assert list_checkpoints(run.checkpoints) == [newest, before], "made again"
    assert newest.with_name(f"{newest.name}.damaged").is_file()
    assert weights(resume(run.path, quiet=True)) == weights(untouched)


@pytest.mark.parametrize("best", [1, 3])
@pytest.mark.parametrize("damage", ["a bit", "all of it"])
def test_damaged_best_weights(
    damage: str,
    best: int,
    small_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run ends with the last weights, and says so; where those are the best ones, nothing is lost."""
    losses = iter([1.0, 2.0, 3.0] if best == 1 else [3.0, 2.0, 1.0])
    monkeypatch.setattr(job, "held_back_loss", lambda *args: next(losses))
    copy_when(monkeypatch, loop, "finish", tmp_path / "run", tmp_path / "killed")
    train(small(small_set, keep="best"), tmp_path / "run", quiet=True)
    monkeypatch.undo()
    killed = Run(tmp_path / "killed")
    last = weights(killed)
    flip_a_bit(killed.best_file) if damage == "a bit" else killed.best_file.unlink()
    assert weights(resume(killed.path, quiet=True)) == last and killed.complete
    said = [text for text in killed.notices() if "the weights are those after" in text]
    if best == 3:
        assert said == ["the weights are those after epoch 3 of 3, where the loss on the images held back was smallest"]
    else:
        reason = "is damaged" if damage == "a bit" else "there is no file"
        assert len(said) == 1 and reason in said[0]
        assert "after the last epoch, 3, and not those after epoch 1" in said[0]
        assert "".join(said[0].split()) in "".join(capsys.readouterr().err.split())


def does_not_answer(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A network drive whose server is gone: asking for a file is an error, and not the answer that there is none."""
    original = os.stat

    def stat(path: Any, *args: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(str(folder)):
            raise OSError(errno.ESTALE, "Stale file handle", str(path))
        return original(path, *args, **options)

    monkeypatch.setattr(os, "stat", stat)


def test_a_drive_that_does_not_answer(
    small_set: Path, untouched: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run")
    message = r"cannot reach .*settings.toml: Stale file handle .*--resume"
    with pytest.MonkeyPatch.context() as drive:
        at_step(monkeypatch, 8, lambda: does_not_answer(drive, run.path))
        with pytest.raises(RunError, match=message):
            train(small(small_set), run.path, quiet=True)
        with pytest.raises(RunError, match=message):
            resume(run.path, quiet=True)
    assert weights(resume(run.path, quiet=True)) == weights(untouched)


def test_data_on_a_drive_that_does_not_answer(
    small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stopped(small_set, tmp_path, monkeypatch)
    does_not_answer(monkeypatch, small_set)
    assert command(["train", "--resume", str(run.path), "--quiet"]) == 2
    assert f"cannot reach {small_set}: Stale file handle" in (said := capsys.readouterr().err) and "--resume" in said
    assert command(["data", "check", f"folder:{small_set}"]) == 2
    assert capsys.readouterr().err == f"invad: cannot use {small_set}: Stale file handle\n"


def test_resumed_on_another_machine(
    small_set: Path,
    untouched: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = stopped(small_set, tmp_path, monkeypatch)
    here = environment(Processes(device=torch.device("cpu")))
    assert run.environment() == here and here["processes"] == "1" and here["device"] == "cpu"
    there = {name: value for name, value in here.items() if name != "processor flags"} | {"torch": "0.1"}
    run.environment_file.write_text(json.dumps(there))  # of a version that recorded less
    at_step(monkeypatch, 1, ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        resume(run.path, quiet=True)
    resume(run.path, quiet=True)
    notices = [text for text in run.notices() if "resumed" in text]
    assert notices == [
        "resumed after step 8 with other versions or on another machine, so its weights may differ by rounding from "
        f"those of a run that was never stopped (torch: 0.1 then, {here['torch']} now)"
    ]
    assert capsys.readouterr().err.replace("\n", " ").count("resumed after step 8 with") == 1
    assert run.environment() == there and run.environments() == (there, here, here)
    assert weights(run) == weights(untouched)


def test_the_processor_has_a_name() -> None:
    assert environment()["processor name"]
    assert differences({"a": "1"}, {"b": "2"}) == ("a: 1 then, not recorded now", "b: not recorded then, 2 now")


def test_a_setting_that_decides_must_stay(
    small_set: Path, untouched: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped(small_set, tmp_path, monkeypatch)
    before = {path: path.read_bytes() for path in run.path.rglob("*.*") if path != run.settings_file}
    rewrite(run, batch_size=8, gradient_clip=1.0)
    with pytest.raises(
        RunError, match=r"settings.toml has changed .*: batch_size was 4 and is 8, gradient_clip was 5.0 and is 1.0\."
    ):
        resume(run.path, quiet=True)
    assert before == {path: path.read_bytes() for path in run.path.rglob("*.*") if path != run.settings_file}
    rewrite(run, batch_size=4, gradient_clip=5.0, checkpoint_every=1000.0, cache="none", eval_every=0, device="auto")
    assert weights(resume(run.path, quiet=True)) == weights(untouched)


def test_what_may_change_are_settings() -> None:
    every = {field.name for field in dataclasses.fields(TrainSettings)}
    assert every > MAY_CHANGE and TrainSettings().deciding().keys() == every - MAY_CHANGE


def test_a_run_that_recorded_no_settings_goes_on(
    small_set: Path, untouched: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped(small_set, tmp_path, monkeypatch)
    lines = run.log_file.read_text().splitlines(keepends=True)
    run.log_file.write_text("".join(line for line in lines if '"started"' not in line))
    assert weights(resume(run.path, quiet=True)) == weights(untouched)


@pytest.mark.parametrize("why", ["Ctrl-C", "no number", "an image"])
def test_a_run_that_was_stopped_has_a_curve(
    why: str, small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable() -> None:
        raise ImageError("cannot read a.png")

    run = Run(tmp_path / "run")
    if why == "no number":
        once_no_number(monkeypatch, step=13)
    else:
        at_step(monkeypatch, 13, ctrl_c if why == "Ctrl-C" else unreadable)
    with pytest.raises((KeyboardInterrupt, RunError, ImageError)):
        train(small(small_set), run.path, quiet=True)
    assert run.curve_file.is_file() and not run.complete


def once_no_number(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Have one step give a loss that is no number, as a fault of memory might."""
    steps, original = 0, stepper.train_step

    def faulty(*args: Any, **options: Any) -> Any:
        nonlocal steps
        steps += 1
        loss, norm = original(*args, **options)
        return (loss * float("nan") if steps == step else loss), norm

    monkeypatch.setattr(stepper, "train_step", faulty)


@pytest.mark.parametrize("step", [1, 8])
def test_a_loss_that_was_no_number_once(
    step: int, small_set: Path, untouched: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once_no_number(monkeypatch, step)
    with pytest.raises(RunError, match=r"became nan .*--resume .* does the same steps again .* a fault of the machine"):
        train(small(small_set), tmp_path / "run", quiet=True)
    assert weights(resume(tmp_path / "run", quiet=True)) == weights(untouched)


def test_a_backbone_with_fitted_statistics_is_resumed_to_the_bit(
    small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = small(small_set, encoder="resnet18", weights="random", recipe="aligned", epochs=2)
    run, killed = Run(tmp_path / "run"), Run(tmp_path / "killed")
    at_step(monkeypatch, 8, lambda: shutil.copytree(run.path, killed.path))
    train(settings, run.path, quiet=True)
    assert run.settings().standardise and list_checkpoints(killed.checkpoints)[0].stem == "000000007"
    assert weights(resume(killed.path, quiet=True)) == weights(run)


def test_an_image_that_another_process_cannot_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(Processes, "any", lambda self, here: asked.append(here) or True)
    here = Processes(count=2, device=torch.device("cpu"))
    with pytest.raises(ImageError, match="another process cannot read an image"), here.failing_together():
        pass
    with pytest.raises(ImageError, match="this one"), here.failing_together():
        raise ImageError("this one")
    assert asked == [False, True], "each has told the others once"


def test_a_run_goes_on_where_its_data_was_moved_to(
    small_set: Path, untouched: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, moved = tmp_path / "first", tmp_path / "moved"
    shutil.copytree(small_set, first)
    with monkeypatch.context() as patch:
        at_step(patch, 7, ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            train(small(first), tmp_path / "run", quiet=True)
    first.rename(moved)
    file = tmp_path / "run" / "settings.toml"
    file.write_text(file.read_text().replace(str(first), str(moved)))
    run = resume(tmp_path / "run", quiet=True)
    assert run.complete and weights(run) == weights(untouched)
    assert all(record.image.is_relative_to(moved) for record in run.held_back())


def test_a_photo_mended_before_the_first_step(small_set: Path, untouched: Run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(small_set, data)
    broken = data / untouched.held_back()[0].image.relative_to(small_set)
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError):
        train(small(data), tmp_path / "run", quiet=True)
    broken.write_bytes(whole)
    run = resume(tmp_path / "run", quiet=True)
    assert run.complete and weights(run) == weights(untouched)


def test_a_repeated_end_keeps_thresholds_that_a_person_chose(small_set: Path, untouched: Run, tmp_path: Path) -> None:
    shutil.copytree(untouched.path, tmp_path / "run")
    run = Run(tmp_path / "run")
    normal = sorted(small_set.glob("*/test/good/*.png"))
    chosen = calibrate(run, normal=normal, false_alarms=0.5, overwrite=True, quiet=True)
    run.scale_file.unlink()
    assert resume(run.path, quiet=True).complete
    assert (run.path / "calibration.json").read_text() == chosen.to_json()


def test_looks_at_test_images_need_some(small_set: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(small_set, data, ignore=shutil.ignore_patterns("test", "ground_truth"))
    with pytest.raises(SettingsError, match="eval_every looks at test images, and the data holds none"):
        train(small(data, eval_every=1), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_run_may_be_called_by_a_price(small_set: Path, tmp_path: Path) -> None:
    assert train(small(small_set, epochs=1), tmp_path / "cost_$5_$", quiet=True).complete


IN_TWO = """
import os, sys
from pathlib import Path
from invad.cli.main import run
from invad.training import held_back, stepper
victim, steps, original = Path(sys.argv[3]), 0, stepper.train_step
def watched(*args, **options):
    global steps
    steps += 1
    if steps == 5 and os.environ["RANK"] == "1":
        victim.write_bytes(b"corrupt")
    return original(*args, **options)
stepper.train_step = watched
held_back.BLOCK = 1  # so that the second process has some to read
sys.exit(run(["train", "--config", sys.argv[1], "--out", sys.argv[2], "--quiet"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("which", ["learnt", "held back"])
def test_an_image_that_only_the_second_process_reads(
    which: str, small_set: Path, untouched: Run, tmp_path: Path
) -> None:
    """It turns corrupt in the last step of an epoch. The first process hears of it, and saves before all are ended."""
    data, run = Path(shutil.copytree(small_set, tmp_path / "set")), Run(tmp_path / "run")
    settings = small(data, checkpoint_every=1000.0, feature_memory=0.0, cache="none")
    settings.save(tmp_path / "settings.toml")
    if which == "learnt":
        rows, done = untouched.records_file, 3
        number = epoch_batches(22, 4, settings.seed, 1)[done][1]  # of the share of the second one
    else:
        rows, done, number = untouched.held_back_file, 0, 1
    image = Path(json.loads(rows.read_text().splitlines()[number])["image"])
    victim = data / image.relative_to(small_set)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    (tmp_path / "two.py").write_text(IN_TWO)
    arguments = [str(tmp_path / name) for name in ("two.py", "settings.toml", "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run([*launcher, *arguments, str(victim)], env=environment, capture_output=True, text=True)
    assert ended.returncode != 0 and victim.name in ended.stderr, ended.stderr[-3000:]
    assert "invad: another process cannot read an image" in ended.stderr, ended.stderr[-3000:]
    assert [int(path.stem) for path in list_checkpoints(run.checkpoints)] == [5 + done]
