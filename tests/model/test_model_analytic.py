"""The analytic encoder: shapes, statistics, what it tells apart, determinism."""

import io

import pytest
import torch
from torch import Tensor

from invad.model.analytic import BOUND, AnalyticEncoder, halve, morlets


def pictures(count: int, height: int = 64, width: int = 64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, height // 8, width // 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    noise = 0.05 * torch.randn(count, 3, height, width, generator=generator)
    return ((smooth + noise).clamp(0, 1) * 255).round().to(torch.uint8)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 80), (64, 64)])
def test_levels_have_the_promised_shapes(height: int, width: int) -> None:
    encoder = AnalyticEncoder()
    levels = encoder(pictures(2, height, width))
    assert [tuple(level.shape) for level in levels] == [
        (2, channels, height // stride, width // stride)
        for channels, stride in zip(encoder.channels, encoder.strides, strict=True)
    ]
    assert all(level.dtype == torch.float32 and level.isfinite().all() for level in levels)


def test_fit_standardises_every_channel() -> None:
    encoder, images = AnalyticEncoder(), pictures(6)
    encoder.fit(images.split(2))
    for bounded in encoder(images):
        level = BOUND * torch.atanh(bounded.double() / BOUND)
        assert level.mean((0, 2, 3)).abs().max() < 1e-3
        spread = level.std((0, 2, 3), correction=0)
        assert (spread < 1.001).all() and (spread > 0.999).float().mean() > 0.5  # some bins stay nearly empty


def test_what_training_never_showed_stays_bounded() -> None:
    encoder = AnalyticEncoder()
    encoder.fit([pictures(6) // 4])  # dark
    for level in encoder(torch.full((1, 3, 64, 64), 255, dtype=torch.uint8)):
        assert level.abs().max() <= BOUND and level.square().mean() < BOUND**2 / 2


def test_fit_does_not_depend_on_order_or_batches() -> None:
    first, second, images = AnalyticEncoder(), AnalyticEncoder(), pictures(6)
    first.fit(images.split(2))
    second.fit(images.flip(0).split(4))
    for name, value in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_fit_needs_an_image() -> None:
    with pytest.raises(ValueError, match="there was none"):
        AnalyticEncoder().fit([])


def test_state_holds_the_statistics_alone_and_restores_them() -> None:
    encoder, images = AnalyticEncoder(), pictures(3)
    encoder.fit([images])
    file = io.BytesIO()
    torch.save(encoder.state_dict(), file)
    file.seek(0)
    restored = AnalyticEncoder()
    restored.load_state_dict(torch.load(file, weights_only=True))
    assert set(restored.state_dict()) == {f"{kind}_{i}" for kind in ("mean", "std") for i in range(3)}
    for a, b in zip(encoder(images), restored(images), strict=True):
        assert torch.equal(a, b)


def test_same_result_twice_and_in_any_batch() -> None:
    encoder, images = AnalyticEncoder(), pictures(4)
    whole = encoder(images)
    for a, b in zip(whole, encoder(images), strict=True):
        assert torch.equal(a, b)
    for i in range(4):
        for a, b in zip(whole, encoder(images[i : i + 1]), strict=True):
            torch.testing.assert_close(b[0], a[i], rtol=1e-4, atol=1e-4)


def test_a_uniform_image_has_uniform_features() -> None:
    for level in AnalyticEncoder()(torch.full((1, 3, 64, 64), 90, dtype=torch.uint8)):
        assert (level - level[:, :, :1, :1]).abs().max() < 1e-3


def test_colour_alone_changes_the_features() -> None:
    grey = torch.full((1, 3, 64, 64), 120, dtype=torch.uint8)
    tinted = grey.clone()
    tinted[:, 0], tinted[:, 1] = 150, 105  # about the same luminance
    encoder = AnalyticEncoder()
    for a, b in zip(encoder(grey), encoder(tinted), strict=True):
        assert (a - b).abs().max() > 0.1


def test_features_move_with_the_image() -> None:
    images = pictures(1, 128, 128)
    encoder = AnalyticEncoder()
    still, moved = encoder(images)[0], encoder(images.roll(16, dims=3))[0]
    torch.testing.assert_close(moved[..., 12:20, 16:20], still[..., 12:20, 12:16], rtol=1e-4, atol=1e-4)


def test_wavelets_are_blind_to_a_constant_and_tell_orientations_apart() -> None:
    wavelets = morlets(4)
    assert wavelets.sum((1, 2, 3)).abs().max() < 1e-6
    half = wavelets.shape[-1] // 2
    wave = torch.cos(torch.arange(-half, half + 1) * (3 * torch.pi / 4)).expand(2 * half + 1, -1)  # varies along x
    response = (wavelets[:, 0] * wave).sum((1, 2))
    moduli = (response[:4].square() + response[4:].square()).sqrt()
    assert moduli.argmax() == 0 and moduli[0] > 3 * moduli[2]


def test_halving_keeps_constants_and_centres() -> None:
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    assert torch.equal(halve(torch.ones(1, 2, 8, 8)), torch.ones(1, 2, 4, 4))
    torch.testing.assert_close(halve(ramp)[0, 0, 2, 1:-1], torch.arange(2.5, 14.0, 2.0))


def test_exports_with_a_free_batch_size() -> None:
    encoder, images = AnalyticEncoder(), pictures(3)
    program = torch.export.export(encoder, (images,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},))
    other = pictures(5, seed=1)
    for a, b in zip(encoder(other), program.module()(other), strict=True):
        torch.testing.assert_close(a, b)
