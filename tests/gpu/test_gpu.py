"""What only an NVIDIA GPU can show: the same results as on the CPU, the same bits twice, and memory that runs out."""

import copy
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import invad
from invad import Run, TrainSettings, resume, train
from invad.checkpoint import list_checkpoints
from invad.data import make_synthetic
from invad.devices import exact_arithmetic, to_device
from invad.inference import cuda_graphs
from invad.inference.cuda_graphs import CudaGraphs
from invad.inference.exporting import Precision as ExportPrecision
from invad.inference.exporting import export
from invad.inference.folding import Folded, fold, lower_precision
from invad.inference.scorer import folded_scorer
from invad.model import InvAD, build_model
from invad.processes import Processes
from invad.settings import Precision
from invad.training import gpu_steps, loop
from invad.training.gpu_steps import RecordedSteps
from invad.training.optimisation import make_optimiser
from invad.training.parallel import make_trainee
from invad.training.step import train_step

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
GPU = torch.device("cuda")
SIZE = (64, 64)


@pytest.fixture(scope="module")
def model() -> InvAD:
    torch.manual_seed(0)
    return build_model("resnet18", weights="random", image_size=SIZE, blocks=(2, 1, 1))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos") / "set"
    make_synthetic(root, train=24, good=6, defective=6, size=72)
    return root


def settings(photos: Path, **changes: Any) -> TrainSettings:
    values: dict[str, Any] = {
        "data": (f"folder:{photos}",),
        "encoder": "analytic",
        "image_size": SIZE,
        "blocks": (1, 1, 1),
        "batch_size": 8,
        "epochs": 3,
        "device": "cuda",
        "checkpoint_every": 0.0,
    }
    return TrainSettings(**{**values, **changes})


def images(count: int, height: int = 64, width: int = 64) -> Any:
    return np.random.default_rng(count).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def newest(run: Run) -> bytes:
    return list_checkpoints(run.checkpoints)[0].read_bytes()


def test_scores_are_those_of_the_cpu(model: InvAD) -> None:
    given = images(5, 90, 70)
    on_cpu, on_gpu = folded_scorer(model, SIZE)(given), folded_scorer(model, SIZE, GPU)(given)
    for cpu, gpu in zip(on_cpu, on_gpu, strict=True):
        assert np.abs(gpu - cpu).max() <= 1e-4 * np.ptp(on_cpu[0])


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_recorded_kernels_give_the_same_bits(model: InvAD, precision: str) -> None:
    folded = on_gpu(model, precision)
    graphs = CudaGraphs(folded)
    with torch.inference_mode(), exact_arithmetic():
        for count in (1, 8, 3, 1, 8):
            for seed in range(2):
                given = to_device(255 * seed - images(count), GPU)
                for expected, found in zip(folded(given), graphs(given), strict=True):
                    assert torch.equal(expected, found)


def test_many_shapes_and_threads(model: InvAD, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "MOST_SHAPES", 2)
    folded = on_gpu(model, "fp32")
    graphs = CudaGraphs(folded)

    def scores(count: int) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(), exact_arithmetic():
            return graphs(to_device(images(count), GPU))[1], folded(to_device(images(count), GPU))[1]

    with ThreadPoolExecutor(4) as pool:
        for found, expected in pool.map(scores, [1, 2, 3, 4] * 10):
            assert torch.equal(found, expected)
    assert len(graphs._recorded) == 2


def test_what_cannot_be_recorded_is_called() -> None:
    class Waits(nn.Module):
        def forward(self, given: Tensor) -> tuple[Tensor, Tensor]:
            return given * float(given.float().mean().item()), given.flatten(1).sum(1)

    graphs, given = CudaGraphs(Waits()), torch.ones(2, 3, device=GPU)
    with torch.inference_mode(), pytest.warns(UserWarning, match="cannot be recorded") as said:
        for _ in range(2):
            assert graphs(2 * given)[0].tolist() == [[4.0] * 3] * 2
    assert len(said) == 1
    torch.cuda.synchronize()


def on_gpu(model: InvAD, precision: str) -> Folded:
    folded = fold(model, SIZE)
    lower_precision(folded, precision)
    return folded.to(GPU)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("encoder", ["analytic", "resnet18"])
