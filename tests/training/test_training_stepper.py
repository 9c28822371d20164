"""Which steps are recorded, which are compiled, and which are tried again."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from invad import TrainSettings
from invad.training import stepper as home
from invad.training.step import Step, forward_loss
from invad.training.stepper import Stepper

BATCH = [torch.zeros(6, 1)]


class Recorder:
    """In place of `RecordedSteps`: it notes what it is given, and says that all has been recorded when it is told."""

    def __init__(self) -> None:
        self.recorded = False
        self.taken = 0

    def ready(self, features: Sequence[Tensor]) -> bool:
        return self.recorded

    def __call__(self, take: Any, features: Sequence[Tensor]) -> Step:
        self.taken += 1
        step: Step = take(features)
        return step


def compiled(*arguments: Any) -> Tensor:
    raise AssertionError("only named here")


def stepper(recorder: Recorder | None = None, **changes: Any) -> Stepper:
    values: dict[str, Any] = {
        "settings": TrainSettings(recipe="paper", precision="fp32", loss="squared", gradient_clip=3.0),
        "trainee": nn.Linear(1, 1),
        "optimiser": torch.optim.Adam([torch.zeros(1)]),
        "parts": 1,
        "together": False,
        "forward": compiled,
        "recorded": recorder,
        "notify": lambda text: None,
    }
    return Stepper(**{**values, **changes})


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Memory for two images at a time; the steps that were begun."""
    begun: list[dict[str, Any]] = []

    def step(trainee: Any, optimiser: Any, features: Sequence[Tensor], **options: Any) -> Step:
        begun.append(options)
        if len(features[0]) > 2 * options["parts"]:
            raise torch.OutOfMemoryError("out of memory")
        return torch.tensor(options["loss_weight"]), torch.tensor(0.0)

    monkeypatch.setattr(home, "train_step", step)
    return begun


def test_more_parts_until_it_fits(room: list[dict[str, Any]]) -> None:
    recorder, said = Recorder(), list[str]()
    steps = stepper(recorder, notify=said.append)
    loss, _ = steps(BATCH, 2.5)
    assert (loss.item(), steps.parts, len(said), recorder.taken) == (2.5, 4, 2, 1)
    steps(BATCH, 2.5)
    assert [options["parts"] for options in room] == [1, 2, 4, 4] and recorder.taken == 1
    assert [options["forward"] for options in room] == [compiled, forward_loss, forward_loss, forward_loss]
    assert {(options["clip"], options["loss"], options["precision"]) for options in room} == {(3.0, "squared", "fp32")}


def test_processes_that_wait_for_each_other_do_not_try_again(room: list[dict[str, Any]]) -> None:
    steps = stepper(together=True)
    with pytest.raises(torch.OutOfMemoryError):
        steps(BATCH, 1.0)
    assert steps.parts == 1 and len(room) == 1


def test_what_is_recorded_needs_no_memory(room: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    steps = stepper(recorder)
    small = [BATCH[0][:2]]
    steps(small, 1.0)
    recorder.recorded = True
    monkeypatch.setattr(home, "fit_into_memory", None)
    steps(small, 1.0)
    assert recorder.taken == 2
