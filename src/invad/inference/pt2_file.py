"""PyTorch's exported program (.pt2): from the graph to a file, and back without running code that the file brings.

`torch.export.load` was made for files that one trusts. It evaluates symbolic sizes and guards as Python, falls back to
plain pickle where an entry is not a tensor, and loads compiled code. So an archive is read as what it is, a zip of JSON
and raw numbers, and refused where it holds anything else, before PyTorch sees it.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from invad.devices import choose_device, exact_arithmetic
from invad.errors import ModelFileError
from invad.inference.graph import ImageGraph
from invad.inference.manifest import EMPTY, KEY, Manifest
from invad.inference.onnx_file import export_graph
from invad.inference.scorer import Scores, torch_threads
from invad.records import Size

EXTRA = f"extra/{KEY}.json"
ENTRIES = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(serialization_id|version|alignment)|\.format_version"
    r"|\.storage_alignment|models/model\.json|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)|data/sample_inputs/model\.pt"
    rf"|{re.escape(EXTRA)}"
)
"""All that an archive of ours may hold: no compiled code, no scripted objects."""
SIZES = re.compile(
    r"(?:Mul|Add|Integer|Symbol|Max|Min|Pow|FloorDiv|Mod|True|False|positive=|integer=|nonnegative="
    r"|'[su]\d+'|[su]\d+|-?\d+|[(), ])+"
)
"""What a symbolic size may be written with; PyTorch evaluates it as Python."""
TARGETS = re.compile(r"torch\.ops\.aten\.\w+\.\w+|_operator\.\w+|math\.\w+|torch\.sym_\w+")
"""What a node may call: PyTorch's own operators."""


def pt2_bytes(graph: ImageGraph, manifest: Manifest) -> bytes:
    """Return the graph as the bytes of a .pt2 file, the manifest in its extra file `invad.json`.

    Raises:
        ModelFileError: torch cannot export this model, or writes another kind of archive (before 2.9).
    """
    buffer = io.BytesIO()
    torch.export.save(export_graph(graph), buffer)
    with zipfile.ZipFile(buffer, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        text = manifest.to_json().replace(EMPTY, f"invad-sha256:{_digest(archive)}")
        archive.writestr(f"{root}/{EXTRA}", text)
    data = buffer.getvalue()
    require_safe(data, f"what torch {torch.__version__} exports")
    return data


class Pt2Scorer:
    """PyTorch over an exported program.

    Args:
        data: the file.
        origin: its name, for messages.
        device: as in `open_model`.
        threads: to compute with; None: torch's choice.

    Raises:
        ModelFileError: the file is damaged, changed, not ours, or holds what could run code.
        SettingsError: there is no such device.
    """

    def __init__(self, data: bytes, origin: str, *, device: str = "auto", threads: int | None = None) -> None:
        require_safe(data, origin)
        text = _checked_text(data, origin)
        self.manifest = Manifest.from_json(text, origin)
        self.size: Size = self.manifest.size
        self._device = choose_device(device)
        self._threads = threads
        try:
            program = torch.export.load(io.BytesIO(data))
        except Exception as error:  # many kinds for one cause: this torch cannot read the file
            raise ModelFileError(f"{origin} cannot be opened by torch {torch.__version__}: {error}") from error
        if self._device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, self._device)
        self._module = program.module()

    def __call__(self, images: NDArray[np.uint8]) -> Scores:
        """Return maps (B, H, W) and scores (B,) of images (B, any height, any width, 3)."""
        with torch.inference_mode(), exact_arithmetic(), torch_threads(self._threads):
            maps, scores = self._module(torch.from_numpy(np.require(images, requirements="W")).to(self._device))
        return maps.cpu().numpy(), scores.cpu().numpy()


def require_safe(data: bytes, origin: str) -> None:
    """Refuse an archive that holds anything but JSON, raw numbers and calls of PyTorch's own operators.

    Raises:
        ModelFileError: it does, or it is no such archive.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
            strange = [name for name in names if not ENTRIES.fullmatch(name)]
            if strange:
                raise ModelFileError(f"{origin} holds {strange[0]!r}, which no model exported by invad has; not opened")
            for name in names:
                if name.endswith("_config.json") and _values(json.loads(_read(archive, name)), "use_pickle") - {False}:
                    raise ModelFileError(f"{origin} holds pickled values; not opened")
            torch.load(io.BytesIO(_read(archive, "data/sample_inputs/model.pt")), weights_only=True)
            _require_plain(json.loads(_read(archive, "models/model.json")), origin)
    except ModelFileError:
        raise
    except Exception as error:  # whatever zip, JSON and torch raise: it is not what it should be
        raise ModelFileError(
            f"{origin} is no exported program of torch 2.9 or newer, or is damaged ({str(error)[:200]})"
        ) from error


def _checked_text(data: bytes, origin: str) -> str:
    """The manifest's text, once its checksum is that of all other entries."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            text = _read(archive, EXTRA).decode()
            whole = f'"invad-sha256:{_digest(archive)}"' in text
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError, EOFError, OSError) as error:
        raise ModelFileError(
            f"{origin} is damaged ({error}). Copy it again, or export it again from its run"
        ) from error
    if not whole:
        raise ModelFileError(
            f"{origin} is damaged or was changed: its checksum does not match. Copy it again, or export it again from "
            f"its run"
        )
    return text


def _require_plain(program: Any, origin: str) -> None:
    """Refuse a graph with sizes, calls or guards that could be more than they seem."""
    for name, pattern in (("expr_str", SIZES), ("target", TARGETS)):
        for value in _values(program, name):
            if not isinstance(value, str) or not pattern.fullmatch(value):
                raise ModelFileError(f"{origin} holds a {name} {str(value)[:60]!r}, which could run code; not opened")
    if program.get("guards_code"):
        raise ModelFileError(f"{origin} holds guards written in Python; not opened")


def _values(node: Any, name: str) -> set[Any]:
    """All values that stand under a name, at any depth."""
    return set(_walk(node, name))


def _walk(node: Any, name: str) -> Iterator[Any]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == name and not isinstance(value, dict | list):
                yield value
            else:
                yield from _walk(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from _walk(value, name)


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    """An entry, by its name below the archive's root."""
    root = archive.namelist()[0].partition("/")[0]
    return archive.read(f"{root}/{name}")


def _digest(archive: zipfile.ZipFile) -> str:
    """The SHA-256 of names and contents of all entries but the manifest."""
    digest = hashlib.sha256()
    for name in sorted(archive.namelist()):
        inner = name.partition("/")[2]
        if inner != EXTRA:
            digest.update(inner.encode() + b"\n")
            digest.update(hashlib.sha256(archive.read(name)).digest())
    return digest.hexdigest()


def open_pt2(path: Path, *, device: str = "auto", threads: int | None = None) -> Pt2Scorer:
    """Return the scorer of a `.pt2` file; see `Pt2Scorer`."""
    return Pt2Scorer(path.read_bytes(), str(path), device=device, threads=threads)


def with_manifest(data: bytes, manifest: Manifest) -> bytes:
    """Return a file's bytes with another manifest."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            if entry.filename.partition("/")[2] != EXTRA:
                new.writestr(copy(entry), old.read(entry))  # which notes in it where it now lies
        root = old.namelist()[0].partition("/")[0]
        new.writestr(f"{root}/{EXTRA}", manifest.to_json().replace(EMPTY, f"invad-sha256:{_digest(old)}"))
    return buffer.getvalue()
