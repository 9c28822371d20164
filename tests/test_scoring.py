"""The map against the definition written out, and the blur against scipy."""

import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from invad.scoring import anomaly_map, gaussian_blur, image_score, raw_map


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.floats(0.3, 9.0), st.integers(0, 2**31))
def test_blur_equals_scipy(height: int, width: int, sigma: float, seed: int) -> None:
    image = np.random.default_rng(seed).normal(size=(height, width))
    ours = gaussian_blur(torch.from_numpy(image)[None], sigma)[0].numpy()
    np.testing.assert_allclose(ours, scipy.ndimage.gaussian_filter(image, sigma), rtol=1e-12, atol=1e-12)


def test_map_is_the_cosine_of_the_concatenation() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 8, 16, 24), (2, 16, 8, 12), (2, 32, 4, 6)]
    features = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    predictions = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]

    def joined(levels: list[torch.Tensor]) -> torch.Tensor:
        resized = [F.interpolate(F.normalize(x, dim=1), (16, 24), mode="bilinear", align_corners=True) for x in levels]
        return torch.cat(resized, dim=1)

    cosine = F.cosine_similarity(joined(features), joined(predictions), dim=1)[:, None]
    expected = F.interpolate(1 - cosine, (64, 96), mode="bilinear", align_corners=True)[:, 0]
    torch.testing.assert_close(raw_map(features, predictions, (64, 96)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_map_does_not_depend_on_the_scale_of_the_features(scale: float) -> None:
    torch.manual_seed(0)
    features, predictions = [torch.randn(1, 8, 8, 8).double()], [torch.randn(1, 8, 8, 8).double()]
    torch.testing.assert_close(
        anomaly_map(features, [p * scale for p in predictions], (32, 32)), anomaly_map(features, predictions, (32, 32))
    )


def test_score_is_the_largest_value() -> None:
    maps = torch.rand(3, 5, 7)
    assert torch.equal(image_score(maps), torch.stack([m.max() for m in maps]))
