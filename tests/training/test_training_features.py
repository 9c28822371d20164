"""Features are the same wherever they are kept, and a file of them that is not whole is made again."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from invad.data import ImageSource, content_hashes
from invad.model import InvAD, build_model
from invad.model.encoder import build_encoder
from invad.processes import Processes
from invad.records import Record
from invad.runs import environment
from invad.settings import Precision
from invad.training import features as features_module
from invad.training.features import (
    GIB,
    Budget,
    EncodedInEveryStep,
    Features,
    InMemory,
    OnDisk,
    encoder_key,
    feature_bytes,
    feature_shapes,
    open_features,
    place_among,
    place_features,
)

CPU = torch.device("cpu")
BATCHES = [np.array([3, 20, 0]), np.array([7])]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(21):
        Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / f"{i:02d}.png")
    return sorted(folder.iterdir())


def build(seed: int = 0) -> InvAD:
    torch.manual_seed(seed)
    return build_model("resnet18", weights="random", image_size=(32, 32), style_channels=8, blocks=(1, 1, 1))


@pytest.fixture(scope="module")
def model() -> InvAD:
    return build()


Opened = Callable[..., tuple[Features, str]]


@pytest.fixture
def opened(images: list[Path], model: InvAD, tmp_path: Path) -> Opened:
    """Opens the features of the images under a budget in GiB."""

    def open_them(
        memory: float = 0.0,
        disk: float = 0.0,
        *,
        precision: Precision = "fp32",
        encoder: InvAD = model,
        size: tuple[int, int] = (32, 32),
        paths: list[Path] = images,
    ) -> tuple[Features, str]:
        source = ImageSource([Record(image=path, class_name="a", split="train") for path in paths], size)
        budget, hashes = Budget(memory=memory, disk=disk, folder=tmp_path / "features"), content_hashes(paths)
        return open_features(
            encoder, source, budget, precision, hashes=hashes, processes=Processes(device=CPU), quiet=True
        )

    return open_them


def found(features: Features) -> list[list[Tensor]]:
    return list(features.batches(BATCHES))


@pytest.mark.parametrize(("precision", "rtol", "atol"), [("fp32", 1e-4, 1e-5), ("bf16", 2**-7, 1e-3)])
def test_features_are_the_same_wherever_they_are_kept(
    precision: Precision, rtol: float, atol: float, opened: Opened
) -> None:
    kept = [opened(1.0, precision=precision), opened(0.0, 1.0, precision=precision), opened(precision=precision)]
    assert [type(features) for features, _ in kept] == [InMemory, OnDisk, EncodedInEveryStep]
    for (_, said), words in zip(kept, ("kept in memory", "kept in", "in every step"), strict=True):
        assert words in said
    expected = found(kept[2][0])
    for features, _ in kept:
        for batch, reference, chosen in zip(found(features), expected, BATCHES, strict=True):
            for level, other in zip(batch, reference, strict=True):
                assert level.shape == other.shape and len(level) == len(chosen)
                assert level.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
                assert level.is_contiguous(memory_format=torch.channels_last)
                torch.testing.assert_close(level, other, rtol=rtol, atol=atol)


def damage_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize("harm", [damage_bit, truncate, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("again", [True, False], ids=["before a run", "during a run"])
def test_a_file_that_is_not_whole_is_made_again(harm: Callable[[Path], object], again: bool, opened: Opened) -> None:
    features, _ = opened(0.0, 1.0)
    assert isinstance(features, OnDisk)
    expected, victim = found(features), features.files[20]
    whole = victim.read_bytes()
    harm(victim)
    if again:
        features, _ = opened(0.0, 1.0)
    for batch, reference in zip(found(features), expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, reference, strict=True))
    assert victim.read_bytes() == whole


def test_processes_share_the_files(opened: Opened) -> None:
    features, _ = opened(0.0, 1.0)
    assert isinstance(features, OnDisk)
    expected = found(features)
    for path in features.files:
        path.unlink()
    for rank, there in ((1, 7), (0, 14), (2, 21)):
        features.fill(Processes(rank=rank, count=3, device=CPU), quiet=True)
        assert sum(path.is_file() for path in features.files) == there
    for batch, reference in zip(found(features), expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, reference, strict=True))


def test_processes_share_the_encoding_of_features_in_memory(
    model: InvAD, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """21 images are two blocks; what the other process sends is tested with both (`test_training_parallel.py`)."""
    source = ImageSource([Record(image=path, class_name="a", split="train") for path in images], (32, 32))
    shapes, sent = feature_shapes(model, source, CPU), []
    monkeypatch.setattr(Processes, "fill_from", lambda self, rank, values: sent.append((rank, len(values))))
    counts: list[int] = []
    original = InvAD.encode
    monkeypatch.setattr(InvAD, "encode", lambda self, x: counts.append(len(x)) or original(self, x))

    def levels(rank: int, count: int) -> list[Tensor]:
        processes = Processes(rank=rank, count=count, device=CPU)
        return features_module._encode_all(model, source, shapes, torch.float32, CPU, processes, quiet=True).levels

    whole, second = levels(0, 1), levels(1, 2)
    assert counts == [11, 10, 10] and sent[-6:] == [(0, 11)] * 3 + [(1, 10)] * 3
    assert all(torch.equal(a[11:], b[11:]) for a, b in zip(whole, second, strict=True))


def test_processes_of_a_host_share_its_memory(tmp_path: Path) -> None:
    budget = Budget(memory=1.5, disk=1.0, folder=tmp_path)
    for on_host, kept in ((1, "memory"), (2, "disk")):
        assert place_among(int(GIB), budget, Processes(device=CPU, on_host=on_host)) == (kept, CPU)


def files(opened: tuple[Features, str]) -> tuple[Path, ...]:
    features, _ = opened
    assert isinstance(features, OnDisk)
    return features.files


def test_what_a_file_is_named_by(
    opened: Opened, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = files(opened(0.0, 1.0))
    assert len(set(first)) == len(images)
    assert files(opened(0.0, 1.0)) == first
    moved = tmp_path / "moved.png"
    moved.write_bytes(images[4].read_bytes())
    assert files(opened(0.0, 1.0, paths=[moved])) == first[4:5], "what an image holds counts, not where it lies"
    moved.write_bytes(moved.read_bytes() + b" ")
    others = [
        files(opened(0.0, 1.0, paths=[moved])),
        files(opened(0.0, 1.0, encoder=build(seed=1))),
        files(opened(0.0, 1.0, size=(32, 64))),
        files(opened(0.0, 1.0, precision="bf16")),
    ]
    for package in ("pillow", "torch", "timm"):
        with monkeypatch.context() as patch:
            patch.setattr(features_module, "environment", lambda new=package: {**environment(), new: "9.9"})
            others.append(files(opened(0.0, 1.0)))
    for other in others:
        assert not set(other) & set(first)
        first += other


def test_the_budget_is_kept_to_the_byte(model: InvAD, images: list[Path], tmp_path: Path) -> None:
    source = ImageSource([Record(image=images[0], class_name="a", split="train")], (32, 32))
    shapes = feature_shapes(model, source, CPU)
    one = sum(level.nbytes for level in model.encode(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)))
    assert feature_bytes(shapes, "fp32") == one and feature_bytes(shapes, "bf16") == one // 2
    for memory, disk, place in ((one, 0, "memory"), (one - 1, one, "disk"), (one - 1, one - 1, "nowhere")):
        assert place_features(one, Budget(memory=memory / GIB, disk=disk / GIB, folder=tmp_path)) == place
    assert place_features(one, Budget(memory=0.0, disk=0.0, folder=tmp_path)) == "nowhere"


def test_encoders_with_other_levels_share_no_entries() -> None:
    """Weights and modules are the same; what they give is not."""

    def key(levels: tuple[int, int, int]) -> str:
        torch.manual_seed(0)
        encoder = build_encoder("resnet18", weights="random", levels=levels, resize_levels=levels[0] == 0)
        return encoder_key(SimpleNamespace(encoder=encoder))  # type: ignore[arg-type]

    assert key((1, 2, 3)) == key((1, 2, 3)) != key((0, 2, 3))
