"""A model that cannot be recorded is called as it is, and that is said; there is no GPU here, its part is played."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from invad.inference import cuda_graphs
from invad.inference.cuda_graphs import CudaGraphs


class Doubles(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * images, images.sum(1)


def test_what_cannot_be_recorded_is_called_and_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    @contextmanager
    def refused(*arguments: Any) -> Iterator[None]:
        tried.append(arguments)
        yield
        raise RuntimeError("operation not permitted when stream is capturing\nCompile with TORCH_USE_CUDA_DSA")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(cuda_graphs, "recorded_as", refused)
    monkeypatch.setattr(cuda_graphs, "beside_others", lambda device: nullcontext())
    graphs = CudaGraphs(Doubles())
    said = r"cannot be recorded for images of shape \(1, 3\) \(operation not permitted when stream is capturing\), so"
    with pytest.warns(UserWarning, match=said):
        assert graphs(torch.ones(1, 3))[0].tolist() == [[2.0] * 3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for count in (1, 2):
            assert graphs(torch.ones(count, 3))[1].tolist() == [3.0] * count
    assert len(tried) == 1
