"""One interface to a model, whatever runs it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from invad.data.resizing import resize_image
from invad.devices import exact_arithmetic, to_device
from invad.inference.cuda_graphs import CudaGraphs
from invad.inference.folding import fold, save_multiplications
from invad.model import InvAD
from invad.records import Size
from invad.scoring import anomaly_map, image_score

Scores = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Maps (B, H, W) and image scores (B,)."""


class Scorer(Protocol):
    """A model that is ready: a run's, or one in an exported file."""

    size: Size
    """Height and width of its maps. Images of this size are not resized."""

    def __call__(self, images: NDArray[np.uint8]) -> Scores:
        """Return maps (B, H, W) float32 and scores (B,) of RGB images (B, any height, any width, 3)."""
        ...


class TorchScorer:
    """A module that maps images (B, 3, H, W) of the model's size to maps and scores.

    Args:
        module: of the model.
        size: height and width that images are resized to.
        device: to compute on.
        threads: to compute with; None: torch's choice.

    Example:
        >>> from invad.model import build_model
        >>> model = build_model("resnet18", weights="random", image_size=(64, 64), blocks=(1, 1, 1))
        >>> maps, scores = folded_scorer(model, (64, 64))(np.zeros((2, 90, 70, 3), dtype=np.uint8))
        >>> maps.shape, scores.shape
        ((2, 64, 64), (2,))
    """

    def __init__(self, module: nn.Module, size: Size, device: torch.device, threads: int | None = None) -> None:
        self.size = size
        self._module = module.to(device)
        self._device = device
        self._threads = threads

    def __call__(self, images: NDArray[np.uint8]) -> Scores:
        """Return maps (B, H, W) and scores (B,) of images (B, any height, any width, 3), resized as Pillow does."""
        sized = np.stack([resize_image(image, self.size) for image in images])
        with torch.inference_mode(), exact_arithmetic(), torch_threads(self._threads):
            maps, scores = self._module(to_device(sized, self._device))
        return maps.cpu().numpy(), scores.cpu().numpy()


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """A context in which torch computes with so many threads; None: with as many as before it."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count is not None:
            torch.set_num_threads(before)


def folded_scorer(
    model: InvAD, size: Size, device: torch.device | None = None, *, threads: int | None = None
) -> TorchScorer:
    """Return the scorer of a trained model in its inference form (see `fold`); arguments as `TorchScorer`."""
    folded, device = fold(model, size), device or torch.device("cpu")
    if device.type == "cpu":
        save_multiplications(folded)
    if device.type == "cuda":
        return TorchScorer(CudaGraphs(folded.to(memory_format=torch.contiguous_format)), size, device, threads)
    return TorchScorer(folded, size, device, threads)


def plain_scorer(model: InvAD, size: Size) -> TorchScorer:
    """Return the scorer of a model as it was trained, as evaluation runs it: what all others are compared with."""
    return TorchScorer(_Plain(model, size).eval(), size, next(model.trained_parameters()).device)


class _Plain(nn.Module):
    """The model as it was trained, with its map."""

    def __init__(self, model: InvAD, size: Size) -> None:
        super().__init__()
        self.model, self.size = model, size

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return maps and scores of images (B, 3, H, W)."""
        features, predictions = self.model(images)
        maps = anomaly_map(features, predictions, self.size, sigma=self.model.sigma)
        return maps, image_score(maps)
