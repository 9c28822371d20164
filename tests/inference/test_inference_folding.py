"""The folded model is the same function, and its map, computed at the levels' own sizes, that of resized levels."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from invad.inference.folding import fold
from invad.inference.similarity import MapHead
from invad.model import InvAD, build_model
from invad.scoring import anomaly_map, image_score

SIZE = (64, 96)


def unsettled(encoder: str, **options: object) -> InvAD:
    """A model whose biases and statistics are not at their start."""
    torch.manual_seed(0)
    model = build_model(encoder, image_size=SIZE, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith(("bias", "running_mean")):
                value += 0.1 * torch.randn_like(value)
            elif name.endswith("running_var"):
                value *= torch.rand_like(value) + 0.5
    return model.eval()


def images(batch: int) -> torch.Tensor:
    return torch.randint(0, 256, (batch, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(batch))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("resnet18", {"weights": "random", "blocks": (2, 1, 3)}),
        ("wide_resnet50_2", {"weights": "random", "blocks": (1, 1, 1), "style_channels": 16}),
        ("efficientnet_b0", {"weights": "random", "levels": (2, 3, 4), "resize_levels": True, "blocks": (1, 1, 1)}),
        ("analytic", {"blocks": (1, 2, 1)}),
        (
            "resnet18",
            {
                "weights": "random",
                "blocks": (1, 1, 1),
                "standardise": True,
                "sigma": 6.0,
            },
        ),
    ],
)
def test_folded_equals_unfolded(encoder: str, options: dict[str, object], batch: int) -> None:
    model = unsettled(encoder, **options).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded = fold(model, SIZE)
    with torch.no_grad():
        features, predictions = model(images(batch))
        expected = anomaly_map(features, predictions, SIZE, sigma=model.sigma)
        maps, scores = folded(images(batch))
        theirs = folded.decoder(folded.neck(folded.encoder(images(batch))))
    for ours, other in zip(predictions, theirs, strict=True):
        assert (ours - other).abs().max() < 1e-9 * ours.abs().max()
    assert (maps - expected).abs().max() < 1e-9
    assert (scores - image_score(expected)).abs().max() < 1e-9
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "the model is untouched"


def test_fp32_is_equal_to_rounding() -> None:
    model = unsettled("resnet18", weights="random", blocks=(4, 4, 4))
    with torch.no_grad():
        expected = anomaly_map(*model(images(2)), SIZE)
        maps, _ = fold(model, SIZE)(images(2))
    assert maps.dtype == torch.float32
    assert (maps - expected).abs().max() < 1e-5 * (expected.max() - expected.min())


def test_batch_norms_are_gone() -> None:
    folded = fold(unsettled("resnet18", weights="random", blocks=(1, 1, 1)), SIZE)
    assert not [m for m in folded.modules() if isinstance(m, torch.nn.BatchNorm2d)]


@settings(max_examples=30, deadline=None)
@given(
    coarse=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    fine=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 1000),
)
def test_head_equals_the_plain_map(
    coarse: tuple[int, int], fine: tuple[int, int], size: tuple[int, int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    fine = (max(fine[0], coarse[0]), max(fine[1], coarse[1]))
    levels = [fine, coarse]
    features, predictions = (
        [torch.randn(2, 5, *level, dtype=torch.float64, generator=generator) for level in levels] for _ in range(2)
    )
    expected = anomaly_map(features, predictions, size)
    maps, scores = MapHead(levels, size).double()(features, predictions)
    assert (maps - expected).abs().max() < 1e-9
    assert torch.equal(scores, maps.flatten(1).amax(1))


@pytest.mark.parametrize("sigma", [0.0, 6.0])
def test_head_blurs_as_it_is_told(sigma: float) -> None:
    generator = torch.Generator().manual_seed(1)
    levels = [(12, 10), (6, 5)]
    features, predictions = (
        [torch.randn(2, 5, *level, dtype=torch.float64, generator=generator) for level in levels] for _ in range(2)
    )
    maps, _ = MapHead(levels, (48, 40), sigma=sigma).double()(features, predictions)
    assert (maps - anomaly_map(features, predictions, (48, 40), sigma=sigma)).abs().max() < 1e-9


def test_head_in_half_precision_computes_in_single() -> None:
    levels = [(8, 8), (4, 4)]
    f = [torch.randn(1, 16, *level) for level in levels]
    p = [F.normalize(level, dim=1) * 1e4 for level in f]  # squares of these overflow fp16
    maps, _ = MapHead(levels, (32, 32))([x.half() for x in f], [x.half() for x in p])
    assert maps.dtype == torch.float32 and maps.abs().max() < 1e-2
