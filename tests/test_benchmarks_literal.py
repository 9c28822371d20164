"""The literal formulation that the speed benchmarks compare with is the same model."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from invad.model import InvAD, build_model, inversion_loss
from invad.scoring import anomaly_map

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from literal import LiteralInvAD, literal_map


@pytest.fixture(scope="module")
def model() -> InvAD:
    torch.manual_seed(0)
    model = build_model("resnet18", weights="random", image_size=(64, 96), blocks=(2, 1, 3)).double()
    with torch.no_grad():  # biases and statistics that are not at their start
        for name, value in model.state_dict().items():
            if name.endswith(("bias", "running_mean")):
                value += 0.1 * torch.randn_like(value)
            elif name.endswith("running_var"):
                value *= torch.rand_like(value) + 0.5
    return model


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_predictions_and_maps(model: InvAD, images: torch.Tensor) -> None:
    with torch.no_grad():
        features, expected = model(images)
        _, actual = LiteralInvAD(model)(images)
    for ours, literal in zip(expected, actual, strict=True):
        assert (ours - literal).abs().max() < 1e-9 * ours.abs().max()
    maps = anomaly_map(features, expected, (64, 96)).numpy()
    assert np.abs(maps - literal_map(features, actual, (64, 96))).max() < 1e-9


def test_gradients_in_training(model: InvAD, images: torch.Tensor) -> None:
    literal = LiteralInvAD(model).train()
    model.train()
    features = model.encode(images)
    losses = [inversion_loss(features, either.predict(features), 5.0) for either in (model, literal)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-10)
    ours, theirs = (
        torch.autograd.grad(loss, list(either.trained_parameters())) for loss, either in zip(losses, (model, literal))
    )
    norms = [torch.stack([g.norm() for g in gradients]).norm().item() for gradients in (ours, theirs)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-9)
    model.eval()
