"""A model's kernels on an NVIDIA GPU, recorded once for each shape of input and then started together.

A small batch leaves a GPU waiting for Python, which starts several hundred kernels one by one. A recorded graph of them
starts at once, and computes the same bits.
"""

import warnings
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from invad.cuda_recording import beside_others, recorded_as

MOST_SHAPES = 16
"""Shapes of input that are recorded, each of which holds memory; those that come later are computed without."""
WARM_UP = 2
"""Times that the module runs before it is recorded, in which libraries choose kernels and allocate what they keep."""

Outputs = tuple[Tensor, Tensor]
"""Maps (B, H, W) and scores (B,)."""


class CudaGraphs(nn.Module):
    """A module whose kernels are started together; its results are the module's, to the bit.

    It is called under `torch.inference_mode`, by any number of threads.

    Args:
        module: maps images on a GPU to maps and scores, by kernels that depend on the images' shape alone. One that
            cannot be recorded, since it waits for the GPU in between or memory runs out, is called as it is from then
            on; a warning says so, once.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._recorded: dict[tuple[torch.Size, torch.dtype], _Recorded] = {}
        self._recordable = True
        self._pool: Any = None
        self._lock = Lock()

    def forward(self, images: Tensor) -> Outputs:
        """Return maps and scores of uint8 images, (B, ...), on the module's GPU."""
        images = images.contiguous()  # cuDNN would turn maps around for fp32 convolutions where channels lie last
        key = images.shape, images.dtype
        with self._lock, torch.cuda.device(images.device):
            if key not in self._recorded and self._recordable and len(self._recorded) < MOST_SHAPES:
                self._record(images)
            if key in self._recorded:
                return self._recorded[key].replay(images)
        return self.module(images)  # type: ignore[no-any-return]

    def _record(self, images: Tensor) -> None:
        """Record the kernels for images of this shape, if they can be recorded."""
        images = images.clone()
        with beside_others(images.device):
            for _ in range(WARM_UP):
                self.module(images)
        graph = torch.cuda.CUDAGraph()
        try:
            with recorded_as(graph, images.device, self._pool):
                maps, scores = self.module(images)
        except RuntimeError as error:
            self._recordable = False
            reason = str(error).partition("\n")[0]
            warnings.warn(
                f"the model's kernels cannot be recorded for images of shape {tuple(images.shape)} ({reason}), so for "
                f"this and further shapes they are started one by one: results are the same, small batches take longer",
                stacklevel=2,
            )
            return
        self._pool = graph.pool()  # one after the other, graphs can use the same memory
        self._recorded[images.shape, images.dtype] = _Recorded(graph=graph, images=images, outputs=(maps, scores))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Recorded:
    """A graph, and the tensors that it reads and writes whenever it is replayed."""

    graph: torch.cuda.CUDAGraph
    images: Tensor
    outputs: Outputs

    def replay(self, images: Tensor) -> Outputs:
        """Return what the graph makes of other images."""
        self.images.copy_(images)
        self.graph.replay()
        maps, scores = self.outputs
        return maps.clone(), scores.clone()
