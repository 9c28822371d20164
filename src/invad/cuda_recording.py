"""Recording kernels on an NVIDIA GPU as a graph, which starts them together; for scoring and for training.

Reference: decision 019.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch

_one_at_a_time = Lock()


@contextmanager
def recorded_as(graph: torch.cuda.CUDAGraph, device: torch.device, pool: Any = None) -> Iterator[None]:
    """A context whose kernels on the device become the graph, and are not computed.

    A process records one graph at a time; other threads may compute and allocate meanwhile.

    Args:
        graph: a new one.
        device: the GPU.
        pool: of memory, of a graph that never runs at the same time; None: one of its own.

    Raises:
        RuntimeError: something in it cannot be recorded, or memory runs out.
    """
    beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with (
        _one_at_a_time,
        torch.cuda.device(device),
        torch.cuda.stream(torch.cuda.current_stream(device)),  # which is current again, whatever happens
        torch.cuda.graph(graph, pool=pool, stream=beside, capture_error_mode="thread_local"),
    ):
        yield


@contextmanager
def beside_others(device: torch.device) -> Iterator[None]:
    """A context whose kernels run on a stream of their own, as recorded ones do; what comes after waits for them."""
    here, beside = torch.cuda.current_stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    beside.wait_stream(here)
    with torch.cuda.stream(beside):
        yield
    here.wait_stream(beside)
