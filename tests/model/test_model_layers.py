"""Ways to compute the same thing that GPUs take."""

import pytest
import torch

from invad.model import decoder, layers
from invad.model.layers import EqualisedConv


@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (1, 2)])
def test_upsampling_by_means_is_the_same(kernel: int, padding: int) -> None:
    x, weight = torch.rand(2, 3, 7, 5, dtype=torch.float64), torch.rand(4, 3, kernel, kernel, dtype=torch.float64)
    found = layers._upsample_by_means(x, weight, padding)
    torch.testing.assert_close(found, layers.upsample(x, weight), rtol=0, atol=1e-12)


def test_modulations_made_at_once_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    makers = [(EqualisedConv(4, channels, 3, bias_start=1.0).double(), 0.3) for channels in (8, 8, 6)]
    style = torch.rand(2, 4, 5, 5, dtype=torch.float64)
    one_by_one = list(decoder._modulate(style, makers))
    at_once = list(decoder._modulate_at_once(style, makers))
    for found, expected in zip(at_once, one_by_one, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
