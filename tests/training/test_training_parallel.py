"""Training and evaluation in several processes follow those in one.

Run as a program, this file is what each of several processes does.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import small

from invad import Run, train
from invad.checkpoint import list_checkpoints, read_checked
from invad.data import make_synthetic
from invad.errors import SettingsError
from invad.processes import Processes, end_processes, start_processes
from invad.training import loop
from invad.training.features import DTYPES
from invad.training.loop import epoch_batches
from invad.training.parallel import make_trainee

PLAIN: dict[str, Any] = {"batch_size": 7, "epochs": 7, "checkpoint_every": 1000.0}
"""21 steps on 22 images; 7 is neither 2 nor 3 times anything, so that shares differ in size."""
IN_PARTS = PLAIN | {"accumulate": 2, "epochs": 2}


def in_double(patch: pytest.MonkeyPatch) -> None:
    """Train in float64: in fp32 rounding grows, since Adam without momentum steps by the sign of a gradient."""
    patch.setattr(loop, "make_trainee", lambda model, processes: make_trainee(model.double(), processes))
    patch.setitem(DTYPES, "fp32", torch.float64)


def train_twice(data: Path, out: Path) -> None:
    """The real loop, once plainly and once in parts."""
    for name, changes in (("plain", PLAIN), ("in-parts", IN_PARTS)):
        train(small(data, **changes), out / name, quiet=True)


def launch(count: int, *command: str) -> None:
    """Run a command of Python in so many processes, as `torchrun` does."""
    started = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}", *command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(started, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def alone(small_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of one process."""
    out = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        in_double(patch)
        train_twice(small_set, out)
    return out


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_follow_one(alone: Path, small_set: Path, tmp_path: Path, count: int) -> None:
    """Losses, losses on images held back and weights, by value; parts of a batch are the same images in both."""
    launch(count, __file__, str(small_set), str(tmp_path))
    for name, steps in (("plain", 21), ("in-parts", 6)):
        one, several = (Run(folder / name) for folder in (alone, tmp_path))
        assert several.events()[-1]["total_steps"] == steps
        for a, b in zip(one.events(), several.events(), strict=True):
            assert (a["event"], a.get("total_steps")) == (b["event"], b.get("total_steps"))
            if "loss" in a:
                assert b["loss"] == pytest.approx(a["loss"], rel=1e-5), a
        state, other = (read_checked(list_checkpoints(run.checkpoints)[0])[0] for run in (one, several))
        assert {value.dtype for key, value in state.items() if "num_batches" not in key} == {torch.float64}
        torch.testing.assert_close(other, state, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_command_line_in_two_processes(tmp_path: Path) -> None:
    make_synthetic(tmp_path / "data", train=24, good=3, defective=1)
    settings = ["--encoder", "analytic", "--blocks", "1", "1", "1", "--image-size", "64", "--epochs", "2"]
    settings += ["--batch-size", "48", "--precision", "fp32", "--quiet", "--held-back", "0.1", "--latent-channels", "4"]
    data = ["--data", f"synthetic:{tmp_path / 'data'}"]
    on_disk = ["--feature-memory", "0", "--feature-disk", "1", "--cache-dir", str(tmp_path / "cache")]
    for count, out, options in ((1, "one", []), (2, "two", on_disk)):
        launch(count, "-m", "invad", "train", *data, "--out", str(tmp_path / out), *settings, *options)
    assert sum(path.is_file() for path in (tmp_path / "cache").rglob("*")) == 4 * 24  # four classes
    one, two = (events(tmp_path / out) for out in ("one", "two"))
    assert [e["total_steps"] for e in one if e["event"] == "step"] == [
        e["total_steps"] for e in two if e["event"] == "step"
    ]
    for a, b in zip(one, two, strict=True):
        if a["event"] == "step":  # Adam without momentum steps by sign, so rounding tells in fp32; above it is float64
            assert b["loss"] == pytest.approx(a["loss"], rel=5e-3)
    states = [read_checked(list_checkpoints(tmp_path / out / "checkpoints")[0])[0] for out in ("one", "two")]
    assert states[0].keys() == states[1].keys()

    for count in (1, 2, 3):
        launch(count, "-m", "invad", "evaluate", str(tmp_path / "one"), "--protocol", "exact", "--no-report")
        found = (tmp_path / "one" / "evaluation" / "results-exact.json").read_bytes()
        (tmp_path / f"{count}.json").write_bytes(found)
    assert len({(tmp_path / f"{count}.json").read_bytes() for count in (1, 2, 3)}) == 1


def events(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_shares_are_the_batch_each_image_once() -> None:
    batch = np.random.default_rng(0).permutation(17)
    for count in (1, 2, 3, 5):
        shares = [Processes(rank=r, count=count, device=torch.device("cpu")).share(batch) for r in range(count)]
        assert sorted(np.concatenate(shares)) == list(range(17))


def test_every_image_once_an_epoch() -> None:
    seen = np.concatenate(epoch_batches(1000, 32, 3, 5))
    assert len(seen) == len(set(seen)) == 992
    assert not np.array_equal(seen, np.concatenate(epoch_batches(1000, 32, 3, 6)))


def test_one_accelerator_for_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="device cuda:1 is one accelerator"):
        start_processes("cuda:1")


def test_a_batch_smaller_than_the_processes_is_refused(tmp_path: Path) -> None:
    make_synthetic(tmp_path / "data")
    command = [sys.executable, "-m", "invad", "train", "--data", f"synthetic:{tmp_path / 'data'}", "--out"]
    command += [str(tmp_path / "run"), "--encoder", "analytic", "--batch-size", "2", "--accumulate", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "accumulate cannot part 2 images" in done.stderr


def test_the_program_leaves_the_others_before_it_ends(tmp_path: Path) -> None:
    end_processes()  # alone there is nothing to leave
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    end_processes()
    assert not torch.distributed.is_initialized()


if __name__ == "__main__":
    assert start_processes("cpu").on_host == int(os.environ["LOCAL_WORLD_SIZE"])
    in_double(pytest.MonkeyPatch())
    train_twice(Path(sys.argv[1]), Path(sys.argv[2]))
    end_processes()
