"""A dry run writes nothing, and plans what the run then does."""

import sys
from pathlib import Path

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
    assert "3 epochs" in out and "(5 steps of" in out and "kept on disk" in out and "nothing was written" in out


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
