"""The whole arithmetic in a clone without the golden tensors: numbers that our own code gave once it reproduced them.

`python tests/model/test_model_small.py` writes them anew, which only a change of the specification calls for.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_model_golden import small_model
from torch import Tensor

from invad.model import InvAD, inversion_loss
from invad.scoring import anomaly_map, raw_map
from invad.training.optimisation import clip_gradients, make_optimiser

FILE = Path(__file__).parents[1] / "golden" / "model_small.json"
SHAPES = ((3, 8, 16, 16), (3, 16, 8, 8), (3, 32, 4, 4))


def wave(shape: tuple[int, ...], phase: float) -> Tensor:
    """Values that a formula gives, the same in every version of torch; their deviation is about 1."""
    count = torch.Size(shape).numel()
    return (2**0.5 * torch.sin(1.7 * torch.arange(count, dtype=torch.float64) ** 1.1 + phase)).reshape(shape)


def filled_model() -> InvAD:
    """A model whose parameters a formula gives, in the order in which they are registered."""
    model = small_model()
    with torch.no_grad():
        for index, parameter in enumerate(model.trained_parameters()):
            parameter.mul_(0.0).add_(wave(tuple(parameter.shape), float(index)))
    return model


def numbers() -> dict[str, Any]:
    """What the model computes, as a few numbers for each step of the arithmetic."""
    model = filled_model()
    features = [wave(shape, 0.1 * i) for i, shape in enumerate(SHAPES)]
    with torch.no_grad():
        codes, predictions = model.neck(features), model.predict(features)
        raw = raw_map(features, predictions, (64, 64))
        blurred = anomaly_map(features, predictions, (64, 64))
    optimiser = make_optimiser(model.train().trained_parameters(), learning_rate=0.004)
    losses = []
    for step in range(5):
        features = [wave(shape, step + 0.1 * i) for i, shape in enumerate(SHAPES)]
        loss = inversion_loss(features, model.predict(features), weight=5.0)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = clip_gradients(model.trained_parameters(), 5.0)
        optimiser.step()
        losses.append([loss.item(), norm.item()])
    return {
        "codes": [some(code) for code in codes],
        "predictions": [some(level) for level in predictions],
        "raw map": some(raw),
        "map": some(blurred),
        "losses and gradient norms of five steps": losses,
    }


def some(x: Tensor) -> list[float]:
    """The root mean square, and every so many-th value."""
    return [x.square().mean().sqrt().item(), *x.flatten()[:: max(1, x.numel() // 7)].tolist()]


def test_our_own_numbers() -> None:
    expected = json.loads(FILE.read_text())
    actual = numbers()
    assert set(actual) == set(expected)
    for name, values in expected.items():
        flat = torch.tensor(actual[name], dtype=torch.float64).flatten().tolist()
        assert flat == pytest.approx(torch.tensor(values, dtype=torch.float64).flatten().tolist(), rel=1e-7, abs=1e-9)


if __name__ == "__main__":
    FILE.write_text(json.dumps(numbers(), indent=1) + "\n")
