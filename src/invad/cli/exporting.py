"""`invad export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from invad.errors import command


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """Write a run as one model file, from the photo's pixels to map and score, and check that it scores the same.

    Below fp32 the scores move a little: of a calibrated run it says how many images the file decides differently, and
    takes its thresholds from its own scores of the images held back in training, if these are still there. Otherwise
    `invad calibrate FILE --normal FOLDER` does so.
    """

    run_path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder made by `invad train`."""
    to: Literal["onnx", "openvino", "pt2"]
    """What will run it: ONNX Runtime, OpenVINO, or PyTorch (an exported program)."""
    out: Path
    """The file: .onnx, .xml (a .bin is put beside it) or .pt2."""
    precision: Literal["fp32", "fp16", "bf16", "int8"] = "fp32"
    """The arithmetic of encoder, neck and decoder; the map stays fp32. onnx has fp32, fp16 and int8, pt2 fp32,
    fp16 and bf16."""
    normal: tuple[str, ...] = ()
    """Normal images, for int8 and for the check: files, folders, patterns or manifests. None given: the run's training
    images."""
    max_drop: float = 0.5
    """What a precision below fp32 may cost: points of image AUROC on the run's test images, or of agreement with the
    run where it has none; inf allows any."""
    overwrite: bool = False
    """Replace a file that is there."""

    def run(self) -> None:
        """Export, check, and say what the check found."""
        from invad.inference.exporting import export

        found = export(
            self.run_path,
            self.out,
            to=self.to,
            precision=self.precision,
            normal=self.normal,
            max_drop=self.max_drop,
            overwrite=self.overwrite,
        )
        files = (found.path, found.path.with_suffix(".bin")) if self.to == "openvino" else (found.path,)
        size = sum(path.stat().st_size for path in files) / 2**20
        print(f"{found.path}: {self.precision}, {size:.1f} MiB")
        print(f"checked on {found.images}: largest difference from the run's")
        print(f"  map    {found.differences.map:.2g} of its range")
        print(f"  score  {found.differences.score:.2g} of the maps' range")
        if found.loss is not None:
            loss = found.loss
            print(f"  {loss.measure}: {loss.before:.2f} before, {loss.after:.2f} after, on {loss.images}")
        if found.decisions is not None:
            decisions = found.decisions
            print(
                f"decides {decisions.different} of {decisions.images} images differently at the run's thresholds; its "
                f"scores differ by {decisions.shift:+.2g} in the median"
            )
            print(
                "its own thresholds are taken from its own scores of the images held back in training"
                if found.recalibrated
                else f"its thresholds come from the run's scores; take them from its own by "
                f"`{command('calibrate', found.path, '--normal', 'FOLDER', '--overwrite')}`"
            )
