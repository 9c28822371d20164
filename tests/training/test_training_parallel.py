"""Training and evaluation in several processes follow those in one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from invad.checkpoint import list_checkpoints, read_checked
from invad.data import make_synthetic
from invad.errors import SettingsError
from invad.model import build_model
from invad.processes import Processes, end_processes, start_processes
from invad.training.loop import epoch_batches
from invad.training.optimisation import make_optimiser
from invad.training.parallel import make_trainee
from invad.training.step import train_step

STEPS, BATCH, IMAGES = 20, 6, 24


def tiny() -> tuple[nn.Module, list[torch.Tensor]]:
    """A model in float64 and the features of all images, the same in every process."""
    torch.manual_seed(1)
    model = build_model("resnet18", weights="random", image_size=(32, 32), blocks=(1, 2, 1), latent_channels=4).double()
    features = [torch.randn(IMAGES, c, s, s, dtype=torch.float64) for c, s in ((64, 8), (128, 4), (256, 2))]
    return model, features


def follow(processes: Processes) -> dict[str, torch.Tensor]:
    """Twenty steps, each process on its share of every batch; returns losses and weights."""
    model, features = tiny()
    trainee = make_trainee(model, processes).train()
    optimiser = make_optimiser(model.trained_parameters(), 1e-3)
    losses = []
    for number in range(STEPS):
        batch = epoch_batches(IMAGES, BATCH, 0, number)[0]
        share = processes.share(batch)
        loss, _ = train_step(
            trainee,
            optimiser,
            [level[torch.from_numpy(share)] for level in features],
            loss_weight=5.0 * len(share) * processes.count / len(batch),
            clip=5.0,
            precision="fp32",
        )
        losses.append(sum(processes.gather(loss.item())) / processes.count)
    state = {f"neck.{k}": v for k, v in model.neck.state_dict().items()}
    state |= {f"decoder.{k}": v for k, v in model.decoder.state_dict().items()}
    return {"losses": torch.tensor(losses, dtype=torch.float64), **state}


def launch(count: int, *command: str) -> None:
    """Run a command of Python in so many processes, as `torchrun` does."""
    started = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}", *command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(started, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_follow_one(tmp_path: Path, count: int) -> None:
    alone = follow(Processes(device=torch.device("cpu")))
    launch(count, __file__, str(tmp_path / "found.pt"))
    together = torch.load(tmp_path / "found.pt", weights_only=True)
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-5, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")


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


if __name__ == "__main__":
    ours = start_processes("cpu")
    result = follow(ours)
    if ours.first:
        torch.save(result, sys.argv[1])


def test_the_program_leaves_the_others_before_it_ends(tmp_path: Path) -> None:
    end_processes()  # alone there is nothing to leave
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    end_processes()
    assert not torch.distributed.is_initialized()
