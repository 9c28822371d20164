"""A dry run writes nothing, and plans what the run then does."""

import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from small_runs import small

from invad import Run, dry_run
from invad.cli.main import run as command
from invad.training.features import GIB


def everything(*folders: Path) -> set[tuple[Path, int]]:
    return {(path, path.stat().st_mtime_ns) for folder in folders for path in folder.rglob("*")}


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_nothing_is_written(
    cache: str, small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    small(small_set, cache=cache, feature_memory=0.0, feature_disk=1.0).save(tmp_path / "settings.toml")
    before = everything(tmp_path, small_set)
    assert command(["train", "--config", "settings.toml", "--out", "run", "--dry-run"]) == 0
    assert everything(tmp_path, small_set) == before
    out = capsys.readouterr().out
    assert "22 images of 2 classes to learn from, 2 held back" in out
    assert "3 epochs" in out and "(5 steps of" in out and "kept on disk" in out and "no run was made" in out


def test_the_plan_is_that_of_the_run(small_set: Path, untouched: Run) -> None:
    plan = dry_run(small(small_set))
    last = [event for event in untouched.events() if event["event"] == "step"][-1]
    assert plan.epochs * plan.steps == last["total_steps"] == 15
    assert (plan.images, plan.held_back, plan.classes, plan.precision) == (22, 2, 2, "fp32")
    assert min(plan.once, plan.step, plan.epoch) > 0 and plan.total >= plan.once + plan.epochs * plan.epoch
    files = [*untouched.checkpoints.iterdir(), untouched.encoder_file]
    assert plan.disk == pytest.approx(2 * max(file.stat().st_size for file in files), rel=0.2)


def test_fitting_an_encoder_counts(small_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = sys.modules["invad.training.dry_run"]  # the package has a function of that name
    monkeypatch.setattr(home, "_seconds", lambda work, device: (work(), 1.0)[1])
    fitted, plain = (
        dry_run(small(small_set, encoder="resnet18", weights="random", image_size=(64,), standardise=standardise))
        for standardise in (True, False)
    )
    encoding = 24 / 4  # 22 images to learn from and 2 held back, timed on a batch of 4
    assert fitted.once - plain.once == pytest.approx(encoding * 22 / 24)


def test_where_features_are_kept(small_set: Path) -> None:
    size = dry_run(small(small_set)).features / GIB
    assert dry_run(small(small_set, precision="bf16")).features / GIB == size / 2
    for memory, disk, kept in ((1.001, 0.0, "memory"), (0.999, 1.001, "disk"), (0.999, 0.999, "nowhere")):
        plan = dry_run(small(small_set, feature_memory=memory * size, feature_disk=disk * size))
        assert plan.kept == kept


@pytest.mark.parametrize("cache", ["memory", "none"])
@pytest.mark.parametrize("kept", ["memory", "disk", "nowhere"])
def test_memory_is_all_that_is_held_at_a_time(
    kept: str, cache: str, small_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 images, 22 of which the encoder is fitted to, in batches of 4; nothing is taken by encoding and stepping."""
    home = sys.modules["invad.training.dry_run"]
    monkeypatch.setattr(home, "_with_peak", lambda work: (work(), 0))
    monkeypatch.setattr(home, "LIBRARIES", 0)
    monkeypatch.setattr(home, "_checkpoint_bytes", lambda model: 1000)
    monkeypatch.setattr(home, "read_ahead", lambda: 3)
    changes = {"feature_memory": float(kept == "memory"), "feature_disk": float(kept == "disk")}
    plan = dry_run(small(small_set, cache=cache, **changes))
    pixels, features, decoded = 32 * 32 * 3, plan.features // 24, {"memory": 1, "none": 0}[cache]
    encoding = {"memory": decoded * 24 * pixels + plan.features, "disk": decoded * 22 * pixels}
    stepping = {
        "memory": plan.features,
        "disk": 3 * 4 * features,
        "nowhere": decoded * 24 * pixels + 3 * 4 * pixels,
    }
    encoding["nowhere"] = decoded * 24 * pixels
    assert plan.kept == kept and plan.accelerator == 0
    assert plan.memory == max(encoding[kept] + 3 * 16 * pixels, stepping[kept] + 2000)


def test_the_peak_of_a_piece_of_work_is_noticed() -> None:
    home = sys.modules["invad.training.dry_run"]

    def work() -> str:
        block = np.frombuffer(mmap.mmap(-1, 100 * 2**20), dtype=np.uint8)  # not what was freed before
        block[:] = 1
        time.sleep(10 * home.LOOK)
        return str(block[0])

    before = psutil.Process().memory_info().rss
    made, peak = home._with_peak(work)
    assert made == "1" and peak - before > 90 * 2**20


GROWTH = """
import re, sys
from pathlib import Path
import psutil, torch
from small_runs import small
from invad import dry_run, train
import invad.training.loop

changes = {"encoder": "resnet18", "weights": "random", "image_size": (128,), "batch_size": 16, "epochs": 1}
settings, before = small(Path(sys.argv[2]), **changes), psutil.Process().memory_info().rss
if sys.argv[1] == "dry":
    print(dry_run(settings).memory - before)
else:
    train(settings, sys.argv[3], quiet=True)
    peak = re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())
    print(1024 * int(peak[1]) - before)
"""
"""What a process grows by, as forecast or as it is; `getrusage` counts what its parent held when it was started."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process held at its peak")
def test_the_memory_of_a_run_is_about_the_forecast(small_set: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    forecast, grown = (
        int(
            subprocess.run(
                [sys.executable, "-c", GROWTH, what, str(small_set), str(tmp_path / "run")],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for what in ("dry", "run")
    )
    assert forecast == pytest.approx(grown, rel=0.25)
