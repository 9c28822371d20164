"""Encoders: weights from every place they may come from, and clear errors where they cannot be had."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from invad.errors import SettingsError, WeightsError
from invad.model import build_encoder, build_model
from invad.model.backbones import BACKBONES
from invad.model.encoder import read_state
from invad.settings import TrainSettings

IMAGES = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def features(encoder: torch.nn.Module) -> list[Tensor]:
    with torch.no_grad():
        return encoder.eval()(IMAGES)  # type: ignore[no-any-return]


def test_genuine_weights_load_and_matter(shared: Path) -> None:
    path = shared / "weights/resnet18_imagenet_layers1to3.safetensors"
    loaded = features(build_encoder("resnet18", weights=path))
    assert [f.shape for f in loaded] == [(2, 64, 16, 24), (2, 128, 8, 12), (2, 256, 4, 6)]
    assert not torch.equal(loaded[0], features(build_encoder("resnet18", weights="random"))[0])


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
def test_a_pth_file_gives_the_same_features_as_safetensors(tmp_path: Path, wrap: str | None) -> None:
    torch.manual_seed(1)
    state = build_encoder("resnet18", weights="random").backbone.state_dict()  # type: ignore[union-attr]
    state = {**state, "fc.weight": torch.zeros(10, 512)}  # a whole checkpoint holds more than the stages in use
    save_file(state, tmp_path / "w.safetensors")
    torch.save({wrap: state} if wrap else state, tmp_path / "w.pth")
    a = features(build_encoder("resnet18", weights=tmp_path / "w.safetensors"))
    b = features(build_encoder("resnet18", weights=tmp_path / "w.pth"))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_weights_from_the_hugging_face_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pretrained=True` reads the hub's cache: a fake one with the right layout, without any network."""
    import timm
    from huggingface_hub import constants

    torch.manual_seed(2)
    whole = timm.create_model("resnet18", pretrained=False)
    name = whole.pretrained_cfg["hf_hub_id"]
    commit = "0" * 40
    repository = tmp_path / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(commit)
    (repository / "snapshots" / commit).mkdir(parents=True)
    save_file(whole.state_dict(), repository / "snapshots" / commit / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    torch.manual_seed(3)
    encoder = build_encoder("resnet18")
    assert torch.equal(encoder.backbone.state_dict()["conv1.weight"], whole.state_dict()["conv1.weight"])  # type: ignore[union-attr]
    drawn = torch.rand(3)
    torch.manual_seed(3)
    build_encoder("resnet18", weights="random")
    assert torch.equal(torch.rand(3), drawn), "a resumed run draws its neck and decoder after an encoder from a file"


def test_no_weights_anywhere_names_three_ways_and_the_analytic_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"\(1\).*\(2\).*HF_HOME.*\(3\).*--weights FILE.*analytic"):
        build_encoder("resnet34")


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="neither 'analytic' nor a timm model"):
        build_encoder("resnet1800")
    with pytest.raises(WeightsError, match="no weights file"):
        build_encoder("resnet18", weights=tmp_path / "absent.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"not tensors")
    with pytest.raises(WeightsError, match="cannot be read"):
        build_encoder("resnet18", weights=tmp_path / "broken.safetensors")
    save_file({"conv1.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="does not fit encoder 'resnet18'"):
        build_encoder("resnet18", weights=tmp_path / "other.safetensors")
    with pytest.raises(SettingsError, match="takes no weights"):
        build_encoder("analytic", weights="random")
    with pytest.raises(SettingsError, match="multiples of 16"):
        build_model("resnet18", weights="random", image_size=(250, 256))


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    torch.save({"conv1.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError):
        read_state(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_other_levels_and_resized_levels() -> None:
    deeper = build_encoder("resnet18", weights="random", levels=(2, 3, 4))
    assert deeper.strides == (8, 16, 32)
    assert [f.shape[2:] for f in features(deeper)] == [(8, 12), (4, 6), (2, 3)]
    with pytest.raises(SettingsError, match="--resize-levels"):
        build_encoder("resnet18", weights="random", levels=(0, 1, 3))
    resized = build_encoder("resnet18", weights="random", levels=(0, 1, 3), resize_levels=True)
    assert resized.strides == (4, 8, 16)
    assert [f.shape[2:] for f in features(resized)] == [(16, 24), (8, 12), (4, 6)]


@pytest.mark.parametrize(
    ("encoder", "blocks", "whole", "neck", "decoder"),
    [("resnet34", (4, 4, 4), 17.15, 0.45, 8.52), ("wide_resnet50_2", (2, 2, 2), 95.63, 3.49, 67.28)],
)
def test_parameter_counts(
    encoder: str, blocks: tuple[int, int, int], whole: float, neck: float, decoder: float
) -> None:
    model = build_model(encoder, weights="random", blocks=blocks)

    def millions(module: torch.nn.Module) -> float:
        return round(sum(p.numel() for p in module.parameters()) / 1e6, 2)

    assert (millions(model), millions(model.neck), millions(model.decoder)) == (whole, neck, decoder)


def test_the_encoder_stays_frozen_and_in_eval_mode() -> None:
    model = build_model("resnet18", weights="random", image_size=(64, 96)).train()
    assert model.neck.training and not model.encoder.training  # type: ignore[attr-defined]
    before = {k: v.clone() for k, v in model.encoder.state_dict().items()}  # type: ignore[attr-defined]
    _, predictions = model(IMAGES)
    sum(p.sum() for p in predictions).backward()
    assert all(p.grad is None for p in model.encoder.parameters())  # type: ignore[attr-defined]
    after = model.encoder.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_one_image_gives_the_same_as_a_batch() -> None:
    model = build_model("resnet18", weights="random", image_size=(64, 96)).double().eval()
    with torch.no_grad():
        together = model.predict(model.encode(IMAGES))
        alone = model.predict(model.encode(IMAGES[1:]))
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a[1:], b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "size", "channels", "strides"),
    [
        ("vit_small_patch14_reg4_dinov2", 56, (384, 384, 384), (7, 14, 28)),
        ("vit_small_patch16_dinov3", 64, (384, 384, 384), (8, 16, 32)),
        ("convnext_tiny", 32, (96, 192, 384), (4, 8, 16)),
    ],
)
def test_backbones_with_settings_of_their_own(
    name: str, size: int, channels: tuple[int, int, int], strides: tuple[int, int, int]
) -> None:
    settings = TrainSettings(data=("folder:x",), encoder=name).resolved(("folder",), fastest="fp32")
    assert settings.levels is not None
    assert settings.size[0] % strides[2] == 0
    encoder = build_encoder(name, weights="random", levels=settings.levels, resize_levels=settings.resize_levels)
    assert (encoder.channels, encoder.strides) == (channels, strides)
    images = torch.randint(0, 256, (2, 3, size, 2 * size), dtype=torch.uint8)
    found = encoder.eval()(images)
    assert [tuple(f.shape) for f in found] == [
        (2, c, size // s, 2 * size // s) for c, s in zip(channels, strides, strict=True)
    ]
    model = build_model(encoder, image_size=(size, 2 * size), blocks=(1, 1, 1))
    assert [tuple(p.shape) for p in model.predict(found)] == [tuple(f.shape) for f in found]


@pytest.mark.parametrize("name", BACKBONES)
def test_timm_knows_every_backbone(name: str) -> None:
    import timm

    assert timm.is_model(name)
