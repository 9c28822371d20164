"""The fusion neck: a pyramid of features -> one small style code per level.

Reference: arXiv:2404.10760, section 3.2.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invad.model.layers import ConvLayer

CODE_UP_MULTIPLIER = 0.01
"""The learning-rate multiplier of the two convolutions that upsample a code."""


class Downsample(nn.Module):
    """A patch convolution (kernel = stride) with batch norm: brings one level to the coarsest size."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, stride, stride=stride)
        self.norm = nn.BatchNorm2d(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C, h / stride, w / stride)."""
        return self.norm(self.conv(x))  # type: ignore[no-any-return]


class Merge(nn.Module):
    """1 x 1 convolution, batch norm and ReLU: all levels' channels -> style channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, sum of C_i, h, w) to (B, S, h, w)."""
        return F.relu(self.norm(self.conv(x)))


class Bottleneck(nn.Module):
    """The residual bottleneck of ResNet (arXiv:1512.03385) with an identity shortcut, S -> S/4 -> S."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 4
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, S, h, w) to (B, S, h, w)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(x + self.bn3(self.conv3(y)))


class Neck(nn.Module):
    """Features of three levels -> three style codes.

    Args:
        channels: C_0, C_1, C_2 of the features, fine to coarse.
        style_channels: S, a multiple of 4, the same for all levels.

    Example:
        >>> neck = Neck((8, 16, 32), style_channels=8)
        >>> features = [torch.rand(2, 8, 16, 16), torch.rand(2, 16, 8, 8), torch.rand(2, 32, 4, 4)]
        >>> [tuple(code.shape) for code in neck(features)]
        [(2, 8, 4, 4), (2, 8, 8, 8), (2, 8, 16, 16)]
    """

    def __init__(self, channels: Sequence[int], style_channels: int) -> None:
        super().__init__()
        s = style_channels
        self.downsamples = nn.ModuleList(Downsample(c, stride) for c, stride in zip(channels, (4, 2, 1), strict=True))
        self.merge = Merge(sum(channels), s)
        self.bottleneck = Bottleneck(s)
        up = CODE_UP_MULTIPLIER
        self.codes = nn.ModuleList(  # coarse to fine
            [
                nn.Sequential(ConvLayer(s, s), ConvLayer(s, s)),
                nn.Sequential(ConvLayer(s, s, up=True, multiplier=up), ConvLayer(s, s)),
                nn.Sequential(ConvLayer(s, s, up=True, multiplier=up), ConvLayer(s, s)),
            ]
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the codes (B, S, h_i, w_i), coarse to fine, of the features (B, C_i, h_i, w_i), fine to coarse."""
        coarse = [down(level) for down, level in zip(self.downsamples, features, strict=True)]
        x = self.bottleneck(self.merge(torch.cat(coarse, dim=1)))  # (B, S, h_2, w_2)
        codes = []
        for layers in self.codes:
            x = layers(x)
            codes.append(x)
        return codes
