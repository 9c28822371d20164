"""`invad evaluate` and `invad report`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from invad.evaluation import Evaluation, evaluate
from invad.metrics import KEYS, PROTOCOLS, Protocol, footnotes, to_rich


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluate:
    """Compute all metrics of a run on test images: tables here, and as JSON, CSV and Markdown in its folder."""

    run_path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder made by `invad train`."""
    data: tuple[str, ...] = ()
    """Data sets as LAYOUT:ROOT. None given: those that the run was trained on."""
    classes: tuple[str, ...] = ()
    """The classes to evaluate. None given: all."""
    views: tuple[str, ...] = ()
    """The cameras to evaluate, of sets that have several (realiad: C1 to C5). None given: all."""
    split: Literal[0, 1, 2, 3] | None = None
    """Which split of COCO-AD, where --data names it."""
    protocol: Literal["both", "exact", "paper"] = "both"
    """exact: every distinct score is a threshold; paper: the published toolbox's habits, for its numbers."""
    bootstrap: int = 0
    """Resamples for 95 % confidence intervals over images; 0: none."""
    report: bool = True
    """Write a page with pictures too."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the first accelerator there is."""

    def run(self) -> None:
        """Evaluate, write, print."""
        protocols: tuple[Protocol, ...] = PROTOCOLS if self.protocol == "both" else (self.protocol,)
        evaluation = evaluate(
            self.run_path,
            data=self.data,
            classes=self.classes,
            views=self.views,
            split=self.split,
            protocols=protocols,
            bootstrap=self.bootstrap,
            device=self.device,
        )
        show(evaluation)
        if self.report:
            from invad.reporting import report

            page = report(self.run_path, evaluation, device=self.device)
            Console().print(f"report: {page}", highlight=False, soft_wrap=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Evaluate a run by the exact protocol and write a page to look at."""

    run_path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder made by `invad train`."""
    data: tuple[str, ...] = ()
    """Data sets as LAYOUT:ROOT. None given: those that the run was trained on."""
    views: tuple[str, ...] = ()
    """The cameras to evaluate, of sets that have several (realiad: C1 to C5). None given: all."""
    split: Literal[0, 1, 2, 3] | None = None
    """Which split of COCO-AD, where --data names it."""
    bootstrap: int = 200
    """Resamples for 95 % confidence intervals over images; 0: none."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the first accelerator there is."""

    def run(self) -> None:
        """Evaluate and write the page."""
        from invad.reporting import report

        evaluation = evaluate(
            self.run_path,
            data=self.data,
            views=self.views,
            split=self.split,
            bootstrap=self.bootstrap,
            device=self.device,
        )
        page = report(self.run_path, evaluation, device=self.device)
        Console().print(f"report: {page}", highlight=False, soft_wrap=True)


WIDE = 200
"""Columns of a terminal that shows all metrics side by side."""
GROUPS = (
    ("auroc_image", "ap_image", "f1max_image", "mad_image", "mad"),
    ("aupro", "auroc_pixel", "ap_pixel", "f1max_pixel", "mad_pixel"),
    ("f1_range", "acc_range", "iou_range", "mad_range", "iou_max"),
)
"""How the metrics are divided into tables for narrower ones."""


def show(evaluation: Evaluation) -> None:
    """Print the table of every protocol, in parts where the terminal is narrow, then each note once."""
    console = Console()
    for results in evaluation.results:
        for keys in (KEYS,) if console.width >= WIDE else GROUPS:
            console.print(to_rich(results, keys=keys))
    for note in dict.fromkeys(note for results in evaluation.results for note in footnotes(results)):
        console.print(f"note: {note}", highlight=False, markup=False)
