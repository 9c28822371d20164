"""`invad calibrate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from invad.errors import command
from invad.inference.calibrating import calibrate
from invad.inference.calibration import Calibration
from invad.inference.thresholds import Threshold, images_needed


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibrate:
    """Choose the thresholds of a run or an exported file from normal images, for a wanted false-alarm rate, or from
    labelled ones.

    Without --normal and --labelled the images that the training of a run held back are taken. Test images are used
    only where they are named, and the calibration then says so. A file is calibrated on its own scores, and the result
    written into it; it does not know what it was trained on, so name images that it has not seen.
    """

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run folder, or a file that `invad export` made."""
    normal: tuple[str, ...] = ()
    """Normal images that were not trained on: files, folders, patterns or manifests."""
    false_alarms: float | None = None
    """The share of normal images that may count as anomalous, without --labelled. None: 0.01."""
    labelled: str | None = None
    """Images known to be normal or not, as LAYOUT:ROOT: the threshold of the best F1, or of --recall."""
    recall: float | None = None
    """The share of anomalous images to find, with --labelled."""
    regions: float | None = None
    """The share of normal images that may have a region. None: regions begin at the image's threshold."""
    class_name: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """The class of all images of --normal. None: the one whose name a folder above an image bears."""
    overwrite: bool = False
    """Replace a calibration that is there."""
    quiet: bool = False
    """Show no progress."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the first accelerator there is."""

    def run(self) -> None:
        """Calibrate, and say what was chosen and what it promises."""
        show(
            calibrate(
                self.path,
                normal=self.normal,
                labelled=self.labelled,
                false_alarms=self.false_alarms,
                recall=self.recall,
                regions=self.regions,
                class_name=self.class_name,
                overwrite=self.overwrite,
                device=self.device,
                quiet=self.quiet,
            )
        )


def promise(calibration: Calibration, model: Path) -> str:
    """Return what a model's overall threshold promises, and how to have another, in a line."""
    threshold = calibration.overall
    return (
        f"thresholds: from {threshold.normal} normal images {calibration.images}; about "
        f"{_percent(threshold.false_alarms)} of good ones will be flagged "
        f"({_interval(threshold.false_alarm_interval)}). "
        f"By more images: {command('calibrate', model, '--normal', 'FOLDER', '--overwrite')}"
    )


def show(calibration: Calibration) -> None:
    """Print the thresholds, their promises, and what would make them tighter."""
    console = Console()
    table = Table("class", "threshold", "normal images", "false alarms", f"{calibration.confidence:.0%} interval")
    if calibration.overall.anomalous:
        table.add_column("recall")
        table.add_column(f"{calibration.confidence:.0%} interval")
    for name, threshold in [*calibration.classes.items(), ("overall", calibration.overall)]:
        table.add_row(Text(name), *_cells(threshold))
    console.print(table)
    said = (*_advice(calibration), *calibration.notices, *calibration.places)
    for text in (f"calibrated on: {calibration.images}", *said):
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _cells(threshold: Threshold) -> list[str]:
    cells = [f"{threshold.image:.4f}", str(threshold.normal), _percent(threshold.false_alarms)]
    cells.append(_interval(threshold.false_alarm_interval))
    if threshold.recall is not None and threshold.recall_interval is not None:
        cells += [_percent(threshold.recall), _interval(threshold.recall_interval)]
    return cells


def _advice(calibration: Calibration) -> list[str]:
    """How many images make the interval narrower."""
    if calibration.method != "false-alarms" or calibration.wanted is None:
        return []
    rate = calibration.wanted
    wider = [(f"{upper:.3g} %", images_needed(rate, upper / 100)) for upper in (300 * rate, 200 * rate) if upper < 100]
    needs = ", ".join(f"at most {end} with {count:,} normal images" for end, count in wider)
    return (
        [f"for a true rate that is, with {(1 + calibration.confidence) / 2:.1%} confidence, {needs}"] if needs else []
    )


def _interval(interval: tuple[float, float]) -> str:
    return f"{_percent(interval[0])} to {_percent(interval[1])}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
