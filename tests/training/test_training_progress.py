"""The time left, by a clock that the test winds."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_runs import small

from invad import train
from invad.data import loading, read_image
from invad.training import progress, stepper
from invad.training.progress import Progress


class Clock:
    """Stands still but for what the test adds."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=made.monotonic))
    return made


def test_the_time_left_goes_by_the_latest_epoch(clock: Clock) -> None:
    """Epochs of 20 steps and 10 seconds between two of them; the first step takes a minute."""
    total, said = 200, {}
    shown = Progress(total, 0, 8, 20, quiet=True)
    for step in range(1, total + 1):
        clock.now += 60.0 if step == 1 else 1.0 if step <= 100 else 4.0  # from then on the machine is busy
        if step == 1:
            shown.warm(step)
        if step % 10 == 0:
            shown.update(step, 0.5, 1e-3)
            said[step] = shown.seconds_left
        if step % 20 == 0:
            clock.now += 10.0
    assert said[20] == 180.0, "what comes between epochs is not known yet"
    assert said[40] == said[60] * 160 / 140 == 160 * 1.5
    assert said[120] == 80 * 4.5 and said[200] == 0.0
    assert shown.images_per_second == 200 * 8 / (clock.now - 10.0)


def test_epochs_of_one_step(clock: Clock) -> None:
    shown = Progress(10, 4, 8, 1, quiet=True)
    for step, left in ((5, 5 * 50.0), (6, 4 * 2.0), (7, 3 * 2.0)):
        clock.now += 50.0 if step == 5 else 2.0
        if step == 5:
            shown.warm(step)
        shown.update(step, 0.5, 1e-3)
        assert shown.seconds_left == left


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_the_log_is_right_after_the_first_epoch(
    cache: str, clock: Clock, small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where features are kept nowhere, decoding an image takes 8 seconds, and a step one."""
    original, ends = stepper.train_step, []

    def decode(path: Path) -> Any:
        clock.now += 8.0
        return read_image(path)

    def step(*args: Any, **options: Any) -> Any:
        clock.now += 1.0
        ends.append(clock.now)
        return original(*args, **options)

    monkeypatch.setattr(loading, "read_image", decode)
    monkeypatch.setattr(loading, "threads", lambda: 1)
    monkeypatch.setattr(stepper, "train_step", step)
    settings = small(small_set, feature_memory=0.0, cache=cache, cache_dir=str(tmp_path / "cache"), epochs=4)
    run = train(settings, tmp_path / "run", quiet=True)
    said = {event["total_steps"]: event["seconds_left"] for event in run.events() if event["event"] == "step"}
    assert list(said) == [5, 10, 15, 20]
    if cache == "none":  # every epoch reads; what is read ahead blurs where an epoch ends
        assert said[10] == pytest.approx(ends[19] - ends[9], rel=0.2)
    else:
        for done in (5, 10, 15):
            assert said[done] == pytest.approx(ends[19] - ends[done - 1], rel=0.2)
