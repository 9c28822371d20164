"""Runs that take a second or two, and what their tests look at."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from invad import Run, TrainSettings
from invad.checkpoint import list_checkpoints
from invad.training import stepper


def small(data: Path, **changes: Any) -> TrainSettings:
    """Two classes of 12 images, 1 of each held back; 5 steps in each of 3 epochs, a checkpoint after each step."""
    values: dict[str, Any] = {
        "data": (f"folder:{data}",),
        "encoder": "analytic",
        "image_size": (32,),
        "style_channels": 8,
        "latent_channels": 4,
        "blocks": (1, 1, 1),
        "epochs": 3,
        "batch_size": 4,
        "precision": "fp32",
        "device": "cpu",
        "checkpoint_every": 0.0,
    }
    return TrainSettings(**{**values, **changes})


def weights(run: Run) -> bytes:
    """The last checkpoint, to the bit."""
    return list_checkpoints(run.checkpoints)[0].read_bytes()


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], object]) -> None:
    """Have something happen right before a step, counted from 1; once, so that a resumed run is left alone."""
    steps, original = 0, stepper.train_step

    def watched(*args: Any, **options: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == number:
            act()
        return original(*args, **options)

    monkeypatch.setattr(stepper, "train_step", watched)


def ctrl_c() -> None:
    """What a terminal sends."""
    signal.raise_signal(signal.SIGINT)


def copy_when(monkeypatch: pytest.MonkeyPatch, home: ModuleType, name: str, run: Path, to: Path) -> None:
    """Copy a run folder, as a kill would leave it, right before a function is called by the name that a module has."""
    original = getattr(home, name)

    def watched(*args: Any, **options: Any) -> Any:
        shutil.copytree(run, to)
        return original(*args, **options)

    monkeypatch.setattr(home, name, watched)
