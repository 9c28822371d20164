"""A run can be stopped anywhere, by anything, and ends in the bits of one that nothing happened to."""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import at_step, copy_when, ctrl_c, small, weights

from invad import InvadError, Run, evaluate, resume, train
from invad.checkpoint import list_checkpoints, read_checked
from invad.data import make_fixture
from invad.errors import ImageError, RunError, SettingsError
from invad.model.analytic import AnalyticEncoder
from invad.processes import Processes
from invad.saved_evaluation import read_request
from invad.training import job, loop, stepper
from invad.training.dry_run import dry_run
from invad.training.setup import build_untrained, open_data, open_images, open_source, tell


def events(run: Run, name: str) -> list[dict[str, object]]:
    return [event for event in run.events() if event["event"] == name]


def test_the_same_seed_gives_the_same_bits_twice_and_another_one_others(
    small_set: Path, untouched: Run, tmp_path: Path
) -> None:
    assert weights(train(small(small_set), tmp_path / "again", quiet=True)) == weights(untouched)
    assert weights(train(small(small_set, seed=1), tmp_path / "other", quiet=True)) != weights(untouched)


def test_data_named_by_its_root_alone_is_written_down_with_its_layout(tmp_path: Path) -> None:
    make_fixture("visa", tmp_path / "set")
    root = str(tmp_path / "set")
    run = train(replace(small(tmp_path), data=(root,), epochs=1), tmp_path / "run", quiet=True)
    assert run.settings().data == (f"visa:{root}",) and run.layouts() == ("visa",)
    evaluate(run, data=(root,), protocols=("exact",), quiet=True)
    request = read_request(run)
    assert request is not None and request.data == (f"visa:{root}",)


