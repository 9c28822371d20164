"""`invad import-weights` and `invad results`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from invad.errors import command


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportWeights:
    """Make a run of a checkpoint that the authors published; `invad results` says where, if asked for downloads."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]
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
        more: list[object] = [] if run.settings().data else ["--data", f"{self.data}:ROOT"]
        more += [] if self.split is None else ["--split", self.split]
        print(f"imported: {run.path}. Next: {command('evaluate', run.path, *more)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """Show the published table, and beside it the runs given, with their differences from it.

    Differences between protocols say little: published numbers are by the protocol `paper`. A run that was evaluated on
    other classes or views than are published, or before its model was what it is, is shown with a note and without
    differences. The four splits of COCO-AD, given together, get a line with their mean.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = ()
    """Run folders that have been evaluated."""
    printed: bool = False
    """Show the table as printed, with its shifted columns, instead of corrected."""
    format: Literal["markdown", "csv", "json"] = "markdown"
    """How to print it."""
    downloads: bool = False
    """Show where the authors' logs and weights are, instead of the results."""

    def run(self) -> None:
        """Print."""
        from invad.comparison import compare, to_csv, to_json, to_markdown

        if self.downloads:
            print(links(self.format), end="")
            return
        formats = {"markdown": to_markdown, "csv": to_csv, "json": to_json}
        print(formats[self.format](compare(self.runs, printed=self.printed)), end="")


def links(how: Literal["markdown", "csv", "json"]) -> str:
    """Return where the authors' logs and weights are, as a table."""
    from invad.reference import downloads

    rows = downloads()
    if how == "json":
        return json.dumps(rows, indent=1) + "\n"
    table = [list(rows[0]), *(list(row.values()) for row in rows)]
    if how == "csv":
        return "".join(",".join(row) + "\n" for row in table)
    table.insert(1, [":---"] * len(rows[0]))
    return "".join("| " + " | ".join(row) + " |\n" for row in table)
