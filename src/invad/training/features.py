"""The encoder's features of the training images, computed once where they fit in memory or on disk.

The encoder is frozen and images are not augmented, so an image's features are the same in every epoch. A run in bf16
sees them in bf16, wherever they come from.
"""

import hashlib
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor

from invad.checkpoint import checksum
from invad.data import ImageSource, batches, load_ahead
from invad.devices import to_device
from invad.files import write_bytes
from invad.model import InvAD
from invad.processes import Processes
from invad.runs import environment
from invad.settings import Precision
from invad.training.memory import InPieces, encode

BLOCK = 16
"""Images that are encoded at a time when all of them are kept in memory, or whose loss is computed at a time."""
FREE_SHARE = 0.5
"""The share of an accelerator's free memory that features may take."""
FORMAT = 2
"""The version of a file of features; part of its key."""
GIB = 1024**3
Kept = Literal["memory", "disk", "nowhere"]
Shapes = tuple[tuple[int, int, int], ...]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Features(Protocol):
    """Where the features of images come from."""

    def batches(self, indices: Sequence[NDArray[np.int64]]) -> Iterator[list[Tensor]]:
        """Yield those of each batch of images, fine to coarse, (B, C_i, h_i, w_i), channels last, on the device."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How much room the features of all images may take, in GiB."""

    memory: float
    disk: float
    folder: Path
    """Where those on disk lie."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedInEveryStep:
    """Features that are kept nowhere."""

    model: InvAD
    source: ImageSource
    dtype: torch.dtype
    device: torch.device
    pieces: InPieces = field(default_factory=InPieces)

    def batches(self, indices: Sequence[NDArray[np.int64]]) -> Iterator[list[Tensor]]:
        """Encode the images of each batch."""
        for _, images in batches(self.source, indices):
            levels = encode(self.model, images, self.device, self.pieces)
            yield [level.to(self.dtype, memory_format=torch.channels_last) for level in levels]


@dataclass(frozen=True, kw_only=True, slots=True)
class InMemory:
    """Features of all images in one tensor a level, (N, h_i, w_i, C_i), on the device or beside it."""

    levels: list[Tensor]
    device: torch.device

    def batches(self, indices: Sequence[NDArray[np.int64]]) -> Iterator[list[Tensor]]:
        """Pick out those of each batch."""
        order = torch.from_numpy(np.concatenate([np.empty(0, np.int64), *indices])).to(self.levels[0].device)
        for chosen in torch.split(order, [len(batch) for batch in indices]):  # at once: a copy waits for an accelerator
            yield [level.index_select(0, chosen).to(self.device).permute(0, 3, 1, 2) for level in self.levels]


@dataclass(frozen=True, kw_only=True, slots=True)
class OnDisk:
    """Features in a file for each image, named by what the image holds and by what encoded it.

    A file is written at once and ends in a checksum. One that is not there, cut short or changed is made anew, of its
    image alone, so that what a file holds does not depend on which other images a run has.
    """

    model: InvAD
    source: ImageSource
    files: tuple[Path, ...]
    """One for each image."""
    shapes: Shapes
    """(h_i, w_i, C_i) of each level."""
    dtype: torch.dtype
    device: torch.device

    def batches(self, indices: Sequence[NDArray[np.int64]]) -> Iterator[list[Tensor]]:
        """Read those of each batch ahead, and make those that are not there."""
        for batch, found in load_ahead(self._read_all, indices):
            rows = [
                self._make(i, self.source.images([i])) if row is None else row
                for i, row in zip(batch, found, strict=True)
            ]
            yield [
                torch.stack(level).to(self.device).permute(0, 3, 1, 2)  # (B, C_i, h_i, w_i)
                for level in zip(*map(self._split, rows), strict=True)
            ]

    def fill(self, processes: Processes, *, quiet: bool) -> None:
        """Make this process's share of the files that are not there."""
        mine = processes.share(np.arange(len(self.files)))
        missing = [np.array([i]) for i in mine if not self.files[i].is_file()]
        for (i,), images in shown_batches(self.source, missing, "encoding", quiet=quiet):
            self._make(i, images)

    def _read_all(self, batch: NDArray[np.int64]) -> list[bytes | None]:
        return [self._read(self.files[int(i)]) for i in batch]

    def _read(self, path: Path) -> bytes | None:
        """What a file holds; None where it is not there, or not whole."""
        try:
            data = path.read_bytes()
        except OSError:
            return None
        values, found = data[:-4], data[-4:]
        whole = len(values) == self._bytes() and zlib.crc32(values).to_bytes(4, "little") == found
        return values if whole else None

    def _make(self, index: int, images: NDArray[np.uint8]) -> bytes:
        """Write and return the features of one image, (1, H, W, 3)."""
        levels = self.model.encode(to_device(images, self.device))
        rows = [level[0].permute(1, 2, 0).to(self.dtype).cpu().contiguous() for level in levels]  # (h_i, w_i, C_i)
        values = b"".join(row.view(torch.uint8).numpy().tobytes() for row in rows)
        write_bytes(self.files[index], values + zlib.crc32(values).to_bytes(4, "little"))
        return values

    def _split(self, values: bytes) -> list[Tensor]:
        flat = torch.frombuffer(bytearray(values), dtype=self.dtype)
        parts = flat.split_with_sizes([math.prod(shape) for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def _bytes(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes) * self.dtype.itemsize


def open_features(
    model: InvAD,
    source: ImageSource,
    budget: Budget,
    precision: Precision,
    *,
    hashes: Sequence[str],
    processes: Processes,
    quiet: bool,
) -> tuple[Features, str]:
    """Return the features of all images, computed where there is room for them, and a sentence on where they are.

    Several processes share the work of those that are kept. Where none are, images are decoded before the first step as
    far as they are kept then, so that one epoch is like the other.

    Args:
        model: on its device.
        source: the images.
        budget: the room for their features.
        precision: the run's; features are kept in it.
        hashes: what each image holds (see `invad.data.content_hashes`).
        processes: which this is, on the model's device.
        quiet: show no progress.
    """
    device = processes.device
    dtype, shapes = DTYPES[precision], feature_shapes(model, source, device)
    size = feature_bytes(shapes, precision) * len(source)
    said = f"features of {len(source)} images ({size / GIB:.1f} GiB in {precision})"
    kept, place = place_among(size, budget, processes)
    if kept == "memory":
        stored = _encode_all(model, source, shapes, dtype, place, processes, quiet=quiet)
        source.forget()
        return stored, f"{said} are kept in memory"
    if kept == "disk":
        key = f"{FORMAT}|{versions()}|{encoder_key(model)}|{source.size}|{precision}|{device.type}"
        files = tuple(_file(budget.folder, f"{key}|{digest}") for digest in hashes)
        on_disk = OnDisk(model=model, source=source, files=files, shapes=shapes, dtype=dtype, device=device)
        source.forget()
        on_disk.fill(processes, quiet=quiet)
        processes.wait()
        return on_disk, f"{said} are kept in {budget.folder}"
    for _ in shown_batches(source, in_blocks(np.arange(source.kept)), "decoding", quiet=quiet):
        pass  # the source keeps them
    return (
        EncodedInEveryStep(model=model, source=source, dtype=dtype, device=device),
        f"{said} exceed feature_memory ({budget.memory:g} GiB) and feature_disk ({budget.disk:g} GiB); the encoder "
        f"runs in every step",
    )


def feature_shapes(model: InvAD, source: ImageSource, device: torch.device) -> Shapes:
    """Return (h_i, w_i, C_i) of each level of an image's features, fine to coarse."""
    sample = model.encode(to_device(source.images([0]), device))
    return tuple((level.shape[2], level.shape[3], level.shape[1]) for level in sample)


def feature_bytes(shapes: Shapes, precision: Precision) -> int:
    """Return what the features of one image take.

    Example:
        >>> feature_bytes(((64, 64, 64), (32, 32, 128), (16, 16, 256)), "bf16")
        917504
    """
    return sum(math.prod(shape) for shape in shapes) * DTYPES[precision].itemsize


def place_features(size: int, budget: Budget) -> Kept:
    """Return where features of so many bytes are kept: all in one place, the first that has room for them."""
    if size <= budget.memory * GIB:
        return "memory"
    return "disk" if size <= budget.disk * GIB else "nowhere"


def place_among(size: int, budget: Budget, processes: Processes) -> tuple[Kept, torch.device]:
    """Return where features of so many bytes are kept, the same in all processes, and the device of those in memory.

    Each process keeps them. An accelerator's memory is its own; that of a host is shared by the processes there.
    """
    place = place_for(size, processes.device)
    if processes.any(place != processes.device):
        place = torch.device("cpu")
    sharers = max(processes.gather(processes.on_host)) if place.type == "cpu" else 1
    return place_features(size, replace(budget, memory=budget.memory / sharers)), place


def place_for(size: int, device: torch.device) -> torch.device:
    """Return where features of so many bytes go: on the device where there is room, else in the host's memory."""
    if device.type != "cuda":
        return device
    free, _ = torch.cuda.mem_get_info(device)
    return device if size <= FREE_SHARE * free else torch.device("cpu")


def encoder_key(model: InvAD) -> str:
    """Return what names the encoder: a checksum of its weights, and of its structure, levels and normalisation."""
    encoder: torch.nn.Module = model.encoder  # type: ignore[assignment]
    return f"{checksum(encoder.state_dict())}|{hashlib.sha256(repr(encoder).encode()).hexdigest()}"


def versions() -> str:
    """Return the versions of what decodes, resizes and encodes: another one may give other features.

    Example:
        >>> versions().startswith("pillow ")
        True
    """
    found = environment()
    return ", ".join(f"{name} {found[name]}" for name in ("pillow", "torch", "timm"))


def _encode_all(
    model: InvAD,
    source: ImageSource,
    shapes: Shapes,
    dtype: torch.dtype,
    place: torch.device,
    processes: Processes,
    *,
    quiet: bool,
) -> InMemory:
    """Features by blocks that processes take turns with and give to each other; the same blocks as in one process."""
    blocks, device, pieces = in_blocks(np.arange(len(source))), processes.device, InPieces()
    levels = [torch.empty((len(source), *shape), dtype=dtype, device=place) for shape in shapes]
    mine = blocks[processes.rank :: processes.count]
    for indices, images in shown_batches(source, mine, "encoding", quiet=quiet):
        for kept, level in zip(levels, encode(model, images, device, pieces), strict=True):
            kept[torch.from_numpy(indices).to(place)] = level.permute(0, 2, 3, 1).to(place, dtype)
    for number, block in enumerate(blocks):
        for kept in levels:
            processes.fill_from(number % processes.count, kept[block[0] : block[-1] + 1])
    return InMemory(levels=levels, device=device)


def _file(folder: Path, key: str) -> Path:
    digest = hashlib.sha256(key.encode()).hexdigest()
    return folder / digest[:2] / digest[2:]


def shown_batches(
    source: ImageSource, blocks: Sequence[NDArray[np.int64]], what: str, *, quiet: bool
) -> Iterable[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """Return the indices and images of blocks, whose progress is shown under this name."""
    console = Console(stderr=True)
    return track(batches(source, blocks), what, total=len(blocks), console=console, disable=quiet, transient=True)


def in_blocks(indices: NDArray[np.int64], most: int = BLOCK) -> list[NDArray[np.int64]]:
    """Return indices of images in order, in blocks of at most so many and nearly one size; none where there are none.

    Example:
        >>> [len(block) for block in in_blocks(np.arange(20))], in_blocks(np.arange(0))
        ([10, 10], [])
    """
    return np.array_split(indices, -(-len(indices) // most)) if len(indices) else []