def test_the_encoder_is_fitted_on_the_device(untouched: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, device = untouched.settings(), torch.device("meta")  # stands for an accelerator: nothing is computed
    places = []

    def fit(encoder: AnalyticEncoder, batches: Iterable[torch.Tensor]) -> None:
        places.extend([encoder.get_buffer("mean_0").device, *(images.device for images in batches)])

    monkeypatch.setattr(AnalyticEncoder, "fit", fit)
    source = open_source(settings, open_data(settings).split("train"), 1.0)
    build_untrained(settings, source, None, device, quiet=True)
    assert set(places) == {device}


def test_the_first_process_fits_the_encoder_and_the_others_take_it(
    untouched: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "build_untrained", None)
    monkeypatch.setattr(loop, "make_run", None)
    settings = untouched.settings()
    images = open_images(open_data(settings), settings, Processes(device=torch.device("cpu")), quiet=True)
    another = Processes(rank=1, device=torch.device("cpu"))
    _, model = loop._begin(untouched.path, settings, images, None, another, quiet=True)
    expected, _ = read_checked(untouched.encoder_file)
    found = model.encoder.state_dict()  # type: ignore[attr-defined]
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def test_a_note_is_said_as_it_is(untouched: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell(copy_of(untouched, tmp_path), "no image in [final]/x[/b]")
    assert "note: no image in [final]/x[/b]" in capsys.readouterr().err


@pytest.mark.parametrize("step", [1, 3, 5, 15], ids=["first", "in an epoch", "an epoch's last", "last of all"])
def test_ctrl_c_and_resume(
    step: int, small_set: Path, untouched: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(monkeypatch, step, ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        train(small(small_set, checkpoint_every=1000.0), tmp_path / "run", quiet=True)
    run = Run.open(tmp_path / "run")
    assert list_checkpoints(run.checkpoints)[0].stem == f"{step:09d}" and not run.complete
    assert weights(resume(run.path, quiet=True)) == weights(untouched)


def test_a_kill_before_the_first_checkpoint(small_set: Path, untouched: Run, tmp_path: Path) -> None:
    run = copy_of(untouched, tmp_path)
    shutil.rmtree(run.checkpoints)
    run.scale_file.unlink()
    assert weights(resume(run.path, quiet=True)) == weights(untouched)


def copy_of(run: Run, folder: Path) -> Run:
    return Run(Path(shutil.copytree(run.path, folder / "copy")))


def stopped(small_set: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, step: int = 8) -> Run:
    """A run that was stopped after so many steps."""
    at_step(monkeypatch, step, ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        train(small(small_set), folder / "run", quiet=True)
    return Run.open(folder / "run")


def test_a_damaged_checkpoint_is_noticed_and_the_one_before_used(
    small_set: Path, untouched: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped(small_set, tmp_path, monkeypatch)
    newest, before = list_checkpoints(run.checkpoints)
    data = bytearray(newest.read_bytes())
    data[-1000] ^= 1  # one bit
    newest.write_bytes(data)
    with pytest.warns(UserWarning, match=rf"{newest.name} is damaged .*trying the one before"):
        resume(run.path, quiet=True)
    assert events(run, "resumed")[0]["total_steps"] == int(before.stem)
    assert weights(run) == weights(untouched)


def test_what_a_kill_leaves_is_taken_away(
    small_set: Path, untouched: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped(small_set, tmp_path, monkeypatch)
    half = run.checkpoints / ".000000009.safetensors.abc.part"
    half.write_bytes(b"half")
    with run.log_file.open("a") as log:
        log.write('{"event": "st')
    seen = len(run.events())
    resume(run.path, quiet=True)
    assert not half.exists()
    assert run.events()[seen]["event"] == "resumed" and events(run, "finished")
    assert weights(run) == weights(untouched)


FULL_DISK = """
import resource, sys
from dataclasses import replace
from pathlib import Path
from invad.cli.main import run
from invad.training import stepper
steps, original = 0, stepper.train_step
def watched(*args, **options):
    global steps
    steps += 1
    if steps == 8:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    return original(*args, **options)
stepper.train_step = watched
sys.exit(run(["train", "--config", sys.argv[1], "--out", sys.argv[2], "--quiet"]))
"""


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files as POSIX can")
def test_a_full_disk(small_set: Path, untouched: Run, tmp_path: Path) -> None:
    small(small_set).save(tmp_path / "settings.toml")
    run = Run(tmp_path / "run")
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "settings.toml"), str(run.path)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    last = ended.stderr.splitlines()[-1]
    assert last.startswith(f"invad: cannot write {run.checkpoints}") and "Free some space" in last
    assert "Traceback" not in ended.stderr
    assert [path.stem for path in list_checkpoints(run.checkpoints)] == ["000000007", "000000006"]
    assert not list(run.checkpoints.glob(".*"))
    assert weights(resume(run.path, quiet=True)) == weights(untouched)


@pytest.mark.parametrize("settings", [{}, {"keep": "best", "checkpoint_every": 1000.0}], ids=["checkpoint", "best"])
def test_a_vanished_folder_is_not_made_again(
    settings: dict[str, object], small_set: Path, untouched: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, away = Run(tmp_path / "drive" / "run"), tmp_path / "away"
    at_step(monkeypatch, 8, lambda: run.path.rename(away))
    with pytest.raises(RunError, match=r"has vanished .*--resume"):
        train(small(small_set, **settings), run.path, quiet=True)
    assert list(run.path.parent.iterdir()) == []
    away.rename(run.path)
    resume(run.path, quiet=True)
    assert settings or weights(run) == weights(untouched)


def test_an_empty_mount_in_its_place_stays_empty(
    small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run")

    def unmount() -> None:
        run.path.rename(tmp_path / "away")
        run.path.mkdir()

    at_step(monkeypatch, 9, unmount)
    with pytest.raises(RunError, match="has vanished"):
        train(small(small_set, checkpoint_every=1000.0), run.path, quiet=True)
    assert list(run.path.iterdir()) == []


@pytest.mark.parametrize("which", ["learnt", "held back"])
@pytest.mark.parametrize("cache", ["none", "disk"])
def test_an_image_that_turns_corrupt(
    which: str, cache: str, small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(small_set, tmp_path / "set"))
    changes = {"cache": cache, "cache_dir": str(tmp_path / "cache"), "feature_memory": 0.0, "checkpoint_every": 1000.0}
    settings = small(root, **changes)
    expected = weights(train(settings, tmp_path / "untouched", quiet=True))
    reference = Run(tmp_path / "untouched")
    file = reference.records_file if which == "learnt" else reference.held_back_file
    victim = Path(json.loads(file.read_text().splitlines()[0])["image"])
    whole = victim.read_bytes()
    at_step(monkeypatch, 7, lambda: victim.write_bytes(whole[:100]) if cache == "none" else victim.unlink())
    run = Run(tmp_path / "run")
    with pytest.raises(ImageError, match=victim.name):
        train(settings, run.path, quiet=True)
    assert int(list_checkpoints(run.checkpoints)[0].stem) >= 7
    with pytest.raises(InvadError, match="are not those that"):  # one that is gone lets others be drawn to hold back
        resume(run.path, quiet=True)
    victim.write_bytes(whole)
    assert weights(resume(run.path, quiet=True)) == expected


def test_weights_that_are_no_numbers_are_not_written(small_set: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    with pytest.raises(RunError, match=r"the loss became (nan|inf) .*--resume"):
        train(small(small_set, learning_rate=1e30), run.path, quiet=True)
    for path in list_checkpoints(run.checkpoints):
        assert all(torch.isfinite(value).all() for value in read_checked(path)[0].values())
    assert not run.complete


@pytest.mark.parametrize("file", ["records.jsonl", "held_back.jsonl"])
def test_a_changed_image_is_refused(
    file: str, small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(small_set, tmp_path / "set"))
    run = stopped(root, tmp_path, monkeypatch)
    rows = [json.loads(line) for line in (run.path / file).read_text().splitlines()]
    shutil.copyfile(rows[0]["image"], tmp_path / "before.png")
    shutil.copyfile(rows[1]["image"], rows[0]["image"])
    with pytest.raises(RunError, match=rf"images .*are not those .*{Path(rows[0]['image']).name}"):
        resume(run.path, quiet=True)
    shutil.copyfile(tmp_path / "before.png", rows[0]["image"])
    assert resume(run.path, quiet=True).complete


def test_a_kill_right_before_the_end_keeps_the_best_weights(
    small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run")
    for home, name in ((loop, "finish"), (job, "write_curve")):  # before and after the best weights became the last
        copy_when(monkeypatch, home, name, run.path, tmp_path / name)
    settings = small(small_set, keep="best", learning_rate=0.05)
    train(settings, run.path, quiet=True)
    monkeypatch.undo()
    losses = [event["loss"] for event in events(run, "held_back")]
    best = losses.index(min(losses)) + 1
    assert any(f"after epoch {best} of 3" in notice for notice in run.notices())
    chosen, last = read_checked(run.best_file)[0], read_checked(list_checkpoints(run.checkpoints)[0])[0]
    assert chosen.keys() == last.keys() and all(torch.equal(chosen[name], last[name]) for name in chosen)
    for name in ("finish", "write_curve"):
        again = Run(tmp_path / name)
        assert not again.complete
        assert weights(resume(again.path, quiet=True)) == weights(run)


def test_patience_stops(small_set: Path, tmp_path: Path) -> None:
    settings = small(small_set, recipe="paper", epochs=40, patience=1, learning_rate=0.1)
    run = train(settings, tmp_path / "run", quiet=True)
    losses = [event["loss"] for event in events(run, "held_back")]
    assert len(losses) < 40 and losses[-1] >= min(losses[:-1])
    assert losses[:-1] == sorted(losses[:-1], reverse=True), "it stopped at the first epoch without gain"
    assert any(f"ended after {len(losses)} of 40 epochs" in notice for notice in run.notices())


def test_patience_begins_the_cooldown_wherever_the_run_is_stopped(
    small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # by `hard-cosine` the loss stops falling too early at this rate for what is looked at here
    settings = small(small_set, loss="cosine", epochs=40, patience=1, learning_rate=0.1, warmup=0)
    run = train(settings, tmp_path / "run", quiet=True)
    losses = [event["loss"] for event in events(run, "held_back")]
    since = next(i for i in range(1, 40) if losses[i] >= min(losses[:i])) + 1  # epochs until one was without gain
    assert len(losses) == since + 12 < 40
    rates = [event["learning_rate"] for event in events(run, "step")]
    assert rates[2] == 0.1 and rates[-1] < 0.1 / 12 and rates[since:] == sorted(rates[since:], reverse=True)
    assert any(f"ended after {len(losses)} of 40 epochs" in notice for notice in run.notices())
    at_step(monkeypatch, 5 * since + 8, ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "stopped", quiet=True)
    assert weights(resume(tmp_path / "stopped", quiet=True)) == weights(run)


def test_patience_and_best_need_images_held_back(small_set: Path, tmp_path: Path) -> None:
    for changes in ({"patience": 2}, {"keep": "best"}):
        with pytest.raises(SettingsError, match="--held-back"):
            train(small(small_set, held_back=0.0, **changes), tmp_path / "run", quiet=True)
    assert not list(tmp_path.iterdir())


def test_a_set_of_fewer_images_than_parts_has_a_part_for_each(small_set: Path, tmp_path: Path) -> None:
    settings = small(few_images(small_set, tmp_path, 3), batch_size=8, accumulate=5)
    assert dry_run(settings).images == 3
    run = train(settings, tmp_path / "run", quiet=True)
    assert all(math.isfinite(event["loss"]) for event in events(run, "step"))
    fewer = replace(settings, accumulate=3)
    assert weights(run) == weights(train(fewer, tmp_path / "other", quiet=True))


@pytest.mark.parametrize(
    ("images", "changes"),
    [(3, {"batch_size": 1}), (3, {"batch_size": 3, "accumulate": 2}), (1, {"batch_size": 8, "held_back": 0.0})],
)
def test_one_image_at_a_time_needs_more_than_one_position(
    images: int, changes: dict[str, Any], small_set: Path, tmp_path: Path
) -> None:
    data = few_images(small_set, tmp_path, images)
    settings = small(data, image_size=(16,), epochs=1, **changes)
    for start in (lambda: train(settings, tmp_path / "run", quiet=True), lambda: dry_run(settings)):
        with pytest.raises(SettingsError, match=rf"image_size 16 .* {images} to learn from. Choose an image_size"):
            start()
    assert not (tmp_path / "run").exists()
    train(replace(settings, image_size=(16, 32)), tmp_path / "wider", quiet=True)
    if images > 1:
        train(replace(settings, batch_size=2, accumulate=1), tmp_path / "more", quiet=True)


def test_fewer_images_than_processes_are_refused(
    small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = small(few_images(small_set, tmp_path, 3))
    run = train(settings, tmp_path / "run", quiet=True)
    run.scale_file.unlink()  # as if it had been stopped
    monkeypatch.setattr(loop, "start_processes", lambda device: Processes(count=4, device=torch.device("cpu")))
    message = "a batch of 3 images, of 3 to learn from, is too small for 4 processes"
    with pytest.raises(SettingsError, match=message):
        train(settings, tmp_path / "other", quiet=True)
    assert not (tmp_path / "other").exists()
    with pytest.raises(SettingsError, match=message):
        resume(run.path, quiet=True)


def few_images(small_set: Path, folder: Path, count: int) -> Path:
    """A flat folder of so many images of the set."""
    images = sorted(small_set.rglob("good/*.png"))[:count]
    (folder / "few").mkdir()
    for number, image in enumerate(images):
        shutil.copy(image, folder / f"few/{number}.png")
    return folder / "few"


def test_memory_that_runs_out_makes_more_parts(
    small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = stepper.train_step

    def small_memory(*args, **options):
        if len(args[2][0]) > 2 * options["parts"]:
            raise torch.OutOfMemoryError("out of memory")
        return original(*args, **options)

    monkeypatch.setattr(stepper, "train_step", small_memory)
    run = train(small(small_set), tmp_path / "a", quiet=True)
    assert [text for text in run.notices() if "computed in 2 parts" in text]
    monkeypatch.undo()
    assert weights(run) == weights(train(small(small_set, accumulate=2), tmp_path / "b", quiet=True))


def test_a_resumed_run_goes_on_in_as_many_parts(
    small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part has batch statistics of its own; memory may suffice when the run is resumed."""
    whole = train(small(small_set, accumulate=2), tmp_path / "whole", quiet=True)
    original = stepper.train_step

    def small_memory(*args, **options):
        if options["parts"] == 1:
            raise torch.OutOfMemoryError("out of memory")
        return original(*args, **options)

    monkeypatch.setattr(stepper, "train_step", small_memory)
    at_step(monkeypatch, 6, ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        train(small(small_set), tmp_path / "run", quiet=True)
    monkeypatch.undo()
    assert weights(resume(tmp_path / "run", quiet=True)) == weights(whole)
