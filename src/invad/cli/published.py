"""`invad import-weights` and `invad results`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportWeights:
    """Make a run of a checkpoint that the authors published; see `invad results` for where they are."""

    file: Annotated[Path, tyro.conf.Positional]
    """The checkpoint, a .pth file. No code in it is run."""
    model: Literal["invad", "invad-lite"]
    """Which model it is."""
    data: str
    """What it was trained on: a layout such as mvtec, or LAYOUT:ROOT, whose normal images give the colour scale."""
    out: Path
    """The run folder to make."""
    split: Literal[0, 1, 2, 3] | None = None
    """Which split of COCO-AD it was trained on."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the first accelerator there is."""

    def run(self) -> None:
        """Import, and say what to do next."""
        from invad.importing import import_weights

        run = import_weights(
            self.file, self.out, model=self.model, data=self.data, split=self.split, device=self.device
        )
        more = "" if run.settings().data else f" --data {self.data}:ROOT"
        print(f"imported: {run.path}. Next: invad evaluate {run.path}{more}")
