"""`invad evaluate` and `invad report`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from invad.errors import SettingsError, command
from invad.evaluation import evaluate, evaluate_maps
from invad.metrics import KEYS, PROTOCOLS, Protocol, Results, footnotes, to_rich
from invad.processes import is_first
from invad.runs import Run

BOOTSTRAP = 200
"""Resamples where nothing else is asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluate:
    """Compute all metrics of a run on test images: tables here, and as JSON, CSV and Markdown in its folder."""

    run_path: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = None
    """A run folder made by `invad train`, or a file made by `invad export`; left out with --from-maps."""
    data: tuple[str, ...] = ()
    """Data sets as LAYOUT:ROOT. None given: those that the run was trained on; an exported file needs some."""
    classes: tuple[str, ...] = ()
    """The classes to evaluate. None given: all."""
    views: tuple[str, ...] = ()
    """The cameras to evaluate, of sets that have several (realiad: C1 to C5). None given: all."""
    split: Literal[0, 1, 2, 3] | None = None
    """Which split of COCO-AD, where --data names it."""
    protocol: Literal["both", "exact", "paper"] = "both"
    """exact: every distinct score is a threshold; paper: the published toolbox's habits, for its numbers."""
    bootstrap: int | None = None
    """Resamples for the 95 % confidence intervals over images, of the protocol exact, which stand in the written tables
    and the report; 0: none. None: 200 where there are such."""
    threshold: float | None = None
    """The image score from which on an image counts as found: gives the recall of each type of defect. None: that of
    the run's calibration, if it has one."""
    save_maps: Path | None = None
    """An empty folder to write the anomaly maps into, for --from-maps."""
    from_maps: Path | None = None
    """Maps on disk, of this program or another (see docs/metrics.md): metrics without a model, written beside them."""
    out: Path | None = None
    """Of an exported file: a folder, new or empty, for JSON, CSV and Markdown. None: tables here alone."""
    report: bool = True
    """Write a page with pictures too; of a run alone."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the first accelerator there is."""

    def run(self) -> None:
        """Evaluate, write, print."""
        protocols: tuple[Protocol, ...] = PROTOCOLS if self.protocol == "both" else (self.protocol,)
        if self.from_maps is not None:
            self._refuse_with_maps()
            bootstrap = self._resamples(protocols, written=True)
            show(evaluate_maps(self.from_maps, protocols=protocols, bootstrap=bootstrap, threshold=self.threshold))
            return
        if self.run_path is None:
            raise SettingsError(
                "what is to be evaluated? Name a run folder, an exported file, or maps by --from-maps FOLDER"
            )
        evaluation = evaluate(
            self.run_path,
            data=self.data,
            classes=self.classes,
            views=self.views,
            split=self.split,
            protocols=protocols,
            bootstrap=self._resamples(protocols, written=self.out is not None or not self.run_path.is_file()),
            threshold=self.threshold,
            save_maps=self.save_maps,
            out=self.out,
            device=self.device,
            quiet=not is_first(),
        )
        if not is_first():
            return
        show(evaluation.results)
        if self.run_path.is_dir() and not Run(self.run_path).complete:
            print(
                f"this run is not complete: the numbers are those of its newest checkpoint, and there is no report. "
                f"Finish it by `{command('train', '--resume', self.run_path)}`"
            )
        elif self.report and self.run_path.is_dir():
            from invad.reporting import report

            page = report(self.run_path, device=self.device)
            print(f"report: {page}")

    def _resamples(self, protocols: Sequence[Protocol], *, written: bool) -> int:
        """Those asked for, or where intervals are drawn of a protocol and tables written that show them, 200."""
        if self.bootstrap is None:
            return BOOTSTRAP if written and "exact" in protocols else 0
        if self.bootstrap > 0 and not written:
            raise SettingsError(
                "--bootstrap gives intervals in the written tables, and an exported file has none without --out "
                "FOLDER; name one, or leave --bootstrap out"
            )
        return self.bootstrap

    def _refuse_with_maps(self) -> None:
        """No option that needs a model is passed over in silence."""
        plain = type(self)()
        for name in ("run_path", "data", "classes", "views", "split", "save_maps", "out", "device"):
            if getattr(self, name) != getattr(plain, name):
                option = "MODEL" if name == "run_path" else f"--{name.replace('_', '-')}"
                raise SettingsError(f"{option} cannot go with --from-maps, which needs no model: leave one of them out")


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Write a page to look at: of one run, or of two side by side over the same test images.

    One run shows its last evaluation; it is evaluated first, by both protocols, where it was not since its model and
    calibration are what they are, or where other data or resamples are asked for. Two runs are scored anew, in pairs.
    """

    run_paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN]")]
    """One or two run folders made by `invad train`."""
    data: tuple[str, ...] = ()
    """Data sets as LAYOUT:ROOT. None given: those that the run was trained on."""
    views: tuple[str, ...] = ()
    """The cameras to evaluate, of sets that have several (realiad: C1 to C5). None given: all."""
    split: Literal[0, 1, 2, 3] | None = None
    """Which split of COCO-AD."""
    bootstrap: int | None = None
    """Resamples for 95 % confidence intervals over images; 0: none. None: those of the last evaluation, or 200."""
    out: Path | None = None
    """The file to write. None: report.html, or beside-NAME.html for two, in `evaluation` in the first run."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the first accelerator there is."""

    def run(self) -> None:
        """Evaluate where that is needed, and write the page."""
        if len(self.run_paths) not in (1, 2):
            raise SettingsError(f"a report shows one run, or two side by side; got {len(self.run_paths)} folders")
        page = self._one(self.run_paths[0]) if len(self.run_paths) == 1 else self._two(*self.run_paths)
        if page is not None:
            print(f"report: {page}")

    def _one(self, path: Path) -> Path | None:
        """The page of one run; None in all processes but the first."""
        from invad.reporting import is_evaluated, report

        asked = bool(self.data or self.views or self.split is not None or self.bootstrap is not None)
        if asked or not is_evaluated(path):
            evaluate(
                path,
                data=self.data,
                views=self.views,
                split=self.split,
                bootstrap=BOOTSTRAP if self.bootstrap is None else self.bootstrap,
                device=self.device,
                quiet=not is_first(),
            )
        return report(path, out=self.out, device=self.device) if is_first() else None

    def _two(self, first: Path, second: Path) -> Path | None:
        """The page of two runs; None in all processes but the first, which does all of it."""
        from invad.side_by_side import report_beside

        if not is_first():
            return None
        return report_beside(
            first,
            second,
            data=self.data,
            views=self.views,
            split=self.split,
            resamples=BOOTSTRAP if self.bootstrap is None else self.bootstrap,
            out=self.out,
            device=self.device,
        )


WIDE = 200
"""Columns of a terminal that shows all metrics side by side."""
GROUPS = (
    ("auroc_image", "ap_image", "f1max_image", "mad_image", "mad"),
    ("aupro", "auroc_pixel", "ap_pixel", "f1max_pixel", "mad_pixel"),
    ("f1_range", "acc_range", "iou_range", "mad_range", "iou_max"),
)
"""How the metrics are divided into tables for narrower ones."""


def show(found: Sequence[Results]) -> None:
    """Print what is defined by every protocol, in parts where the terminal is narrow, then each note once."""
    console = Console()
    for results in found:
        defined = {key for one in results.classes for key, value in one.values.items() if value is not None}
        if not defined:
            print(f"Protocol: {results.protocol}. No metric is defined; the notes say why.")
        for group in (KEYS,) if console.width >= WIDE else GROUPS:
            if keys := [key for key in group if key in defined]:
                console.print(to_rich(results, keys=keys))
    for note in dict.fromkeys(note for results in found for note in footnotes(results)):
        console.print(f"note: {note}", highlight=False, markup=False)
