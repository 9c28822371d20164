"""Any number of images in, a line for each out: as they come, in bounded memory, to be gone on with after a kill."""

import dataclasses
import hashlib
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invad.colours import ColourScale
from invad.data.images import read_image
from invad.data.loading import threads
from invad.errors import ImageError, SettingsError
from invad.files import write_bytes
from invad.inference.ahead import map_ahead
from invad.inference.decisions import Prediction
from invad.inference.drift import Drift, DriftWatch
from invad.inference.inputs import STDIN, Item, class_of, list_inputs
from invad.inference.journal import Journal
from invad.inference.listing import ImageNames, inputs_digest, portable
from invad.inference.predictor import Predictor
from invad.inference.replacing import MAPS, OVERLAYS, output_name
from invad.inference.sharding import Shard
from invad.inference.tables import Format, require_parquet, write_lines, write_parquet
from invad.report.figures import overlay

JPEG_SIDE = 65_500
"""Pixels of a side that a JPEG can have; the picture of a longer image is smaller than the image."""
DRIFTS_TOLD = 3
"""Windows that drifted and are told one by one; all are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """What is to be written, and where."""

    folder: Path
    format: Format = "jsonl"
    scale: ColourScale | None = None
    """Of pictures; None: there are none."""
    maps: bool = False
    """Write each raw map as a NumPy file (H, W) float32."""

    @property
    def final(self) -> Path:
        """The file that all lines come to lie in."""
        return self.folder / f"predictions.{self.format}"


@dataclass(kw_only=True, slots=True)
class Summary:
    """What happened, to be said at the end."""

    images: int = 0
    kept: int = 0
    """Lines that were there already."""
    unreadable: int = 0
    of_unknown_class: int = 0
    """Images whose class, from a manifest, neither the model nor its calibration knows."""
    unknown_class: str = ""
    """The first such class."""
    anomalous: int = 0
    windows: int = 0
    """Windows of scores that were tested for drift."""
    drifted: int = 0
    """How many of them left the calibration's distribution."""


