"""`invad data check` and `invad data synthetic`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from invad.data import check_dataset, make_synthetic, open_dataset, render
from invad.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """Look for faults in a data set without training: counts, unreadable files, masks, duplicates.

    The exit status is 2 where something would stop a training or make its numbers wrong.
    """

    data: Annotated[str, tyro.conf.Positional]
    """The data set as LAYOUT:ROOT, or its root alone."""
    classes: tuple[str, ...] = ()
    """The classes to check. None given: all."""

    def run(self) -> None:
        """Print the report."""
        report = check_dataset(self.data, self.classes)
        print(render(report))
        if report.errors:
            raise DataError(f"{len(report.errors)} faults in {self.data}; see above")


@dataclass(frozen=True, kw_only=True, slots=True)
class Synthetic:
    """Make a data set to try things on: textures and objects, defects with exact masks, the same at every call."""

    root: Annotated[Path, tyro.conf.Positional]
    """The folder to make it in."""
    seed: int = 0
    """Another seed makes other images."""

    def run(self) -> None:
        """Make it, and say what was made."""
        make_synthetic(self.root, seed=self.seed)
        data = open_dataset(f"synthetic:{self.root}")
        print(f"{len(data.records)} images of {len(data.classes)} classes in {self.root} ({', '.join(data.classes)})")
