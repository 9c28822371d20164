"""The learning curve."""

from pathlib import Path

import pytest
from PIL import Image

from invad import Run
from invad.training.curve import losses, write_curve


def step(total: int, loss: float) -> dict[str, object]:
    return {
        "event": "step",
        "epoch": (total - 1) // 5 + 1,
        "step": (total - 1) % 5 + 1,
        "total_steps": total,
        "loss": loss,
    }


def test_a_run_has_a_picture(untouched: Run, tmp_path: Path) -> None:
    with Image.open(untouched.curve_file) as picture:
        picture.load()
        assert picture.format == "PNG" and picture.width > 400
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 10


def test_steps_that_were_done_again_count_once() -> None:
    events = [
        *(step(total, 10.0 - total) for total in range(1, 9)),
        {"event": "held_back", "total_steps": 5, "loss": 7.0},
        {"event": "resumed", "total_steps": 4},
        *(step(total, 20.0 - total) for total in range(5, 11)),
        {"event": "held_back", "total_steps": 5, "loss": 6.0},
        {"event": "held_back", "total_steps": 10, "loss": 5.0},
    ]
    learnt, held_back = losses(events)
    assert learnt == [(t / 5, 10.0 - t) for t in range(1, 5)] + [(t / 5, 20.0 - t) for t in range(5, 11)]
    assert held_back == [(1.0, 6.0), (2.0, 5.0)]


@pytest.mark.parametrize("with_held_back", [True, False])
def test_one_look_is_enough(with_held_back: bool, untouched: Run, tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.settings_file.write_bytes(untouched.settings_file.read_bytes())
    run.log(**step(1, 3.0))
    if with_held_back:
        run.log(event="held_back", total_steps=1, loss=2.0)
    write_curve(run)
    assert run.curve_file.stat().st_size > 1000
