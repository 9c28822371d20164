"""The decoder: style codes -> the features of the encoder, inverted from a learned constant.

Reference: arXiv:2404.10760, section 3.3.
"""

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invad.model.layers import GAIN, ConvLayer, EqualisedConv, ModulatedConv, NormalisedUpConv
from invad.records import Size

HALF = 1.0 / math.sqrt(2.0)
"""Of the variance of a residual block's sum."""


Maker = tuple[EqualisedConv, float]
"""What makes a scale or a shift of the style, and its gain."""


class ResidualBlock(nn.Module):
    """Two convolutions under one style beside a learned skip; a finer level's first block also doubles the size."""

    def __init__(self, in_channels: int, out_channels: int, latent_channels: int, *, up: bool = False) -> None:
        super().__init__()
        self.up = up
        self.conv1: NormalisedUpConv | ModulatedConv = (
            NormalisedUpConv(in_channels, out_channels)
            if up
            else ModulatedConv(in_channels, out_channels, latent_channels)
        )
        self.conv2 = ModulatedConv(out_channels, out_channels, latent_channels)
        self.skip = EqualisedConv(in_channels, out_channels, 1, up=up)

    def makers(self) -> list[Maker]:
        """Return what makes scale and shift of each modulated convolution, in the order in which they are taken."""
        first = () if self.up else self.conv1.makers()  # type: ignore[operator]
        return [*first, *self.conv2.makers(GAIN * HALF)]

    def forward(self, x: Tensor, modulations: Iterator[Tensor]) -> Tensor:
        """Map x (B or 1, C_in, h, w), under what its makers make of the style, to (B, C_out, h', w')."""
        y = self.conv1(x) if self.up else self.conv1(x, (next(modulations), next(modulations)))
        y = self.conv2(y, (next(modulations), next(modulations)), GAIN * HALF)
        return y + self.skip(x, gain=HALF)  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Three style codes -> predicted features of three levels.

    What depends on the constant alone (the stem, and the first block's norm and skip) is computed for a batch of one
    and broadcast, which is exact.

    Args:
        channels: C_0, C_1, C_2, fine to coarse.
        style_channels: S of the codes.
        latent_channels: Z of the styles.
        blocks: residual blocks per level, fine to coarse.
        coarse_size: height and width of the coarsest level, in positions.

    Example:
        >>> decoder = Decoder((8, 16, 32), style_channels=8, latent_channels=4, blocks=(2, 3, 1), coarse_size=(4, 4))
        >>> codes = [torch.rand(2, 8, 4, 4), torch.rand(2, 8, 8, 8), torch.rand(2, 8, 16, 16)]
        >>> [tuple(level.shape) for level in decoder(codes)]
        [(2, 8, 16, 16), (2, 16, 8, 8), (2, 32, 4, 4)]
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        style_channels: int,
        latent_channels: int,
        blocks: Sequence[int],
        coarse_size: Size,
    ) -> None:
        super().__init__()
        fine, middle, coarse = channels
        s, z = style_channels, latent_channels
        self.constant = nn.Parameter(torch.randn(1, coarse, *coarse_size))
        self.stem = ConvLayer(coarse, coarse)
        self.styles = nn.ModuleList(nn.Sequential(ConvLayer(s, s), ConvLayer(s, z)) for _ in range(3))
        n_fine, n_middle, n_coarse = blocks
        self.levels = nn.ModuleList(  # coarse to fine
            [
                _level(coarse, coarse, z, n_coarse, up=False),
                _level(coarse, middle, z, n_middle, up=True),
                _level(middle, fine, z, n_fine, up=True),
            ]
        )

    def forward(self, codes: Sequence[Tensor]) -> list[Tensor]:
        """Return predictions fine to coarse, (B, C_i, h_i, w_i), from codes listed coarse to fine, (B, S, h_i, w_i)."""
        x = self.stem(self.constant)  # (1, C_2, h_2, w_2)
        predictions = []
        for to_style, blocks, code in zip(self.styles, self.levels, codes, strict=True):
            style = to_style(code)  # (B, Z, h_i, w_i)
            modulations = _modulate(style, [maker for block in blocks for maker in block.makers()])  # type: ignore[attr-defined]
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, modulations)
            predictions.append(x)
        return predictions[::-1]


def _modulate(style: Tensor, makers: Sequence[Maker]) -> Iterator[Tensor]:
    """What each convolution makes of the style (B, Z, h, w), times its gain, one after the other.

    A CPU makes each where it is used, while it is in the cache.
    """
    if style.is_cuda:
        return _modulate_at_once(style, makers)
    return (maker(style, gain=gain) for maker, gain in makers)


def _modulate_at_once(style: Tensor, makers: Sequence[Maker]) -> Iterator[Tensor]:
    """The same by one convolution whose result is split: a GPU would be idle in each of them."""
    weights, biases = zip(*(maker.scaled(gain=gain) for maker, gain in makers), strict=True)
    together = F.conv2d(style, torch.cat(weights), torch.cat(biases), padding=1)
    return iter(torch.split(together, [len(bias) for bias in biases], dim=1))


def _level(in_channels: int, out_channels: int, latent_channels: int, count: int, *, up: bool) -> nn.ModuleList:
    """The residual blocks of one level; the first one changes size and channels."""
    first = ResidualBlock(in_channels, out_channels, latent_channels, up=up)
    rest = [ResidualBlock(out_channels, out_channels, latent_channels) for _ in range(count - 1)]
    return nn.ModuleList([first, *rest])
