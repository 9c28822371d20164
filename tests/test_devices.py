"""Models at work compute as training does: cuDNN would else compute fp32 in TF32, in another order each time."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from invad.devices import exact_arithmetic
from invad.inference.scorer import TorchScorer, plain_scorer
from invad.model import build_model


class Probe(nn.Module):
    """What cuDNN is told while a model runs."""

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


def test_evaluating() -> None:
    model = build_model("analytic", image_size=(32, 32), blocks=(1, 1, 1))
    told: list[bool] = []
    model.decoder.register_forward_pre_hook(lambda *_: told.append(torch.backends.cudnn.deterministic))
    plain_scorer(model, (32, 32))(np.zeros((1, 32, 32, 3), dtype=np.uint8))
    assert told == [True] and not model.training


def test_threads_do_not_put_back_what_others_need() -> None:
    inside, leave = Event(), Event()

    def stay() -> bool:
        with exact_arithmetic():
            inside.set()
            leave.wait()
            return torch.backends.cudnn.deterministic and not torch.backends.cudnn.allow_tf32

    with ThreadPoolExecutor(1) as pool:
        staying = pool.submit(stay)
        inside.wait()
        with exact_arithmetic():
            pass
        leave.set()
        assert staying.result()
    assert not torch.backends.cudnn.deterministic


def test_matrix_products_are_exact_whatever_the_caller_chose() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with exact_arithmetic():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_callers_may_choose_by_the_newer_way() -> None:
    products = torch.backends.cuda.matmul
    if not hasattr(products, "fp32_precision"):
        pytest.skip("this torch has the older way alone")
    before = products.fp32_precision
    products.fp32_precision = "tf32"
    try:
        with exact_arithmetic():
            assert products.fp32_precision == "ieee"
        assert products.fp32_precision == "tf32" and not torch.backends.cudnn.deterministic
    finally:
        products.fp32_precision = before
