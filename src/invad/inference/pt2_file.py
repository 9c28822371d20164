"""PyTorch's exported program (.pt2): from the graph to a file, and back without running code that the file brings.

The file is what `torch.export.save` writes, and other programs may read it with `torch.export.load`, which trusts it.
Here it is read as what it is, a zip of JSON and raw numbers, and by one reader alone, so that no other can see
something else in it. See `invad.inference.pt2_program` for what becomes of the JSON.
"""

import io
import re
import zipfile
from copy import copy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn

from invad.devices import choose_device, exact_arithmetic
from invad.errors import ModelFileError
from invad.inference.cuda_graphs import CudaGraphs
from invad.inference.graph import ImageGraph
from invad.inference.manifest import EMPTY, KEY, MARK, Manifest, check_seal, seal
from invad.inference.onnx_file import export_graph
from invad.inference.pt2_program import Read, read_program
from invad.inference.scorer import Scores, torch_threads
from invad.records import Size

EXTRA = f"extra/{KEY}.json"
IN_COMMENT = "the archive's comment"
"""Where the checksum stands, in the manifest itself."""
ENTRIES = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(serialization_id|version|alignment)|\.format_version"
    r"|\.storage_alignment|models/model\.json|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)|data/sample_inputs/model\.pt"
    rf"|{re.escape(EXTRA)}"
)
"""All that an archive of ours may hold: no compiled code, no scripted objects."""


def pt2_bytes(graph: ImageGraph, manifest: Manifest) -> bytes:
    """Return the graph as the bytes of a .pt2 file, the manifest in its extra file `invad.json`.

    The checksum is the archive's comment, which none of the zip's own checksums covers.

    Raises:
        ModelFileError: torch cannot export this model, or writes another kind of archive (before 2.9); or the model
            has operators that no `.pt2` is opened with.
    """
    buffer = io.BytesIO()
    torch.export.save(export_graph(graph), buffer)
    with zipfile.ZipFile(buffer, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/{EXTRA}", manifest.to_json().replace(EMPTY, IN_COMMENT))
        archive.comment = EMPTY.encode()
    data = seal(buffer.getvalue())
    try:
        open_archive(data, f"what torch {torch.__version__} exports", torch.device("cpu"))
    except ModelFileError as error:
        raise ModelFileError(f"this model cannot be a .pt2: {error}. Export it --to onnx") from error
    return data


class Pt2Scorer:
    """PyTorch over the operators of an exported program.

    Args:
        data: the file.
        origin: its name, for messages.
        device: as in `open_model`.
        threads: to compute with; None: torch's choice.

    Raises:
        ModelFileError: the file is damaged, changed, not ours, or calls what it has no need to.
        SettingsError: there is no such device.
    """

    def __init__(self, data: bytes, origin: str, *, device: str = "auto", threads: int | None = None) -> None:
        self._device = choose_device(device)
        self._threads = threads
        self.manifest, program = open_archive(data, origin, self._device)
        if self._device.type == "cuda" and self.manifest.precision != "fp32":
            _lay_channels_last(program)
        self._module: nn.Module = CudaGraphs(program) if self._device.type == "cuda" else program
        self.size: Size = self.manifest.size

    def __call__(self, images: NDArray[np.uint8]) -> Scores:
        """Return maps (B, H, W) and scores (B,) of images (B, any height, any width, 3)."""
        with torch.inference_mode(), exact_arithmetic(), torch_threads(self._threads):
            maps, scores = self._module(torch.from_numpy(np.require(images, requirements="W")).to(self._device))
        return maps.cpu().numpy(), scores.cpu().numpy()


def _lay_channels_last(program: nn.Module) -> None:
    """Lay weights out as a GPU's half-precision convolutions take them, and their results with them."""
    for weight in program.buffers():
        if weight.dim() == 4:
            weight.data = weight.contiguous(memory_format=torch.channels_last)


def open_archive(data: bytes, origin: str, device: torch.device) -> tuple[Manifest, fx.GraphModule]:
    """Return what a file says of itself and what it computes (see `read_program`).

    Raises:
        ModelFileError: it is damaged, changed or not ours, or holds what no file of ours does.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if not MARK.fullmatch(archive.comment):
                raise ModelFileError(
                    f"{origin} has no checksum over the whole file: it was not made by `invad export`, or by an older "
                    f"one. Export it again from its run"
                )
            check_seal(data, origin)
            read = _reader(archive, origin)
            return Manifest.from_json(read(EXTRA).decode(), origin), read_program(read, origin, device)
    except ModelFileError:
        raise
    except Exception as error:  # whatever zip, JSON and torch raise: it is not what it should be
        raise ModelFileError(
            f"{origin} is damaged, or no exported program of torch 2.9 or newer ({str(error)[:200]}). Copy it again, "
            f"or export it again from its run"
        ) from error


def _reader(archive: zipfile.ZipFile, origin: str) -> Read:
    """What reads entries by their names below the archive's root, if all are such as torch and we write.

    Raises:
        ModelFileError: there are two of one name, packed ones, ones outside the root, or ones of other names.
    """
    root = archive.namelist()[0].partition("/")[0]
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        above, _, name = entry.filename.partition("/")
        if above != root or not ENTRIES.fullmatch(name):
            raise ModelFileError(f"{origin} holds {entry.filename!r}, which no model exported by invad has; not opened")
        if name in entries:
            raise ModelFileError(
                f"{origin} holds {entry.filename!r} twice, so that it could be read in two ways; not opened"
            )
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise ModelFileError(
                f"{origin} holds {entry.filename!r} packed, which no model exported by invad has; not opened"
            )
        entries[name] = entry
    return lambda name: archive.read(entries[name])


def open_pt2(path: Path, *, device: str = "auto", threads: int | None = None) -> Pt2Scorer:
    """Return the scorer of a `.pt2` file; see `Pt2Scorer`."""
    return Pt2Scorer(path.read_bytes(), str(path), device=device, threads=threads)


def with_manifest(data: bytes, manifest: Manifest) -> bytes:
    """Return a file's bytes with another manifest."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            written = manifest.to_json().replace(EMPTY, IN_COMMENT) if entry.filename.endswith(f"/{EXTRA}") else None
            new.writestr(copy(entry), old.read(entry) if written is None else written)
        new.comment = EMPTY.encode()
    return seal(buffer.getvalue())
