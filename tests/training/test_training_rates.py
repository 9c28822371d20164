"""A run whose loss is no number goes on with a smaller learning rate, and its settings say from which step on."""

import dataclasses
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_runs import at_step, copy_when, ctrl_c, small, weights

from invad import Run, reproduce, resume, train
from invad.checkpoint import Position, list_checkpoints
from invad.cli.main import run as command
from invad.errors import RunError, SettingsError
from invad.training import rates, stepper
from invad.training.schedule import base_rate, learning_rate_at

RATE = 0.00025
"""Half of the learning rate that a batch of 4 has."""
SAID = "the learning rate was changed to 0.00025 after step 8"


def stopped(data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, step: int = 8, **changes: object) -> Run:
    """A run that was stopped after so many steps."""
    at_step(monkeypatch, step, ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        train(small(data, warmup=0, **changes), folder / "run", quiet=True)
    monkeypatch.undo()
    return Run.open(folder / "run")


def resume_and_stop(run: Run, monkeypatch: pytest.MonkeyPatch, step: int, rate: float | None = None) -> None:
    """Go on, and stop after so many steps more."""
    at_step(monkeypatch, step, ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        resume(run.path, learning_rate=rate, quiet=True)
    monkeypatch.undo()


def no_number_above(monkeypatch: pytest.MonkeyPatch, rate: float, after: int) -> None:
    """Have every step after so many give a loss that is no number where the learning rate is above a bound."""
    original = stepper.train_step

    def faulty(*args: Any, **options: Any) -> Any:
        loss, norm = original(*args, **options)
        optimiser = args[1]
        (group,) = optimiser.param_groups
        spoilt = group["lr"] > rate and optimiser.state[group["params"][0]]["step"] > after
        return (loss * math.nan if spoilt else loss), norm

    monkeypatch.setattr(stepper, "train_step", faulty)


def rewrite(run: Run, *later: tuple[int, float]) -> None:
    """Edit the learning rates in a run's settings file."""
    dataclasses.replace(run.settings(), later_rates=later).save(run.settings_file)


def rates_of(run: Run) -> dict[int, float]:
    """The logged learning rates by their steps."""
    return {event["total_steps"]: event["learning_rate"] for event in run.events() if event["event"] == "step"}


def contents(run: Run) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.path.rglob("*.*") if path.is_file()}


@pytest.fixture(scope="module")
def plain(small_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with one learning rate."""
    return train(small(small_set, warmup=0), tmp_path_factory.mktemp("rates") / "plain", quiet=True)


@pytest.fixture(scope="module")
def changed(small_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that was never stopped, whose settings have another learning rate after step 8."""
    settings = small(small_set, warmup=0, later_rates=((8, RATE),))
    return train(settings, tmp_path_factory.mktemp("rates") / "changed", quiet=True)


@pytest.mark.parametrize("schedule", ["step", "cooldown"])
def test_the_last_rate_of_the_steps_done_is_what_schedule_and_warm_up_multiply(schedule: str, small_set: Path) -> None:
    settings = small(small_set, epochs=10, schedule=schedule, warmup=16, learning_rate=0.8)
    later = dataclasses.replace(settings, later_rates=((0, 0.4), (12, 0.3), (12, 0.2), (45, 0.1)))
    expected = {0: 0.4, 11: 0.4, 12: 0.2, 44: 0.2, 45: 0.1}
    assert {step: base_rate(later, step) for step in expected} == expected
    for step, rate in expected.items():
        position = Position(epoch=step // 5, step=step % 5, total_steps=step)
        first, now = learning_rate_at(settings, position, 5), learning_rate_at(later, position, 5)
        assert now == pytest.approx(first * rate / 0.8) and now > 0
        assert (now != rate) == (step < 15 or step >= 40), "warm-up and schedule go on"


def test_a_smaller_learning_rate_where_the_loss_is_no_number(
    small_set: Path,
    plain: Run,
    changed: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Run(tmp_path / "run")
    no_number_above(monkeypatch, 0.0003, after=8)
    with pytest.raises(RunError, match="became nan"):
        train(small(small_set, warmup=0), run.path, quiet=True)
    assert command(["train", "--resume", str(run.path), "--quiet"]) == 2, "the same again"
    said = capsys.readouterr().err
    assert "invad: the loss became nan and its gradients' norm " in said and "a fault of the machine" in said
    found = re.search(r"`invad (train --resume \S+ --learning-rate \S+)`$", said.strip())
    assert found is not None and found[1] == f"train --resume {run.path} --learning-rate {RATE:g}"
    assert not run.complete and command([*shlex.split(found[1]), "--quiet"]) == 0
    assert run.settings().later_rates == ((8, RATE),) and run.notices().count(SAID) == 1
    assert SAID in " ".join(capsys.readouterr().err.split())
    assert list(rates_of(run).values()) == [5e-4, RATE, rates_of(plain)[15] / 2]
    assert weights(run) == weights(changed) != weights(plain)
    assert command(["train", "--resume", str(run.path)]) == 0, "a complete run is returned as it is"


def test_the_loss_on_images_held_back_is_no_number(
    small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invad.training.job.held_back_loss", lambda *args: math.nan)
    message = r"held back became nan after epoch 1\. .*a fault of the machine .*--resume \S+ --learning-rate 0\.0001`"
    with pytest.raises(RunError, match=message):
        train(small(small_set, later_rates=((2, 0.0002),)), tmp_path / "run", quiet=True)


def test_steps_before_the_change_are_those_of_the_first_rate(
    small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [
        stopped(small_set, tmp_path / name, monkeypatch, step=step, later_rates=later)
        for name, step, later in (("a", 8, ()), ("b", 8, ((8, RATE),)), ("c", 9, ()), ("d", 9, ((8, RATE),)))
    ]
    before, before_too, after, after_too = map(weights, runs)
    assert before == before_too and after != after_too


def test_a_rate_that_no_number_comes_of_and_no_checkpoint(small_set: Path, untouched: Run, tmp_path: Path) -> None:
    run, rate = Run(tmp_path / "run"), 5e-4
    with pytest.raises(RunError, match=r"--learning-rate 5e\+29`"):
        train(small(small_set, learning_rate=1e30, checkpoint_every=1000.0), run.path, quiet=True)
    assert not list_checkpoints(run.checkpoints) and untouched.settings().learning_rate == rate
    assert weights(resume(run.path, learning_rate=rate, quiet=True)) == weights(untouched)
    assert run.settings().later_rates == ((0, rate),)


def test_the_rate_stays_when_the_run_is_resumed_once_more(
    small_set: Path, changed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped(small_set, tmp_path, monkeypatch)
    resume_and_stop(run, monkeypatch, 2, RATE)
    resume_and_stop(run, monkeypatch, 2, RATE)  # the same again is no change
    assert run.settings().later_rates == ((8, RATE),) and run.notices().count(SAID) == 1
    assert weights(resume(run.path, quiet=True)) == weights(changed)
    found = reproduce(run.path, tmp_path / "again", quiet=True)
    assert found.identical and found.run.settings() == run.settings()


def test_a_second_change(small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stopped(small_set, tmp_path, monkeypatch, step=6)
    resume_and_stop(run, monkeypatch, 1, 4e-4)
    resume_and_stop(run, monkeypatch, 2, 3e-4)
    resume(run.path, learning_rate=RATE, quiet=True)
    assert run.settings().later_rates == ((6, 4e-4), (7, 3e-4), (9, RATE))
    assert reproduce(run.path, tmp_path / "again", quiet=True).identical


@pytest.mark.parametrize("killed_before", ["tell", "log"])
def test_a_kill_between_settings_and_log(
    killed_before: str, small_set: Path, changed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, killed = stopped(small_set, tmp_path, monkeypatch), Run(tmp_path / "killed")
    if killed_before == "tell":
        copy_when(monkeypatch, rates, "tell", run.path, killed.path)
    else:
        original = Run.log

        def watched(self: Run, **values: Any) -> None:
            if values["event"] == "changed":
                shutil.copytree(run.path, killed.path)
            original(self, **values)

        monkeypatch.setattr(Run, "log", watched)
    resume(run.path, learning_rate=RATE, quiet=True)
    monkeypatch.undo()
    assert killed.settings().later_rates == ((8, RATE),) and killed.logged_settings()["later_rates"] == []
    assert weights(resume(killed.path, quiet=True)) == weights(changed)
    assert killed.notices().count(SAID) == 1 and killed.logged_settings() == killed.settings().deciding()


def test_rates_in_the_settings_are_those_of_the_steps_that_were_done(
    small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped(small_set, tmp_path, monkeypatch)
    rewrite(run, (7, RATE))
    with pytest.raises(RunError, match=r"has a learning rate for after step 7 that was not there when .* up to 8 were"):
        resume(run.path, quiet=True)
    rewrite(run, (10, RATE))  # those of steps to come may be added in the file, too
    resume_and_stop(run, monkeypatch, 4)
    assert "the learning rate was changed to 0.00025 after step 10" in run.notices()
    for later, shown in (((), r"\[\]"), (((10, 1e-4),), r"\[\[10, 0.0001\]\]")):
        rewrite(run, *later)
        with pytest.raises(RunError, match=rf"later_rates was \[\[10, 0.00025\]\] and is {shown}"):
            resume(run.path, quiet=True)
    rewrite(run, (10, RATE))
    resume(run.path, quiet=True)
    assert reproduce(run.path, tmp_path / "again", quiet=True).identical


def test_a_rate_for_later_than_the_newest_whole_checkpoint(
    small_set: Path, changed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays, and one that is given later counts instead."""
    run = stopped(small_set, tmp_path, monkeypatch)
    at_step(monkeypatch, 1, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        resume(run.path, learning_rate=RATE, quiet=True)
    monkeypatch.undo()
    list_checkpoints(run.checkpoints)[0].unlink()
    other = Run(shutil.copytree(run.path, tmp_path / "other"))
    assert weights(resume(run.path, quiet=True)) == weights(changed)
    resume(other.path, learning_rate=1e-4, quiet=True)
    assert other.settings().later_rates == ((8, RATE), (7, 1e-4))
    assert weights(other) != weights(run)
    assert reproduce(other.path, tmp_path / "again", quiet=True).identical


@pytest.mark.parametrize("rate", [0.0, -1e-3, math.nan, math.inf])
def test_what_is_no_learning_rate_is_refused(
    rate: float, small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped(small_set, tmp_path, monkeypatch)
    before = contents(run)
    with pytest.raises(SettingsError, match=f"learning_rate must be a finite number above 0, not {rate}"):
        resume(run.path, learning_rate=rate, quiet=True)
    assert command(["train", "--resume", str(run.path), "--learning-rate", str(rate)]) == 2
    assert contents(run) == before


def test_other_settings_beside_resume_are_refused(
    small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stopped(small_set, tmp_path, monkeypatch)
    (tmp_path / "rate.toml").write_text("learning_rate = 0.001\n")
    before = contents(run)
    for more in (
        ["--epochs", "5"],
        ["--later-rates", "8", "0.001"],
        ["--out", str(tmp_path / "other")],
        ["--config", str(tmp_path / "rate.toml")],
    ):
        assert command(["train", "--resume", str(run.path), "--learning-rate", "0.001", *more]) == 2
        assert "of which --learning-rate alone can be another; leave out all others" in capsys.readouterr().err
    assert contents(run) == before


def test_a_run_without_steps_left_takes_no_learning_rate(
    small_set: Path, plain: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(Path(shutil.copytree(plain.path, tmp_path / "run")))
    for complete in (True, False):
        if not complete:
            run.scale_file.unlink()  # as if it had been killed right before its end
        before = contents(run)
        assert command(["train", "--resume", str(run.path), "--learning-rate", "0.001", "--quiet"]) == 2
        assert f"all steps of {run.path} are done, so a learning rate changes nothing" in capsys.readouterr().err
        assert contents(run) == before
    assert weights(resume(run.path, quiet=True)) == weights(plain)


def test_nothing_changes_where_the_images_are_others(
    small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(small_set, tmp_path / "set"))
    run = stopped(root, tmp_path, monkeypatch)
    rows = [json.loads(line) for line in run.records_file.read_text().splitlines()]
    shutil.copyfile(rows[1]["image"], rows[0]["image"])
    before = contents(run)
    with pytest.raises(RunError, match="images are not those"):
        resume(run.path, learning_rate=RATE, quiet=True)
    assert contents(run) == before


IN_TWO = """
import os, sys
from pathlib import Path
from invad.cli.main import run
from invad.training import loop
original = loop.learning_rate_at
def watched(settings, *rest):
    rate = original(settings, *rest)
    with Path(f"{sys.argv[1]}.{os.environ['RANK']}").open("a") as file:
        print(settings.later_rates, rate, file=file)
    return rate
loop.learning_rate_at = watched
sys.exit(run(["train", "--resume", sys.argv[1], "--learning-rate", sys.argv[2], "--quiet"]))
"""


@pytest.mark.slow
def test_two_processes_have_the_same_rate(small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stopped(small_set, tmp_path, monkeypatch)
    (tmp_path / "two.py").write_text(IN_TWO)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    arguments = [str(tmp_path / "two.py"), str(run.path), str(RATE)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run([*launcher, *arguments], env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    first, second = (Path(f"{run.path}.{rank}").read_text().splitlines() for rank in (0, 1))
    assert first == second and len(first) == 7 and first[0] == f"{((8, RATE),)} {RATE}"
    assert run.complete and run.settings().later_rates == ((8, RATE),)
    assert [event["event"] for event in run.events()].count("changed") == 1
