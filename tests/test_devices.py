"""Models at work compute as training does: cuDNN would else compute fp32 in TF32, in another order each time."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from invad import evaluation
from invad.inference.scorer import TorchScorer


class Probe(nn.Module):
    """What cuDNN is told while a model runs."""

    sigma = 4.0

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[bool, bool]] = []

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Look, and return maps and scores of nothing."""
        self.told.append((torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32))
        return torch.zeros(len(images), 8, 8), torch.zeros(len(images))


IMAGES = np.zeros((1, 8, 8, 3), dtype=np.uint8)
CPU = torch.device("cpu")


def test_predicting() -> None:
    probe = Probe()
    TorchScorer(probe, (8, 8), CPU)(IMAGES)
    assert probe.told == [(True, False)] and not torch.backends.cudnn.deterministic


def test_evaluating(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Probe()
    monkeypatch.setattr(evaluation, "batches", lambda source, blocks: [(block, IMAGES) for block in blocks])
    monkeypatch.setattr(evaluation, "anomaly_map", lambda features, predictions, size, sigma: features)
    source = SimpleNamespace(records=(Path("x"),))
    list(evaluation.score_blocks(probe, source, [np.array([0])], CPU))  # type: ignore[arg-type]
    assert probe.told == [(True, False)]
