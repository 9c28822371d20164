"""Checkpoints that survive: one safetensors file each, written at once, checked by a checksum when read.

A file holds the trained weights (`model.*`), Adam's state (`optimiser.*`) and, in its header, where in the run it was
made. The last two are kept, so that a damaged one costs a few minutes, not the run. The checksum is of all that the
file says, its header too: a position that is wrong by one bit would train other epochs without a word.
"""

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from invad.errors import CheckpointError, RunError
from invad.files import write_bytes
from invad.model import InvAD

FORMAT = 2
"""The version of the file; in 1 the checksum was of the tensors' names and bytes alone."""
HEADER = "invad"
"""The one entry of the file's metadata: safetensors writes several in a random order, and equal runs would differ."""
KEEP = 2
DAMAGED = ".damaged"
"""How the name of a checkpoint ends that was passed over; such a file counts no more, and is left to be looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Where in a run a checkpoint was made."""

    epoch: int
    """Epochs completed."""
    step: int
    """Steps completed in the epoch after those."""
    total_steps: int
    """Steps completed since the start."""
    best_loss: float | None = None
    """The smallest loss on the images held back so far; None where there are none."""
    best_epoch: int = 0
    """Epochs completed when it was found."""
    cooling_since: int | None = None
    """Epochs completed when patience was exhausted and the learning rate began to go down; None: it was not."""
    parts: int = 1
    """That each batch is computed in: more than asked for once memory ran out."""


def save_checkpoint(folder: Path, model: InvAD, optimiser: torch.optim.Adam | None, position: Position) -> Path:
    """Write a checkpoint, then delete all but the last two; return its path.

    Raises:
        RunError: the file cannot be written; the earlier ones are intact.
    """
    path = folder / _name(position)
    write_checkpoint(path, model, optimiser, position)
    for old in list_checkpoints(folder)[KEEP:]:
        old.unlink(missing_ok=True)
    return path


def write_checkpoint(path: Path, model: InvAD, optimiser: torch.optim.Adam | None, position: Position) -> None:
    """Write a checkpoint; the one that ends a run needs no optimiser, since nothing goes on from it.

    Raises:
        RunError: the file cannot be written; what stood there before still stands.
    """
    tensors = {f"model.{name}": value for name, value in trained_state(model).items()}
    if optimiser is not None:
        tensors |= {f"optimiser.{name}": value for name, value in _optimiser_state(model, optimiser).items()}
    write_bytes(path, _serialise(tensors, {"position": dataclasses.asdict(position)}))


def _name(position: Position) -> str:
    return f"{position.total_steps:09d}.safetensors"


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, the newest first."""
    return sorted(folder.glob("*.safetensors"), reverse=True)


def load_newest(folder: Path, model: InvAD, optimiser: torch.optim.Adam | None = None) -> Position:
    """Load the newest checkpoint that is whole into the model, and into the optimiser if one is given.

    A damaged file is passed over with a warning.

    Raises:
        CheckpointError: there is none, all are damaged, or it belongs to another model.
        RunError: one cannot be read.
    """
    paths = list_checkpoints(folder)
    for path in paths:
        try:
            tensors, header = read_checked(path)
            position = _position(path, header)
        except CheckpointError as error:
            warnings.warn(f"{error}; trying the one before", stacklevel=2)
            continue
        _fill(path, tensors, model, optimiser)
        return position
    raise CheckpointError(
        f"all {len(paths)} checkpoints in {folder} are damaged; train again"
        if paths
        else f"there is no checkpoint in {folder}; the run stopped before its first epoch ended: train again"
    )


def set_aside_newer(folder: Path, position: Position) -> None:
    """Rename the checkpoints of later steps than a position's to NAME.damaged: they were passed over on the way to it.

    Among the last two they would push out the whole one that the run goes on from.
    """
    for path in list_checkpoints(folder):
        if path.name > _name(position):
            path.replace(path.with_name(f"{path.name}{DAMAGED}"))


def load_checkpoint(path: Path, model: InvAD) -> Position:
    """Load one checkpoint into the model, which stays as it was where that fails.

    Raises:
        CheckpointError: it is missing or damaged, or belongs to another model.
        RunError: it cannot be read.
    """
    tensors, header = read_checked(path)
    position = _position(path, header)
    _fill(path, tensors, model, None)
    return position


def save_encoder(path: Path, model: InvAD) -> None:
    """Write the frozen encoder's weights, so that the run needs no download later."""
    write_bytes(path, _serialise(dict(model.encoder.state_dict()), {}))  # type: ignore[attr-defined]


