"""The layers that neck and decoder are made of.

Two ideas run through all of them. *Equalised* weights are stored with unit variance and scaled when they are used, so
that Adam moves every layer at the same relative rate (Karras et al., arXiv:1710.10196). *Upsampling* is a transposed
convolution followed by a small blur that removes its checkerboard (Karras et al., arXiv:1912.04958).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invad.model.winograd import convolve

NORM_EPSILON = 1e-5
"""Of the layer norm."""
Modulation = tuple[Tensor, Tensor]
"""Scale and shift of a map, each (B, C, h, w)."""

LEAK = 0.2
GAIN = math.sqrt(2.0)
"""Restores the variance that the leaky ReLU takes away; it goes onto weight and bias, which the ReLU lets through."""


def blur_taps(like: Tensor) -> Tensor:
    """Return 1, 3, 3, 1, whose sum is 8, in a tensor's type and on its device, without a copy from the host.

    Example:
        >>> blur_taps(torch.zeros(1)).tolist()
        [1.0, 3.0, 3.0, 1.0]
    """
    return 4.0 - (2.0 * torch.arange(4, dtype=like.dtype, device=like.device) - 3.0).abs()


def upsample(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x at twice its size: transposed convolution with stride 2, then the 4 x 4 blur, then the bias.

    Args:
        x: (B, C_in, h, w).
        weight: (C_out, C_in, k, k) with k = 1 or 3, already equalised.
        bias: (C_out,), or None.

    Returns:
        (B, C_out, 2h, 2w).
    """
    padding = 1 if weight.shape[-1] == 3 else 2
    if x.is_cuda and torch.compiler.is_compiling():
        x = _upsample_by_means(x, weight, padding)
    else:
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # (B, C_out, 2h + k - 2, 2w + k - 2)
        channels, taps = x.shape[1], blur_taps(x)
        kernel = torch.outer(taps, taps / 16.0).expand(channels, 1, 4, 4)  # its sum is 4: one value is spread over four
        x = F.conv2d(x, kernel, padding=padding, groups=channels)
    if bias is None:
        return x
    return x + bias.to(x.dtype).view(1, -1, 1, 1)  # in the blur its gradient costs ten times more


def _upsample_by_means(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """`upsample` whose blur is a mean over 2 x 2 positions, three times, and four times that.

    A compiler makes one pass of it, where cuDNN is slow at convolving each channel by itself.
    """
    x = F.conv_transpose2d(x, (4.0 * weight).transpose(0, 1), stride=2)
    x = F.avg_pool2d(x, 2, stride=1, padding=1)
    x = F.avg_pool2d(x, 2, stride=1, padding=padding - 1)
    return F.avg_pool2d(x, 2, stride=1)


class EqualisedConv(nn.Module):
    """An equalised k x k convolution, the same size or upsampled by two: (B, C_in, h, w) -> (B, C_out, h', w').

    Stored weight ~ N(0, 1) / m; the convolution uses weight * m / sqrt(C_in * k^2), with m the
    learning-rate multiplier.

    A factor on the result, the gain, is put on weight and bias instead, which are smaller.

    Reference: arXiv:1710.10196, section 4.1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        up: bool = False,
        multiplier: float = 1.0,
        bias_start: float | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel) / multiplier)
        self.bias = None if bias_start is None else nn.Parameter(torch.full((out_channels,), bias_start))
        self.scale = multiplier / math.sqrt(in_channels * kernel**2)
        self.up = up

    def forward(self, x: Tensor, bias: Tensor | None = None, gain: float = 1.0) -> Tensor:
        """Convolve x (B, C_in, h, w), add the bias (C_out,) given or else its own, and multiply by the gain."""
        weight, bias = self.scaled(bias, gain)
        return upsample(x, weight, bias) if self.up else F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    def scaled(self, bias: Tensor | None = None, gain: float = 1.0) -> tuple[Tensor, Tensor | None]:
        """Return the weight (C_out, C_in, k, k) and the bias (C_out,) as they are used; arguments as `forward`."""
        bias = self.bias if bias is None else bias
        return self.weight * (self.scale * gain), None if bias is None else bias * gain


class ConvLayer(nn.Module):
    """An equalised 3 x 3 convolution without bias, then the biased leaky ReLU; the same size, or upsampled by two."""

    def __init__(self, in_channels: int, out_channels: int, *, up: bool = False, multiplier: float = 1.0) -> None:
        super().__init__()
        self.conv = EqualisedConv(in_channels, out_channels, 3, up=up, multiplier=multiplier)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, h, w) to (B, C_out, h, w), or to (B, C_out, 2h, 2w) where the layer upsamples."""
        return F.leaky_relu(self.conv(x, self.bias, GAIN), LEAK)


class ModulatedConv(nn.Module):
    """Spatial style modulation: layer norm, scale and shift by the style at every position, 3 x 3 convolution, ReLU.

    The convolution's kernel is one and the same for every image of a batch, so an ordinary convolution is exact.

    Reference: arXiv:2404.10760, section 3.3.
    """

    def __init__(self, in_channels: int, out_channels: int, latent_channels: int) -> None:
        super().__init__()
        self.conv = EqualisedConv(in_channels, out_channels, 3)
        self.gamma = EqualisedConv(latent_channels, in_channels, 3, bias_start=1.0)
        self.beta = EqualisedConv(latent_channels, in_channels, 3, bias_start=0.0)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def makers(self, gain: float = GAIN) -> tuple[tuple[EqualisedConv, float], tuple[EqualisedConv, float]]:
        """Return what makes scale and shift of the style, each with the gain that `forward` expects of it.

        It is the convolution's own, put on these weights, which are far smaller than the kernel.
        """
        scale = self.conv.scale * gain
        return (self.gamma, scale), (self.beta, scale)

    def forward(self, x: Tensor, modulation: Modulation, gain: float = GAIN) -> Tensor:
        """Map x (B or 1, C_in, h, w) under its modulation (see `makers`) to (B, C_out, h, w)."""
        scale, shift = modulation
        x = torch.addcmul(shift, layer_norm(x), scale)
        return F.leaky_relu(convolve(x, self.conv.weight, self.bias * gain), LEAK)


class NormalisedUpConv(nn.Module):
    """Layer norm, upsampling 3 x 3 convolution, ReLU: the way into a finer level, which takes no style."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = EqualisedConv(in_channels, out_channels, 3, up=True)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, h, w) to (B, C_out, 2h, 2w)."""
        return F.leaky_relu(self.conv(layer_norm(x), self.bias, GAIN), LEAK)


def layer_norm(x: Tensor) -> Tensor:
    """Return x (B, C, h, w) with zero mean and unit variance over (C, h, w) of each image; eps 1e-5, no affine.

    It is a group norm of one group, which PyTorch computes in either memory format without a copy.
    """
    return F.group_norm(x, 1, eps=NORM_EPSILON)
