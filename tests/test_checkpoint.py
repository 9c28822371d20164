"""Checkpoints: what is written is read, and what is damaged is noticed."""

from pathlib import Path

import pytest
import torch

from invad.checkpoint import Position, list_checkpoints, load_newest, read_checked, save_checkpoint
from invad.errors import CheckpointError
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


def test_another_model_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, small(), None, at(1))
    with pytest.raises(CheckpointError, match="belongs to another model"):
        load_newest(tmp_path, small(style_channels=16))


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", {"invad": '{"format": 99}'})
    with pytest.raises(CheckpointError, match="has format 99"):
        read_checked(tmp_path / "x.safetensors")


def test_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_newest(tmp_path, small())
