"""`invad predict`."""

import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image

from invad.data.images import SUFFIXES, read_image
from invad.errors import DataError, RunError, SettingsError
from invad.files import write_bytes, write_text
from invad.inference import Prediction, load
from invad.report.figures import overlay
from invad.runs import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Predict:
    """Score images with a model: a JSON line and a picture for each, one colour scale for all of them."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run folder made by `invad train`, or a file made by `invad export`."""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE_OR_FOLDER")]
    """Images, or folders that are searched for them."""
    out: Path = Path("predictions")
    """The folder for predictions.jsonl and the pictures."""
    threshold: float | None = None
    """The score from which on an image counts as anomalous. None: no decisions."""
    scale: tuple[float, float] | None = None
    """The map values shown as untouched and as full colour. None: the model's own scale, from its normal images."""
    overlays: bool = True
    """Write a picture for each image with its map laid over it."""
    maps: bool = False
    """Write each raw map as a NumPy file (H, W) float32 too."""
    overwrite: bool = False
    """Replace the predictions that are in the folder."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the first accelerator there is."""

    def run(self) -> None:
        """Score every image, in order."""
        paths = list_images(self.images)
        names = output_names(paths)
        lines_file = self.out / "predictions.jsonl"
        if lines_file.exists() and not self.overwrite:
            raise RunError(f"{lines_file} exists; choose another --out, or pass --overwrite")
        predictor = load(self.model, threshold=self.threshold, device=self.device)
        low, high = self.scale or predictor.scale or Run.open(self.model).scale()
        if not low < high:
            raise SettingsError(f"--scale needs a low value below the high one, not {low} {high}")
        lines = []
        for path, name, prediction in zip(paths, names, predictor.stream(paths), strict=True):
            files = self._write(path, name, prediction, low, high)
            line = {"image": str(path), "score": prediction.score, "anomalous": prediction.anomalous, **files}
            lines.append(json.dumps(line))
            print(lines[-1])
        write_text(lines_file, "\n".join(lines) + "\n")

    def _write(self, path: Path, name: str, prediction: Prediction, low: float, high: float) -> dict[str, str]:
        """The files of one image; returns their paths."""
        files = {}
        if self.overlays:
            target = self.out / f"{name}.overlay.jpg"
            write_bytes(target, _jpeg(overlay(read_image(path), prediction.map, low, high)))
            files["overlay"] = str(target)
        if self.maps:
            target = self.out / f"{name}.map.npy"
            write_bytes(target, _npy(prediction.map))
            files["map"] = str(target)
        return files


def list_images(roots: tuple[Path, ...]) -> list[Path]:
    """Return the images that are named or lie in named folders, sorted within each.

    Raises:
        DataError: a path does not exist, or a folder holds no image.
    """
    return [path for root in roots for path in _images_under(root)]


def _images_under(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    if not root.is_dir():
        raise DataError(f"there is no image or folder {root}")
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise DataError(f"{root} holds no image; expected files that end in {', '.join(sorted(SUFFIXES))}")
    yield from found


def output_names(paths: list[Path]) -> list[str]:
    """Return a distinct plain file name for each path: its stem, with as many parents in front as it takes.

    Example:
        >>> output_names([Path("a/good/1.png"), Path("a/bad/1.png"), Path("a/2.png")])
        ['good_1.png', 'bad_1.png', '2.png']
    """
    depth = [1] * len(paths)
    names = [path.name for path in paths]
    while len(set(names)) < len(names):
        clashing = {name for name, count in Counter(names).items() if count > 1}
        if all(d >= len(p.parts) for d, p, n in zip(depth, paths, names) if n in clashing):
            raise DataError(f"the image {sorted(clashing)[0]} is named twice")
        depth = [d + (name in clashing) for d, name in zip(depth, names)]
        names = ["_".join(path.parts[-d:]).replace("/", "") for d, path in zip(depth, paths)]
    return names


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _npy(values: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()
