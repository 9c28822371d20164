"""Which part of the work this process has, when `torchrun` started several."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from invad.errors import SettingsError


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
