"""Trackers, through Accelerate."""

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from small_runs import at_step, ctrl_c, small

from invad import Run, resume, train
from invad.errors import MissingExtraError
from invad.training import tracking


def test_tensorboard_shows_a_step_once(small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, copies = Run(tmp_path / "run"), []
    at_step(monkeypatch, 8, lambda: copies.extend((p.name, p.read_bytes()) for p in run.checkpoints.iterdir()))
    at_step(monkeypatch, 12, ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        train(small(small_set, track=("tensorboard",)), run.path, quiet=True)
    for path in run.checkpoints.iterdir():
        path.unlink()
    for name, data in copies:  # a run that was killed after step 12, and whose last checkpoint is that of step 7
        (run.checkpoints / name).write_bytes(data)
    resume(run.path, quiet=True)
    board = EventAccumulator(str(run.tracking / "tensorboard")).Reload()
    assert {"loss", "learning_rate", "held_back_loss"} <= set(board.Tags()["scalars"])
    assert [point.step for point in board.Scalars("loss")] == [5, 10, 15]
    assert [point.step for point in board.Scalars("held_back_loss")] == [5, 10, 15]


WANDB = """
import json
from pathlib import Path

class config:
    update = staticmethod(lambda values, allow_val_change: None)

class Run:
    log = staticmethod(lambda values, step: None)
    finish = staticmethod(lambda: None)

def init(**options):
    with Path(options["dir"], "begun.jsonl").open("a") as file:
        file.write(json.dumps(options) + chr(10))
    return Run
"""
"""A stand-in that notes with what it was begun."""


def test_a_resumed_run_goes_on_in_its_run_of_wandb(
    small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb.py").write_text(WANDB)
    spec = spec_from_file_location("wandb", tmp_path / "wandb.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "wandb", module)
    begun = []
    for name in ("run", "other"):
        at_step(monkeypatch, 2, ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            train(small(small_set, track=("wandb",), epochs=1), tmp_path / name, quiet=True)
        run = resume(tmp_path / name, quiet=True)
        begun += [json.loads(line) for line in (run.tracking / "begun.jsonl").read_text().splitlines()]
    assert len(begun) == 4 and {options["resume"] for options in begun} == {"allow"}
    first, again, other, other_again = (options["id"] for options in begun)
    assert first == again != other == other_again
    assert [options["name"] for options in begun] == ["run", "run", "other", "other"]


def test_a_missing_package_is_named_before_anything_is_made(
    small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    for name, command in (("wandb", "pip install wandb"), ("tensorboard", r"pip install 'invad\[tracking\]'")):
        with pytest.raises(MissingExtraError, match=f"--track {name} .*{command}"):
            train(small(small_set, track=(name,)), tmp_path / "run", quiet=True)
    assert not list(tmp_path.iterdir())
