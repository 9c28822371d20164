"""Standardised features, and the loss over them, against NumPy and the anomaly map."""

import numpy as np
import pytest
import torch

from invad.inference.checksum import model_checksum
from invad.model import build_encoder, build_model, inversion_loss
from invad.model.standardised import LEAST_STD, StandardisedEncoder
from invad.model.statistics import channel_statistics
from invad.scoring import SIGMA, raw_map


def test_statistics_are_those_of_all_images_in_any_batching() -> None:
    levels = [torch.randn(6, 3, 5, 4) * 3 + 7, torch.randn(6, 2, 2, 2)]
    for sizes in ([6], [1, 5], [2, 2, 2]):
        found = channel_statistics(zip(*(level.split(sizes) for level in levels)))
        for level, (mean, std) in zip(levels, found, strict=True):
            values = np.moveaxis(level.double().numpy(), 1, -1).reshape(-1, level.shape[1])
            np.testing.assert_allclose(mean.numpy(), values.mean(axis=0), rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(std.numpy(), values.std(axis=0), rtol=1e-7)


def test_no_image_is_an_error() -> None:
    with pytest.raises(ValueError, match="there was none"):
        channel_statistics([])


def test_channels_have_zero_mean_and_unit_variance() -> None:
    torch.manual_seed(0)
    inner = build_encoder("resnet18", weights="random").eval()
    encoder = StandardisedEncoder(inner)  # type: ignore[arg-type]
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    assert all(torch.equal(a, b) for a, b in zip(encoder(images), inner(images), strict=True)), "before fit: unchanged"
    encoder.fit([images[:1], images[1:]])
    for raw, level in zip(inner(images), encoder(images), strict=True):
        deviation = raw.std((0, 2, 3), correction=0)
        assert level.mean((0, 2, 3)).abs().max() < 1e-3
        alive = deviation > LEAST_STD
        assert alive.any() and (level.std((0, 2, 3), correction=0)[alive] - 1).abs().max() < 1e-3


def test_a_channel_that_never_answers_stays_bounded() -> None:
    encoder = StandardisedEncoder(build_encoder("resnet18", weights="random"))  # type: ignore[arg-type]
    encoder.fit([torch.zeros(1, 3, 64, 64, dtype=torch.uint8)])
    assert all(encoder.get_buffer(f"std_{i}").min() >= LEAST_STD for i in range(3))


def test_the_cosine_loss_is_the_mean_of_the_levels_maps() -> None:
    torch.manual_seed(0)
    levels = [(2, 8, 12, 10), (2, 16, 6, 5)]
    features, predictions = ([torch.randn(*level).double() for level in levels] for _ in range(2))
    maps = [raw_map([f], [p], f.shape[-2:]) for f, p in zip(features, predictions, strict=True)]
    expected = 3.0 * sum(one.mean() for one in maps)
    assert inversion_loss(features, predictions, 3.0, "cosine").item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize(("size", "hard"), [((12, 10), 12), ((5, 5), 3), ((1, 1), 1)])
def test_the_hard_cosine_loss_counts_the_worst_tenth_of_each_image(size: tuple[int, int], hard: int) -> None:
    torch.manual_seed(0)
    feature, prediction = (torch.randn(3, 8, *size).double().requires_grad_() for _ in range(2))
    loss = inversion_loss([feature], [prediction], 2.0, "hard-cosine")
    loss.backward()  # type: ignore[no-untyped-call]
    found = prediction.grad
    prediction.grad = None
    total = torch.zeros((), dtype=torch.float64)
    for image in raw_map([feature], [prediction], size):
        ordered = image.flatten().sort(descending=True).values
        total = total + ordered[:hard].sum() + 0.1 * ordered[hard:].sum()
    expected = 2.0 * total / (3 * size[0] * size[1])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    expected.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, prediction.grad, rtol=1e-10, atol=1e-14)


def test_where_all_positions_are_equally_hard_the_loss_is_the_plain_one() -> None:
    level = torch.ones(2, 4, 5, 5)
    for prediction in (-level, torch.zeros_like(level)):
        hard, plain = (inversion_loss([level], [prediction], 1.0, kind) for kind in ("hard-cosine", "cosine"))
        assert hard.item() == pytest.approx(plain.item(), rel=1e-6)


def test_models_that_score_otherwise_have_other_checksums() -> None:
    options = {"weights": "random", "image_size": (64, 64), "blocks": (1, 1, 1)}

    def checksum(sigma: float) -> str:
        torch.manual_seed(0)
        return model_checksum(build_model("resnet18", sigma=sigma, **options))  # type: ignore[arg-type]

    assert checksum(SIGMA) == checksum(SIGMA) != checksum(6.0)