def load_encoder(path: Path, model: InvAD) -> None:
    """Load the frozen encoder's weights.

    Raises:
        CheckpointError: the file is missing, damaged, or of another encoder.
    """
    tensors, _ = read_checked(path)
    expected = model.encoder.state_dict()  # type: ignore[attr-defined]
    _refuse_other(path, tensors, expected)
    model.encoder.load_state_dict(tensors)  # type: ignore[attr-defined]


def trained_state(model: InvAD) -> dict[str, Tensor]:
    """Return weights and statistics of neck and decoder by name."""
    return {
        f"{part}.{name}": value
        for part, module in model.trained_modules().items()
        for name, value in module.state_dict().items()
    }


def read_checked(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the header of a file that `save_checkpoint` or `save_encoder` wrote.

    Raises:
        CheckpointError: the file is missing, cut short, changed, or of another format.
        RunError: the file is there and cannot be read; that is no damage of its own, so no older one takes its place.
    """
    _require_readable(path)
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get(HEADER, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error})") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} is damaged (its header is no mapping)")
    found = header.pop("checksum", None)
    if header.get("format") not in (1, FORMAT):
        raise CheckpointError(f"{path} has format {header.get('format')!r}; this version of invad reads 1 to {FORMAT}")
    if found != (checksum(tensors) if header["format"] == 1 else _seal(tensors, header)):
        raise CheckpointError(f"{path} is damaged (its checksum does not match)")
    return tensors, header


def _require_readable(path: Path) -> None:
    """Tell a file that cannot be reached from one that is damaged; safetensors calls both not found."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no file {path}") from error
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}. Once it can be read, try again") from error


def _serialise(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> bytes:
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    said = {**header, "format": FORMAT}
    return save(plain, {HEADER: json.dumps({**said, "checksum": _seal(plain, said)})})


def _seal(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """The SHA-256 of all that a file says: its header without this, and each tensor's name, kind, shape and bytes."""
    kinds = {name: [str(value.dtype), list(value.shape)] for name, value in tensors.items()}
    said = json.dumps([header, kinds, checksum(tensors)], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def _position(path: Path, header: Mapping[str, Any]) -> Position:
    try:
        return Position(**header["position"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged or of another version (its position: {error})") from error


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names and bytes of tensors, as hexadecimal digits."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _optimiser_state(model: InvAD, optimiser: torch.optim.Adam) -> dict[str, Tensor]:
    """Adam's moments and step counts, by parameter name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"{names[id(parameter)]}.{key}": value
        for parameter, state in optimiser.state.items()
        for key, value in state.items()
    }


def _fill(path: Path, tensors: Mapping[str, Tensor], model: InvAD, optimiser: torch.optim.Adam | None) -> None:
    _fill_model(model, _under(tensors, "model."), path)
    if optimiser is not None:
        _fill_optimiser(model, optimiser, _under(tensors, "optimiser."))


def _fill_optimiser(model: InvAD, optimiser: torch.optim.Adam, state: Mapping[str, Tensor]) -> None:
    for name, parameter in model.named_parameters():
        entries = _under(state, f"{name}.")
        if entries:
            step = entries.pop("step").to(parameter.device if optimiser.defaults["fused"] else "cpu")
            moments = {key: _laid_out_as(parameter, value) for key, value in entries.items()}
            optimiser.state[parameter] = {"step": step, **moments}


def _laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    """A value in the parameter's memory format and on its device: Adam in one pass takes both in the order they lie."""
    return torch.empty_like(parameter, requires_grad=False).copy_(value)


def _fill_model(model: InvAD, state: Mapping[str, Tensor], path: Path) -> None:
    _refuse_other(path, state, trained_state(model))
    for part, module in model.trained_modules().items():
        module.load_state_dict(_under(state, f"{part}."))


def _refuse_other(path: Path, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise where names or shapes are not those of the model."""
    missing = sorted(set(expected) - set(state))
    extra = sorted(set(state) - set(expected))
    misshapen = sorted(n for n in set(state) & set(expected) if state[n].shape != expected[n].shape)
    if missing or extra or misshapen:
        first = (missing or extra or misshapen)[0]
        raise CheckpointError(
            f"{path} belongs to another model: {len(missing)} entries are missing, {len(extra)} are not of this model "
            f"and {len(misshapen)} have another shape (the first: {first})"
        )
