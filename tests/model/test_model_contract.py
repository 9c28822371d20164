"""What every published model must do: learn, predict alike in any batch, be the same again, be saved, exported."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from invad.checkpoint import Position, load_newest, save_checkpoint
from invad.model import InvAD, build_model
from invad.presets import MODELS
from invad.scoring import anomaly_map, image_score
from invad.training.optimisation import make_optimiser
from invad.training.parallel import Trainee
from invad.training.step import train_step

SIZE = (32, 48)


@pytest.fixture(scope="module", params=sorted(MODELS))
def build(request: pytest.FixtureRequest) -> Callable[[], InvAD]:
    preset = MODELS[request.param]

    def make() -> InvAD:
        torch.manual_seed(0)
        return build_model(preset.encoder, weights="random", image_size=SIZE, blocks=preset.blocks)

    return make


def images(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, *SIZE), dtype=torch.uint8, generator=generator)


def fit(model: InvAD, steps: int = 4) -> list[float]:
    optimiser = make_optimiser(model.train().trained_parameters(), 1e-3)
    features = model.encode(images(4))
    step = partial(train_step, Trainee(model).train(), optimiser, features, loss_weight=5.0, clip=5.0, precision="fp32")
    losses = [step()[0].item() for _ in range(steps)]
    model.eval()
    return losses


def scores(model: InvAD, batch: Tensor) -> Tensor:
    with torch.inference_mode():
        return image_score(anomaly_map(*model(batch), SIZE))


@pytest.fixture(scope="module")
def trained(build: Callable[[], InvAD]) -> tuple[InvAD, list[float]]:
    model = build()
    return model, fit(model)


def test_it_learns_and_is_the_same_again(build: Callable[[], InvAD], trained: tuple[InvAD, list[float]]) -> None:
    first, losses = trained
    assert losses[-1] < 0.9 * losses[0]
    second = build()
    assert fit(second) == losses
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_it_scores_alike_in_any_batch_saved_loaded_and_exported(
    build: Callable[[], InvAD], trained: tuple[InvAD, list[float]], tmp_path: Path
) -> None:
    (model, _), batch = trained, images(3)
    whole = scores(model, batch)
    assert whole.min() > 0
    torch.testing.assert_close(torch.cat([scores(model, one) for one in batch.split(1)]), whole, rtol=1e-4, atol=1e-6)
    save_checkpoint(tmp_path, model, None, Position(epoch=1, step=0, total_steps=2))
    loaded = build()
    load_newest(tmp_path, loaded)
    assert torch.equal(scores(loaded, batch), whole)
    program = torch.export.export(model, (batch,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},))
    for expected, exported in zip(model(batch)[1], program.module()(batch)[1], strict=True):
        torch.testing.assert_close(exported, expected, rtol=1e-4, atol=1e-5)
