"""The processes that share one piece of work: those that `torchrun` or `accelerate launch` started, or just this one.

Writing, printing and logging is the first process's affair; the others compute. If one fails, its launcher stops all.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from invad.devices import choose_device
from invad.errors import ImageError, SettingsError

T = TypeVar("T")

LONGEST_WAIT = timedelta(days=7)
"""How long processes wait for each other: the first may download, hash a million files or compute intervals meanwhile.
One that dies is noticed by the launcher at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Processes:
    """How many there are, which one this is, and the device that is its own.

    Example:
        >>> import numpy as np
        >>> Processes(rank=1, count=2, device=torch.device("cpu")).share(np.arange(5)).tolist()
        [1, 3]
    """

    rank: int = 0
    count: int = 1
    device: torch.device
    on_host: int = 1
    """How many of them share the memory of this one's host."""

    @property
    def first(self) -> bool:
        """Whether this one writes, prints and logs."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.count > 1

    def share(self, items: NDArray[Any]) -> NDArray[Any]:
        """Return every `count`-th of the items (N,): together the processes' shares are all of them, each once."""
        return items[self.rank :: self.count]

    def any(self, here: bool) -> bool:
        """Return whether it is true in any process."""
        if not self.several:
            return here
        flag = torch.tensor(float(here), device=self.device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return bool(flag.item())

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        """A context that an image which cannot be read ends in every process, so that none waits for one that is gone.

        Raises:
            ImageError: this process cannot read an image, or another one cannot.
        """
        try:
            yield
        except ImageError:
            self.any(True)
            raise
        if self.any(False):
            raise ImageError("another process cannot read an image; its own message says which")

    def wait(self) -> None:
        """Return when all processes have come here."""
        self.any(False)

    def gather(self, value: T) -> list[T]:
        """Return every process's value, in the order of their ranks."""
        if not self.several:
            return [value]
        from accelerate.utils import gather_object

        return list(gather_object([value]))

    def fill_from(self, rank: int, values: Tensor) -> None:
        """Fill a contiguous tensor, on any device, with what one of the processes holds in its place."""
        if not self.several:
            return
        here = values.view(torch.uint8)  # as bytes: not every backend knows bf16
        sent = here.to(self.device)
        torch.distributed.broadcast(sent, rank)
        here.copy_(sent)

    def from_first(self, value: T | None) -> T:
        """Return the first process's value in all of them, which wait for it."""
        values = [value]
        if self.several:
            from accelerate.utils import broadcast_object_list

            broadcast_object_list(values)
        return values[0]  # type: ignore[return-value]


def is_first() -> bool:
    """Return whether this process writes and prints; a launcher says so before any process is joined to the others.

    Example:
        >>> is_first()
        True
    """
    return int(os.environ.get("RANK", "0")) == 0


def start_processes(device: str) -> Processes:
    """Return this process among those that a launcher started, each with a device of its own; or alone.

    Args:
        device: as in `TrainSettings`; among several processes each takes the accelerator of its local rank.

    Raises:
        SettingsError: there is no such device, or several processes are to share one accelerator.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(device=choose_device(device))
    if ":" in device:
        raise SettingsError(
            f"device {device} is one accelerator, but there are several processes; leave its number out"
        )
    from accelerate import PartialState

    state = PartialState(cpu=choose_device(device).type == "cpu", timeout=LONGEST_WAIT)
    return Processes(
        rank=state.process_index,
        count=state.num_processes,
        device=torch.device(state.device),
        on_host=int(os.environ.get("LOCAL_WORLD_SIZE", state.num_processes)),
    )


def end_processes() -> None:
    """Leave the other processes; alone, do nothing.

    A program that ends without it may end by an abort: threads that listen to the others still run then.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
