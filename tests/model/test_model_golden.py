"""The whole arithmetic against tensors computed in float64 by an independent implementation."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from invad.model import InvAD, build_model, from_published, inversion_loss
from invad.scoring import anomaly_map, gaussian_blur, raw_map


class GivenFeatures(nn.Module):
    """Stands for the encoder where the features are given."""

    channels = (8, 16, 32)
    strides = (4, 8, 16)


def small_model() -> InvAD:
    return build_model(
        GivenFeatures(), image_size=(64, 64), style_channels=8, latent_channels=4, blocks=(2, 3, 1)
    ).double()


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Tensor]:
    with safe_open(shared / "golden/invad_small.safetensors", "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def part(golden: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in golden.items() if key.startswith(prefix)}


def features_of(golden: dict[str, Tensor], prefix: str, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [golden[f"{prefix}feats.{i}"].to(dtype) for i in range(3)]


def loaded(golden: dict[str, Tensor]) -> InvAD:
    model = small_model()
    state = from_published(part(golden, "state."))
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not missing and not unexpected
    return model


def relative(actual: Tensor, expected: Tensor) -> float:
    return ((actual - expected).abs().max() / expected.abs().max().clamp_min(1e-300)).item()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-5)])
def test_codes_predictions_and_maps(golden: dict[str, Tensor], dtype: torch.dtype, tolerance: float) -> None:
    model = loaded(golden).to(dtype)
    features = features_of(golden, "", dtype)
    with torch.no_grad():
        codes = model.neck(features)
        predictions = model.predict(features)
    for i in range(3):
        assert relative(codes[i].double(), golden[f"eval.codes.{i}"]) < tolerance
        assert relative(predictions[i].double(), golden[f"eval.pred.{i}"]) < tolerance
    raw = raw_map(features, predictions, (64, 64))
    assert relative(raw.double(), golden["eval.map_raw"]) < tolerance
    assert relative(gaussian_blur(raw).double(), golden["eval.map"]) < tolerance
    assert relative(anomaly_map(features, predictions, (64, 64)).double(), golden["eval.map"]) < tolerance


def test_first_gradients_and_five_steps(golden: dict[str, Tensor]) -> None:
    from invad.training.optimisation import clip_gradients, make_optimiser

    model = loaded(golden).train()
    optimiser = make_optimiser(model.trained_parameters(), learning_rate=0.004)
    names = dict(model.named_parameters())
    for step in range(5):
        features = features_of(golden, f"train.step{step}.")
        loss = inversion_loss(features, model.predict(features), weight=5.0)
        assert relative(loss.detach(), golden["train.losses"][step]) < 1e-8
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            gradients = from_published(part(golden, "train.grad0."))
            assert set(gradients) == set(names)
            largest = max(value.abs().max() for value in gradients.values())
            for name, expected in gradients.items():
                actual = names[name].grad
                assert actual is not None
                # a bias before a batch norm has a gradient that is zero but for rounding
                assert (actual - expected).abs().max() <= 1e-8 * max(expected.abs().max(), 1e-6 * largest), name
        clip_gradients(model.trained_parameters(), 5.0)
        optimiser.step()
        if step in (0, 4):
            after = from_published(part(golden, f"train.after{step + 1}."))
            state = copy.copy(model.state_dict())
            for name, expected in after.items():
                assert relative(state[name].double(), expected.double()) < 1e-6, name


def test_fp32_first_loss(golden: dict[str, Tensor]) -> None:
    model = loaded(golden).float().train()
    features = features_of(golden, "train.step0.", torch.float32)
    loss = inversion_loss(features, model.predict(features), weight=5.0)
    assert relative(loss.detach().double(), golden["train.losses"][0]) < 1e-5
