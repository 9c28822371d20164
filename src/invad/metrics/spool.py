"""Maps on disk: so that a large test set need not fit into memory, and metrics can be computed again without the model.

A folder of batches, made of nothing but NumPy's and JSON files. Batch 000000 is three files; the last says that the
others are complete:

    000000.maps.npy     float16, float32 or float64 (N, H, W)
    000000.masks.npy    bool or uint8 of 0 and 1 (N, H, W)
    000000.json         {"format": "invad-maps", "version": 1, "classes": [...], "labels": [...], "scores": [...],
                         "defects": [...], "samples": [...]}, each list with N entries

`scores`, `defects` and `samples` may be missing or null; the score of an image is then the largest of its map.

While batches are still to come there is a file `unfinished` beside them, so that a part is not taken for the whole. A
program that does without it says that its folders are always whole.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from invad.errors import MetricError
from invad.metrics.checks import BoolArray, FloatArray

FORMAT = "invad-maps"
VERSION = 1
UNFINISHED = "unfinished"
"""The file that says that more batches are to come."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spooled:
    """The pixels of one image on disk."""

    batch: Path
    """The batch's files, without their endings."""
    index: int
    masked: bool

    def load(self) -> tuple[FloatArray, BoolArray | None]:
        """The pixels, read anew."""
        scores = _read_one(self.batch, ".maps.npy", self.index)
        if not self.masked:
            return scores, None
        return scores, _read_one(self.batch, ".masks.npy", self.index).astype(np.bool_, copy=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What a folder holds of one batch; the fields are the arguments of `Evaluator.update`."""

    path: Path
    """The batch's files, without their endings."""
    maps: FloatArray  # (N, H, W)
    masks: npt.NDArray[Any]  # (N, H, W)
    classes: list[str]
    labels: list[bool]
    scores: list[float] | None
    defects: list[str] | None
    samples: list[str] | None


class Spool:
    """Writes batches into a folder; a temporary folder lasts as long as its spool.

    Raises:
        MetricError: the folder holds maps already, or a part of some, or cannot be written.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="invad-maps-") if folder is None else None
        self.folder = Path(self._temporary.name) if self._temporary else Path(folder or "")
        self._batches = 0
        if (self.folder / UNFINISHED).exists():
            raise MetricError(
                f"{self.folder} holds a part of the maps of something that was stopped, or is still at work: choose an "
                f"empty folder, or delete this one and all that is in it"
            )
        if any(self.folder.glob("*.maps.npy")):
            raise MetricError(f"{self.folder} holds maps already: choose an empty folder, or delete them")

    @property
    def temporary(self) -> bool:
        """Whether the folder goes when the spool does."""
        return self._temporary is not None

    def write(self, maps: FloatArray, masks: BoolArray, notes: dict[str, list[Any] | None]) -> Path:
        """Write a batch of maps and masks (N, H, W) with lists of N; returns the batch's path without endings."""
        batch = self.folder / f"{self._batches:06d}"
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / UNFINISHED).touch()
            np.save(_file(batch, ".maps.npy"), maps)
            np.save(_file(batch, ".masks.npy"), masks)
            text = json.dumps({"format": FORMAT, "version": VERSION, **notes}, ensure_ascii=False)
            _file(batch, ".json").write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
        self._batches += 1
        return batch

    def finish(self) -> None:
        """Say that all batches are written; another one takes that back."""
        with self._writing():
            (self.folder / UNFINISHED).unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise MetricError(f"cannot write maps into {self.folder}: {reason}. Choose a folder with room") from error


def read_batches(folder: Path) -> Iterator[Batch]:
    """The batches of a folder in the order of their names.

    Raises:
        MetricError: there are none, or more were to come, or one is damaged or of another version.
    """
    if (folder / UNFINISHED).exists():
        raise MetricError(
            f"{folder} holds only a part of its maps: what wrote them was stopped, or is still at work, or is an "
            f"Evaluator in Python that was told neither to compute nor to finish. Write them anew into another folder; "
            f"to go by the part, delete {folder / UNFINISHED}"
        )
    found = sorted(folder.glob("*.json"))
    found = [path for path in found if path.with_suffix(".maps.npy").is_file()]
    if not found:
        raise MetricError(f"{folder} holds no maps: expected 000000.json, 000000.maps.npy and 000000.masks.npy")
    yield from map(_read_batch, found)


def _read_batch(path: Path) -> Batch:
    batch = path.with_suffix("")
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
        if notes.get("format") != FORMAT or notes.get("version") != VERSION:
            raise MetricError(f"{path} is not of format {FORMAT!r}, version {VERSION}: was it made by a newer InvAD?")
        lists = {key: notes.get(key) for key in ("classes", "labels", "scores", "defects", "samples")}
        maps, masks = np.load(_file(batch, ".maps.npy")), np.load(_file(batch, ".masks.npy"))
    except (OSError, EOFError, ValueError, AttributeError) as error:
        raise MetricError(f"the batch {batch} is damaged ({error}): write it again") from error
    if maps.ndim != 3 or masks.ndim != 3:
        raise MetricError(f"{batch}: expected maps and masks (N, H, W), got {maps.shape} and {masks.shape}")
    for key, values in lists.items():
        if not ((values is None and key not in ("classes", "labels")) or isinstance(values, list)):
            raise MetricError(f"{path}: {key!r} must be a list with an entry per map")
        if key in ("classes", "defects", "samples") and not all(isinstance(value, str) for value in values or ()):
            raise MetricError(f"{path}: {key!r} must hold names, as text")
        if values is not None and len(values) != len(maps):
            raise MetricError(f"{path}: {key!r} has {len(values)} entries, but there are {len(maps)} maps")
    return Batch(path=batch, maps=maps, masks=masks, **lists)


def _read_one(batch: Path, ending: str, index: int) -> npt.NDArray[Any]:
    """One image of a file, copied, so that the file is closed again."""
    try:
        return np.array(np.load(_file(batch, ending), mmap_mode="r")[index]).ravel()
    except (OSError, ValueError, IndexError) as error:
        raise MetricError(f"{_file(batch, ending)} has gone or has changed since it was read ({error})") from error


def _file(batch: Path, ending: str) -> Path:
    return batch.with_name(batch.name + ending)
