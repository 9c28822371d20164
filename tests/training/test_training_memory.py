"""Memory that runs out anywhere in a training: less at a time, or a sentence on what to choose."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import small
from torch import Tensor

from invad import Run, dry_run, train
from invad.checkpoint import read_checked
from invad.errors import RunError
from invad.model import InvAD
from invad.model.analytic import AnalyticEncoder
from invad.runs import load_untrained
from invad.training import loop, stepper
from invad.training.dry_run import describe
from invad.training.memory import InPieces, encode, memory_errors
from invad.training.parallel import Trainee


def hold(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, most: int, only: Callable[..., bool]) -> list[int]:
    """Let memory hold so many images in a method at a time; returns how many there were in each call that it held.

    A run then ends with its training: scoring has no part in this.
    """
    original, held = getattr(owner, name), []
    monkeypatch.setattr(loop, "finish", lambda job, position: None)

    def limited(self: Any, images: Any) -> Any:
        count = len(images[0]) if isinstance(images, list | tuple) else len(images)
        if only(self):
            if count > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB.\nMore")
            held.append(count)
        return original(self, images)

    monkeypatch.setattr(owner, name, limited)
    return held


def test_pieces_halve_and_stay_small() -> None:
    asked: list[int] = []

    def work(piece: slice) -> range:
        asked.append(piece.stop - piece.start)
        if asked[-1] > 3:
            raise torch.OutOfMemoryError("out of memory")
        return range(piece.start, piece.stop)

    pieces = InPieces()
    assert [i for part in pieces(work, 16) for i in part] == list(range(16))
    assert asked == [16, 8, 4, *[2] * 8] and pieces.most == 2
    asked.clear()
    assert [i for part in pieces(work, 5) for i in part] == list(range(5)) and asked == [2, 2, 1]


def test_encoding_goes_in_pieces(untouched: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    model, cpu = load_untrained(untouched), torch.device("cpu")
    images = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    expected = encode(model, images, cpu, InPieces())
    assert hold(monkeypatch, InvAD, "encode", 3, lambda model: True) == []
    for level, other in zip(encode(model, images, cpu, InPieces()), expected, strict=True):
        torch.testing.assert_close(level, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("feature_memory", [1.0, 0.0], ids=["in memory", "in every step"])
def test_a_run_whose_encoder_fits_two_images(
    feature_memory: float, small_set: Path, untouched: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = hold(monkeypatch, InvAD, "encode", 2, lambda model: True)
    run = train(small(small_set, feature_memory=feature_memory), tmp_path / "run", quiet=True)
    assert max(held) == 2
    losses, expected = ([e["loss"] for e in r.events() if e["event"] == "held_back"] for r in (run, untouched))
    assert losses == pytest.approx(expected, rel=0.01)


def test_fitting_takes_fewer_at_a_time(
    small_set: Path, untouched: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(monkeypatch, AnalyticEncoder, "_raw", 5, lambda encoder: True)
    run = train(small(small_set, epochs=1), tmp_path / "run", quiet=True)
    found, expected = (read_checked(r.encoder_file)[0] for r in (run, untouched))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


def test_images_held_back_go_in_pieces(
    small_set: Path, untouched: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = hold(monkeypatch, Trainee, "forward", 1, lambda trainee: not trainee.neck.training)
    run = train(small(small_set), tmp_path / "run", quiet=True)
    assert held == [1] * 6  # two images, three epochs
    losses, expected = ([e["loss"] for e in r.events() if e["event"] == "held_back"] for r in (run, untouched))
    assert losses == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("where", [(InvAD, "encode"), (AnalyticEncoder, "_raw")], ids=["encoding", "fitting"])
def test_memory_that_does_not_hold_one_image(
    where: tuple[Any, str], small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(monkeypatch, *where, 0, lambda owner: hasattr(owner, "mean_0") or hasattr(owner, "encoder"))
    with pytest.raises(RunError, match=r"--image-size|--batch-size"):
        train(small(small_set), tmp_path / "run", quiet=True)


def test_a_step_that_cannot_be_tried_again(small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As among several processes, where the others wait in the middle of the step."""

    def step(*args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB.\nMore")

    monkeypatch.setattr(loop, "_step", step)
    with pytest.raises(
        RunError,
        match=r"memory ran out \(CUDA out of memory\. Tried to allocate 3\.00 GiB\.\)\. .*"
        r"--accumulate 2.*--batch-size",
    ):
        train(small(small_set), tmp_path / "run", quiet=True)
    with memory_errors():
        pass


def test_a_dry_run_takes_parts_too(small_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = stepper.train_step

    def limited(trainee: Any, optimiser: Any, features: list[Tensor], **options: Any) -> Any:
        if len(features[0]) > 2 * options["parts"]:
            raise torch.OutOfMemoryError("out of memory")
        return original(trainee, optimiser, features, **options)

    assert dry_run(small(small_set)).parts == 1
    monkeypatch.setattr(stepper, "train_step", limited)
    plan = dry_run(small(small_set))
    assert plan.parts == 2 and "in 2 parts" in describe(plan)
