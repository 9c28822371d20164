"""Checkpoints: what is written is read, and what is damaged is noticed."""

import dataclasses
import errno
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from invad.checkpoint import (
    Position,
    checksum,
    list_checkpoints,
    load_checkpoint,
    load_newest,
    read_checked,
    save_checkpoint,
    set_aside_newer,
    trained_state,
)
from invad.errors import CheckpointError, RunError
from invad.model import InvAD, build_model, inversion_loss
from invad.training.optimisation import make_optimiser


def small(seed: int = 0, style_channels: int = 8) -> InvAD:
    torch.manual_seed(seed)
    return build_model(
        "resnet18", weights="random", image_size=(32, 32), style_channels=style_channels, blocks=(1, 1, 1)
    )


def stepped(model: InvAD) -> torch.optim.Adam:
    optimiser = make_optimiser(model.trained_parameters(), 1e-3)
    features = model.encode(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8))
    inversion_loss(features, model.train().predict(features), 1.0).backward()
    optimiser.step()
    return optimiser


def at(total_steps: int) -> Position:
    return Position(epoch=total_steps, step=0, total_steps=total_steps)


def test_round_trip_with_optimiser(tmp_path: Path) -> None:
    model = small()
    optimiser = stepped(model)
    save_checkpoint(tmp_path, model, optimiser, at(7))
    other = small(seed=1)
    other_optimiser = make_optimiser(other.trained_parameters(), 1e-3)
    assert load_newest(tmp_path, other, other_optimiser) == at(7)
    for a, b in zip(model.trained_parameters(), other.trained_parameters(), strict=True):
        assert torch.equal(a, b)
        for key, value in optimiser.state[a].items():
            assert torch.equal(value, other_optimiser.state[b][key])


def test_equal_states_give_equal_files(tmp_path: Path) -> None:
    model = small()
    optimiser = stepped(model)
    files = [save_checkpoint(tmp_path / str(i), model, optimiser, at(7)).read_bytes() for i in range(10)]
    assert len(set(files)) == 1


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    model = small()
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, model, None, at(step))
    assert [path.stem for path in list_checkpoints(tmp_path)] == ["000000003", "000000002"]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_one_is_passed_over_with_a_warning(tmp_path: Path, damage: str) -> None:
    model = small()
    save_checkpoint(tmp_path, model, None, at(1))
    newest = save_checkpoint(tmp_path, model, None, at(2))
    data = bytearray(newest.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "flip":
        data[-1000] ^= 1
    else:
        data = bytearray()
    newest.write_bytes(data)
    with pytest.warns(UserWarning, match=r"000000002.safetensors is damaged.*the one before"):
        assert load_newest(tmp_path, small(seed=1)) == at(1)
    list_checkpoints(tmp_path)[1].unlink()
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(CheckpointError, match=r"all 1 checkpoints in .* are damaged"),
    ):
        load_newest(tmp_path, model)


class Tiny:
    """What a checkpoint asks of a model, in a file of some hundred bytes."""

    def __init__(self, value: float) -> None:
        self.neck = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(self.neck.weight, value)
        torch.nn.init.constant_(self.neck.bias, value)

    def trained_modules(self) -> dict[str, torch.nn.Module]:
        return {"neck": self.neck}


def test_any_bit_that_flips_is_noticed(tmp_path: Path) -> None:
    before = at(1)
    after = Position(epoch=2, step=3, total_steps=13, best_loss=0.25, best_epoch=1, cooling_since=1, parts=2)
    model: Any = Tiny(1.0)
    save_checkpoint(tmp_path, model, None, before)
    model = Tiny(2.0)
    whole = save_checkpoint(tmp_path, model, None, after)
    data = whole.read_bytes()
    for number in range(0, 8 * len(data), 3):  # bits of every byte, in every place
        flipped = bytearray(data)
        flipped[number // 8] ^= 1 << number % 8
        whole.write_bytes(flipped)
        loaded: Any = Tiny(0.0)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            assert load_newest(tmp_path, loaded) == before, f"bit {number % 8} of byte {number // 8}"
        assert "trying the one before" in str(said[0].message) and loaded.neck.weight.item() == 1.0
    whole.write_bytes(data)
    assert load_newest(tmp_path, model) == after


def write_first_format(path: Path, model: InvAD, position: dict[str, object]) -> None:
    """A checkpoint as it was when the checksum left the header out."""
    tensors = {f"model.{name}": value.contiguous() for name, value in trained_state(model).items()}
    header = {"position": position, "format": 1, "checksum": checksum(tensors)}
    save_file(tensors, path, {"invad": json.dumps(header)})


def test_the_first_format_is_read(tmp_path: Path) -> None:
    model, other = small(), small(seed=1)
    write_first_format(tmp_path / "000000007.safetensors", model, dataclasses.asdict(at(7)))
    write_first_format(tmp_path / "000000009.safetensors", other, {**dataclasses.asdict(at(9)), "spep": 0})
    with pytest.warns(UserWarning, match=r"000000009.safetensors is damaged .*spep.*the one before"):
        assert load_newest(tmp_path, other) == at(7)
    assert all(torch.equal(a, b) for a, b in zip(model.trained_parameters(), other.trained_parameters(), strict=True))


def test_a_damaged_one_does_not_count_among_the_last_two(tmp_path: Path) -> None:
    model = small()
    for step in (5, 13):
        save_checkpoint(tmp_path, model, None, at(step))
    damaged = list_checkpoints(tmp_path)[0]
    damaged.write_bytes(b"half")
    with pytest.warns(UserWarning, match="is damaged"):
        position = load_newest(tmp_path, model)
    set_aside_newer(tmp_path, position)
    for step, kept in ((7, [7, 5]), (15, [15, 7])):
        save_checkpoint(tmp_path, model, None, at(step))
        assert [int(path.stem) for path in list_checkpoints(tmp_path)] == kept
    assert (tmp_path / "000000013.safetensors.damaged").read_bytes() == b"half"


def test_one_that_cannot_be_reached_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, small(), None, at(step))

    def stale(path: Path, *args: Any) -> Any:
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    monkeypatch.setattr(Path, "open", stale)
    for load in (lambda: load_newest(tmp_path, small()), lambda: load_checkpoint(tmp_path / "a", small())):
        with pytest.raises(RunError, match=r"cannot read .*: Stale file handle") as caught:
            load()
        assert not isinstance(caught.value, CheckpointError), "the one before would be taken, and this one set aside"


def test_another_model_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, small(), None, at(1))
    with pytest.raises(CheckpointError, match="belongs to another model"):
        load_newest(tmp_path, small(style_channels=16))


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", {"invad": '{"format": 99}'})
    with pytest.raises(CheckpointError, match="has format 99"):
        read_checked(tmp_path / "x.safetensors")


def test_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_newest(tmp_path, small())