class Predicting:
    """One job: the images that roots name, predicted by a model, in the part of this process.

    Args:
        predictor: with its thresholds.
        roots: images, folders, patterns, manifests, or `-` (see `invad.inference.inputs`).
        output: what to write, and where.
        class_name: the class of all images that a manifest gives none; None: that of the model's classes whose name a
            folder above the image bears, if there is one.
        batch_size: images computed at a time; with 1, each line is written before the next path on standard input is
            waited for.
        strict: stop at an image that cannot be read, instead of saying so in its line.
        shard: this process's part.
        on_drift: called with the first few windows of scores that left the calibration's distribution, as soon as each
            is full.
    """

    def __init__(
        self,
        predictor: Predictor,
        roots: Sequence[str],
        output: Output,
        *,
        class_name: str | None = None,
        batch_size: int = 8,
        strict: bool = False,
        shard: Shard,
        on_drift: Callable[[Drift], None],
    ) -> None:
        if not shard.alone and STDIN in roots:
            raise SettingsError("several processes cannot share standard input; write the paths into a manifest")
        if batch_size < 1:
            raise SettingsError(f"batch_size must be 1 or more, not {batch_size}")
        if output.scale is not None and not -math.inf < output.scale.low < output.scale.high < math.inf:
            raise SettingsError(
                f"--scale needs two numbers, the lower one first, not {output.scale.low} {output.scale.high}"
            )
        if output.format == "parquet":
            require_parquet()
        self._predictor = predictor
        self._output = output
        self._class_name = class_name
        self._batch_size = batch_size
        self._strict = strict
        self._roots = roots
        self._items: Iterator[Item] = iter(())
        self._journal = Journal(output.folder, self._job(), shard)
        self._shard = shard
        calibration = predictor.calibration
        self._watch = None if calibration is None else DriftWatch(calibration, class_name)
        self._on_drift = on_drift
        self._known = {*predictor.classes, *(calibration.scores if calibration else ())}
        self.streams = STDIN in roots
        """Whether the images come one after another from whoever writes their paths, so that no list can be made."""
        self._at_once = self.streams and batch_size == 1
        self.resumed = False
        """Whether a job is gone on with that was begun before."""
        self.summary = Summary()

    def alone(self) -> AbstractContextManager[None]:
        """Return a context for all that follows, in which no other command writes the folder; see `Journal.alone`."""
        return self._journal.alone()

    def begin(self, *, resume: bool, overwrite: bool) -> str | None:
        """Begin, or go on, for all processes; return the token by which the others join, or None where all is done.

        Only the first process may do so. It lists the images of all: those that come later are not among them, and are
        not when the job is gone on with.

        Raises:
            DataError: an input is faulty.
            RunError: as `Journal.look` and `Journal.create`, or what is done is of other images.
            SettingsError: no image is named, or standard input twice.
        """
        inputs, named = list_inputs(self._roots, without=self._pictures_in()), inputs_digest(self._roots)
        state = self._journal.look(self._output.final, self._pictures_in(), named, resume=resume, overwrite=overwrite)
        if state == "complete":
            names = ImageNames()
            for item in inputs:
                names.add(portable(str(item.path)))
            self._journal.require_images(names)
            return None
        if state == "absent":
            self._journal.create(named, None if self.streams else inputs, overwrite=overwrite)
        self.resumed = state == "begun"
        self._items = inputs if self.streams else self._journal.items()
        return self._journal.start()

    def join(self, token: str) -> None:
        """Take part in what the first process began, with its list of images.

        Raises:
            RunError: it does another job.
        """
        self._journal.join(token)
        self._items = self._journal.items()

    def run(self) -> Iterator[str]:
        """Predict, and yield each new line as soon as it is written.

        Raises:
            DataError: an input is faulty, or, if strict, an image cannot be read.
            RunError: a result cannot be written, or what is gone on with is of other images.
        """
        try:
            for line in self._journal.finished(self._items):
                self.summary.kept += 1
                self._count(line)
            for line in self._lines():
                self._count(line)
                yield self._journal.append(line)
        finally:
            self._journal.close()
        if self._watch is not None:
            for drift in self._watch.rest():
                self._note(drift)
            self.summary.windows = self._watch.tested
        self._journal.complete()

    def wait(self) -> Iterator[list[int]]:
        """Wait for the other processes, if there are any; yield the numbers of those that are not done, repeatedly."""
        yield from self._journal.wait()

    def finish(self) -> Path:
        """Merge the lines of all processes into one file and return it. Raises as `write_lines` and `write_parquet`."""
        write = write_lines if self._output.format == "jsonl" else write_parquet
        names = ImageNames()

        def named() -> Iterator[bytes]:
            for line in self._journal.merged():
                names.add(json.loads(line)["image"])
                yield line

        write(self._output.final, named())
        self._journal.conclude(names)
        return self._output.final

    def _pictures_in(self) -> tuple[Path, ...]:
        return (self._output.folder / OVERLAYS, self._output.folder / MAPS)

    def _lines(self) -> Iterator[dict[str, Any]]:
        """The values of each line, its pictures written."""
        images, classes, numbered = tee(self._items, 3)
        outcomes = self._predictor.outcomes(
            (item.path for item in images),
            batch_size=self._batch_size,
            classes=map(self._class_of, classes),
            read_ahead=not self._at_once,
        )
        first = self.summary.kept
        numbers = ((self._shard.rank + (first + i) * self._shard.count, item) for i, item in enumerate(numbered))
        found = ((number, item, outcome) for (number, item), outcome in zip(numbers, outcomes, strict=True))
        yield from map_ahead(self._line, found, ahead=1 if self._at_once else 2 * threads())

    def _line(self, found: tuple[int, Item, Prediction | ImageError]) -> dict[str, Any]:
        number, item, outcome = found
        line: dict[str, Any] = {"image": str(item.path)}
        class_name = self._class_of(item)
        if class_name:
            line["class"] = class_name
        try:
            line |= self._values(number, item.path, class_name, outcome)
        except ImageError as error:
            if self._strict:
                raise
            line["error"] = str(error)
        return {key: portable(value) if isinstance(value, str) else value for key, value in line.items()}

    def _class_of(self, item: Item) -> str | None:
        return item.class_name or self._class_name or class_of(item.path.absolute(), self._predictor.classes)

    def _values(
        self, number: int, path: Path, class_name: str | None, outcome: Prediction | ImageError
    ) -> dict[str, Any]:
        """What is said of an image that can be read."""
        if isinstance(outcome, ImageError):
            raise outcome
        return {
            "score": outcome.score,
            "share_below": outcome.share_below,
            "anomalous": outcome.anomalous,
            "regions": [dataclasses.asdict(region) for region in outcome.regions],
            **self._pictures(number, path, class_name, outcome),
        }

    def _pictures(self, number: int, path: Path, class_name: str | None, prediction: Prediction) -> dict[str, str]:
        """The files of one image; returns their paths."""
        name, files = output_name(number, path), {}
        if self._output.scale is not None:
            target = self._output.folder / OVERLAYS / f"{name}.jpg"
            write_bytes(target, _jpeg(overlay(read_image(path), prediction.map, *self._output.scale.of(class_name))))
            files["overlay"] = str(target)
        if self._output.maps:
            target = self._output.folder / MAPS / f"{name}.npy"
            write_bytes(target, _npy(prediction.map))
            files["map"] = str(target)
        return files

    def _count(self, line: dict[str, Any]) -> None:
        """Keep account of one line, old or new."""
        self.summary.images += 1
        self.summary.unreadable += "error" in line
        self.summary.anomalous += line.get("anomalous") is True
        if self._known and "class" in line and line["class"] not in self._known:
            self.summary.of_unknown_class += 1
            self.summary.unknown_class = self.summary.unknown_class or line["class"]
        if self._watch is not None and "score" in line:
            drift = self._watch.add(line["score"], line.get("class"))
            if drift is not None:
                self._note(drift)

    def _note(self, drift: Drift) -> None:
        if drift.warns:
            self.summary.drifted += 1
            if self.summary.drifted <= DRIFTS_TOLD:
                self._on_drift(drift)

    def _job(self) -> dict[str, Any]:
        """What decides the lines, besides the images."""
        calibration = self._predictor.calibration
        return {
            "model": self._predictor.checksum,
            "file": self._predictor.file,
            "calibration": calibration and hashlib.sha256(calibration.to_json().encode()).hexdigest(),
            "threshold": self._predictor.threshold,
            "class": self._class_name,
            "scale": self._output.scale and dataclasses.asdict(self._output.scale),
            "maps": self._output.maps,
            "format": self._output.format,
        }


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    buffer, picture = io.BytesIO(), Image.fromarray(image)
    picture.thumbnail((JPEG_SIDE, JPEG_SIDE))
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _npy(values: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()
