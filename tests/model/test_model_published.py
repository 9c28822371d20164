"""Published checkpoints become runs that work like our own; those that do not fit are named."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

import invad
from invad.cli.main import run
from invad.data import make_fixture
from invad.errors import WeightsError
from invad.model import build_model
from invad.model.published import load_published, our_name, published_name
from invad.scoring import anomaly_map


class GivenFeatures(nn.Module):
    """Stands for the encoder where the features are given."""

    channels = (8, 16, 32)
    strides = (4, 8, 16)


def random_checkpoint(shared: Path, model: str) -> dict[str, Tensor]:
    """Weights of chance under the published names, of a size that keeps features finite."""
    random = torch.Generator().manual_seed(0)

    def draw(name: str, shape: list[int]) -> Tensor:
        if name.endswith("num_batches_tracked"):
            return torch.tensor(7)
        if name.endswith(("running_mean", "bias")):
            return torch.zeros(shape)
        if name.endswith("running_var") or len(shape) == 1:
            return torch.ones(shape)
        gain = 0.5 / math.sqrt(math.prod(shape[1:])) if name.startswith("net_encoder") else 0.1
        return torch.randn(shape, generator=random) * gain

    keys = json.loads((shared / "golden/ader_state_dict_keys.json").read_text())[model]
    return {name: draw(name, shape) for name, shape, _ in keys}


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize(("model", "key"), [("invad-lite", None), ("invad", "net")])
def test_a_checkpoint_of_full_size_becomes_a_run(
    model: str, key: str | None, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = random_checkpoint(shared, model)
    torch.save({key: state} if key else state, tmp_path / "net.pth")
    make_fixture("mvtec", tmp_path / "set")
    out = tmp_path / "run"
    argv = ["import-weights", str(tmp_path / "net.pth"), "--model", model, "--out", str(out), "--data"]
    assert run([*argv, "mvtec"]) == 0
    assert f"invad evaluate {out} --data mvtec:ROOT" in capsys.readouterr().out
    argv = ["evaluate", str(out), "--data", f"mvtec:{tmp_path / 'set'}", "--classes", "bottle", "--no-report"]
    assert run([*argv, "--protocol", "exact"]) == 0
    results = json.loads((out / "evaluation/results-exact.json").read_text())
    assert results["mean"]["mad"] is not None and any("imported weights" in text for text in results["warnings"])
    image = tmp_path / "set/bottle/test/crack/000.png"
    assert run(["predict", str(out), str(image), "--out", str(tmp_path / "predictions")]) == 0
    assert invad.load(out)(image).score == pytest.approx(json.loads(
        (tmp_path / "predictions/predictions.jsonl").read_text())["score"], abs=1e-6)  # fmt: skip
    loaded = invad.runs.load_model(invad.Run.open(out)).state_dict()
    assert all(torch.equal(loaded[our_name(n)], v.reshape(loaded[our_name(n)].shape)) for n, v in state.items()
               if our_name(n))  # fmt: skip
    assert run(["train", "--resume", str(out)]) == 2
    assert "imported weights?" in capsys.readouterr().err


@pytest.mark.shared
@pytest.mark.slow
def test_the_colour_scale_comes_from_normal_images_where_there_are_some(shared: Path, tmp_path: Path) -> None:
    torch.save(random_checkpoint(shared, "invad-lite"), tmp_path / "net.pth")
    make_fixture("mvtec", tmp_path / "set")
    argv = ["import-weights", str(tmp_path / "net.pth"), "--model", "invad-lite", "--out", str(tmp_path / "run")]
    assert run([*argv, "--data", f"mvtec:{tmp_path / 'set'}"]) == 0
    scale = invad.Run.open(tmp_path / "run").scale()
    assert len(scale.classes) > 1 and all(0 < low < high for low, high in scale.classes.values())
    assert (scale.low, scale.high) == pytest.approx(np.mean(list(scale.classes.values()), axis=0))
    assert run(["train", "--resume", str(tmp_path / "run")]) == 2


@pytest.mark.shared
def test_the_golden_checkpoint(shared: Path) -> None:
    with safe_open(shared / "golden/invad_small.safetensors", "pt") as file:
        golden = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    state = {key.removeprefix("state."): value for key, value in golden.items() if key.startswith("state.")}
    model = build_model(GivenFeatures(), image_size=(64, 64), style_channels=8, latent_channels=4, blocks=(2, 3, 1))
    load_published(model.double(), state, "golden")
    features = [golden[f"feats.{i}"].double() for i in range(3)]
    with torch.no_grad():
        found = anomaly_map(features, model.predict(features), (64, 64))
    assert (found - golden["eval.map"]).abs().max() < 1e-8 * golden["eval.map"].abs().max()
    name = "net_decoder.conv1.0.1.bias"
    with pytest.raises(WeightsError, match=rf"1 missing \({name}\), 1 extra \(paint\), 0 of another shape"):
        load_published(model, {**{k: v for k, v in state.items() if k != name}, "paint": state[name]}, "x.pth")
    with pytest.raises(WeightsError, match=rf"1 of another shape \({name} \(5,\) for \(32,\)\)"):
        load_published(model, {**state, name: torch.zeros(5)}, "x.pth")


@pytest.mark.shared
@pytest.mark.parametrize("model", ["invad", "invad-lite"])
def test_names_go_both_ways(model: str, shared: Path) -> None:
    for name, _, _ in json.loads((shared / "golden/ader_state_dict_keys.json").read_text())[model]:
        ours = our_name(name)
        if ours is not None:
            assert re.fullmatch(published_name(ours).replace(".", r"\."), name), "a name with [12] is a pattern"


def test_files_that_are_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pickle

    path = tmp_path / "net.pth"
    argv = ["import-weights", str(path), "--model", "invad-lite", "--data", "mvtec", "--out", str(tmp_path / "run")]
    assert run(argv) == 2 and "no weights file" in capsys.readouterr().err
    path.write_bytes(b"not a checkpoint")
    assert run(argv) == 2 and "cannot be read as a weights file" in capsys.readouterr().err
    path.write_bytes(pickle.dumps({"net": Touch(tmp_path / "touched")}))
    assert run(argv) == 2 and "cannot be read as a weights file" in capsys.readouterr().err
    torch.save({"net": Touch(tmp_path / "touched")}, path)
    assert run(argv) == 2 and "cannot be read as a weights file" in capsys.readouterr().err
    assert not (tmp_path / "touched").exists(), "no code of a checkpoint is run"
    torch.save({"net_fuser.x": torch.zeros(1)}, path)
    assert run(argv) == 2
    message = capsys.readouterr().err
    assert "missing (net_encoder.conv1.weight" in message and "1 extra (net_fuser.x)" in message
    assert not (tmp_path / "run").exists()


class Touch:
    """An object whose unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)
