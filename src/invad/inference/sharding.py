"""Which part of the work this process has, when `torchrun` started several."""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from invad.errors import RunError, SettingsError

LOOK_SECONDS = 0.2
"""Between two looks for what another process says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Every so many-th image, counted from 0: process `rank` of `count` has images rank, rank + count, and so on."""

    rank: int = 0
    count: int = 1
    local: int = 0
    """The process's number on its own machine, which chooses its accelerator."""

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.count == 1

    @property
    def first(self) -> bool:
        """Whether this process begins the job, and merges the lines of all at the end."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """Return the device for this process: where `name` is `auto`, each on a machine has its own accelerator.

        Example:
            >>> Shard(rank=5, count=8, local=1).device("auto")
            'auto:1'
        """
        return f"auto:{self.local}" if name == "auto" and not self.alone else name


def current_shard(environment: Mapping[str, str] = os.environ) -> Shard:
    """Return the part of the process that the environment variables of `torchrun` describe; all where there are none.

    Raises:
        SettingsError: they make no sense.

    Example:
        >>> current_shard({"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
        Shard(rank=1, count=4, local=1)
    """
    if "WORLD_SIZE" not in environment:
        return Shard()
    found = {name: environment.get(name, "0") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    if not all(value.isdecimal() for value in found.values()) or int(found["RANK"]) >= int(found["WORLD_SIZE"]):
        raise SettingsError(f"expected RANK below WORLD_SIZE in the environment, as torchrun sets them; got {found}")
    return Shard(rank=int(found["RANK"]), count=int(found["WORLD_SIZE"]), local=int(found["LOCAL_RANK"]))


def from_first(shard: Shard, value: Callable[[], str | None]) -> str | None:
    """Return what the first process computes in all of them, as soon as all of them have come here.

    They meet at the store of `torchrun`, MASTER_ADDR and MASTER_PORT. A process group would take connections from each
    machine to each other, and all that predictions need to agree on is this one value.

    Raises:
        RunError: the other processes cannot be reached, or are gone.
        SettingsError: the environment does not say where the processes meet.
    """
    if shard.alone:
        return value()
    from torch.distributed import DistError
    from torch.distributed.rendezvous import rendezvous

    key = f"invad/predict/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    others = [f"{key}/{rank}" for rank in range(1, shard.count)]
    try:
        store, _, _ = next(rendezvous("env://"))
    except ValueError as error:
        raise SettingsError(f"several processes must be started by torchrun, by which they meet: {error}") from error
    except DistError as error:
        raise RunError(f"process {shard.rank} cannot reach the first process: {error}") from error
    try:
        if shard.first:
            store.set(key, json.dumps(value()))
        while not store.check(others if shard.first else [key]):  # a wait in the store would not hear Ctrl-C
            time.sleep(LOOK_SECONDS)
        said: str | None = json.loads(store.get(key))
        if not shard.first:
            store.set(f"{key}/{shard.rank}", "heard")  # the first may keep the store, and leave once all have heard
    except DistError as error:
        raise RunError(f"process {shard.rank} lost the others before it began: {error}") from error
    return said