def test_training_gives_the_same_bits_twice_and_resumed(
    photos: Path, tmp_path: Path, precision: Precision, encoder: str
) -> None:
    weights = None if encoder == "analytic" else "random"
    chosen = settings(photos, precision=precision, encoder=encoder, weights=weights)
    run = train(chosen, tmp_path / "run", quiet=True)
    again = train(chosen, tmp_path / "again", quiet=True)
    assert newest(run) == newest(again)
    killed = tmp_path / "killed"
    shutil.copytree(run.path, killed)
    Run.open(killed).scale_file.unlink()
    list_checkpoints(Run.open(killed).checkpoints)[0].unlink()
    assert newest(resume(killed, quiet=True)) == newest(run)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_recorded_steps_give_the_same_bits(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    chosen = settings(photos, precision=precision, recipe="aligned", steps=30, epochs=None)
    replayed, original = [], gpu_steps.RecordedSteps.ready

    def ready(self: RecordedSteps, features: Any) -> bool:
        replayed.append(original(self, features))
        return replayed[-1]

    monkeypatch.setattr(RecordedSteps, "ready", ready)
    run = train(chosen, tmp_path / "recorded", quiet=True)
    assert any(replayed)
    monkeypatch.setattr(loop, "steps_recorder", lambda settings, processes: None)
    assert newest(train(chosen, tmp_path / "as-they-are", quiet=True)) == newest(run)


def test_looking_on_the_way_changes_nothing(photos: Path, tmp_path: Path) -> None:
    chosen = settings(photos, recipe="aligned", steps=30, epochs=None)
    run = train(chosen, tmp_path / "unwatched", quiet=True)
    watched = train(replace(chosen, eval_every=1), tmp_path / "watched", quiet=True)
    assert newest(watched) == newest(run)


def test_compiled_steps_follow_the_others(photos: Path, tmp_path: Path) -> None:
    losses = []
    for compiled in (True, False):
        chosen = settings(photos, compile=compiled, recipe="aligned", steps=30, epochs=None)
        run = train(chosen, tmp_path / str(compiled), quiet=True)
        assert not [text for text in run.notices() if "compiled" in text]
        losses.append([event["loss"] for event in run.events() if event["event"] == "step"])
    assert losses[0] == pytest.approx(losses[1], rel=2e-2) and losses[0] != losses[1]


def test_dry_run(photos: Path) -> None:
    forecast = invad.dry_run(settings(photos))
    assert 0 < forecast.step < 1 and forecast.accelerator > 0


def test_a_step_is_that_of_the_cpu(model: InvAD) -> None:
    features = model.encode(to_device(images(8), torch.device("cpu")))
    found = {}
    for device in (torch.device("cpu"), GPU):
        trained = copy.deepcopy(model).to(device).train()
        optimiser = make_optimiser(trained.trained_parameters(), 1e-3)
        there = [level.to(device) for level in features]
        trainee = make_trainee(trained, Processes(device=device))
        with exact_arithmetic():
            loss, norm = train_step(trainee, optimiser, there, loss_weight=5.0, clip=5.0, precision="fp32")
        found[device.type] = loss.item(), norm.item()
    assert found["cuda"] == pytest.approx(found["cpu"], rel=1e-5)


SMALL_GPU = """
import sys

import torch

from invad import TrainSettings, train

torch.cuda.set_per_process_memory_fraction((2 << 30) / torch.cuda.get_device_properties(0).total_memory)
run = train(TrainSettings.load(__import__("pathlib").Path(sys.argv[1])), sys.argv[2], quiet=True)
print(run.complete, *run.notices(), sep="\\n")
"""


def test_a_batch_that_memory_does_not_hold_is_computed_in_parts(photos: Path, tmp_path: Path) -> None:
    chosen = settings(photos, image_size=(256,), blocks=(4, 4, 4), batch_size=32, epochs=8, precision="fp32")
    chosen.save(tmp_path / "settings.toml")
    command = [sys.executable, "-c", SMALL_GPU, str(tmp_path / "settings.toml"), str(tmp_path / "run")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.stdout.startswith("True\n"), found
    assert "memory ran out: each batch of 32 images is now computed in 2 parts" in " ".join(found.stdout.split())


def test_evaluation_is_that_of_the_cpu(photos: Path, tmp_path: Path) -> None:
    run = train(settings(photos, recipe="aligned", steps=40, epochs=None), tmp_path / "run", quiet=True)
    found = {}
    for device in ("cuda", "cpu"):
        evaluation = invad.evaluate(run, bootstrap=0, device=device, quiet=True)
        found[device] = evaluation.results[0].mean
    for key, value in found["cpu"].items():
        assert found["cuda"][key] == pytest.approx(value, abs=2e-3), key


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_exported_program_on_the_gpu(photos: Path, tmp_path: Path, precision: ExportPrecision) -> None:
    run = train(settings(photos, recipe="aligned", steps=40, epochs=None), tmp_path / "run", quiet=True)
    file = tmp_path / "model.pt2"
    export(run, file, to="pt2", precision=precision)
    given = images(3)
    expected = invad.load(run.path, device="cpu").scorer(given)
    scorer = invad.load(file, device="cuda").scorer
    for _ in range(2):
        maps = scorer(given)[0]
        off = 1e-4 if precision == "fp32" else 3e-2
        assert np.abs(maps - expected[0]).max() <= off * np.ptp(expected[0])
