"""An encoder that needs no weights: wavelet moduli and colour, computed from formulas, at three levels.

The image becomes luminance and two colour opponents. Each octave filters them with complex Morlet wavelets; the
moduli, compressed by a logarithm and averaged to a level's stride, say how much of which edge or texture is near a
position. Moduli of moduli (second-order scattering) keep some of what the averaging loses. Low-passed colours are kept
as they are, for defects of colour alone. Every channel is standardised by statistics of the training images and
bounded softly: else a stain whose colour no training image has would be larger than all other values together.

Reference: Bruna and Mallat, Invariant Scattering Convolution Networks, arXiv:1203.1513 (Morlet wavelets, moduli,
second order).
"""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invad.model.layers import blur_taps
from invad.model.statistics import channel_statistics

OPPONENTS = (
    (0.299, 0.587, 0.114),
    (0.5, -0.5, 0.0),
    (-0.25, -0.25, 0.5),
)
"""Rows that take R, G, B to luminance, red against green, and blue against yellow."""
ORIENTATIONS = 8
"""Orientations of the wavelets on luminance; half as many on the opponents and in the second order."""
KERNEL = 9
"""Width of a wavelet's kernel, in pixels of its octave."""
FLOOR = 0.01
"""The modulus (images in 0..1) below which the logarithm is about linear: two to three grey levels."""
BINS = 15
"""Soft histogram bins over the range of each opponent."""
BIN_WIDTH = 0.7
"""Standard deviation of a soft bin, in distances between bins."""
RANGES = ((0.0, 1.0), (-0.25, 0.35), (-0.35, 0.25))
"""The first and the last bin's centre, for each opponent: what photographs hold; far beyond it no bin answers."""
LEAST_STD = 0.02
"""The least deviation that a channel is divided by: a histogram bin that the training images never fill has none."""
BOUND = 5.0
"""Standardised values approach this and never pass it, so that a colour never seen does not drown all the others."""
OCTAVES = 5
"""Octave j is computed at stride 2^j; level i uses the octaves 0 to i + 2."""


class AnalyticEncoder(nn.Module):
    """Features at strides 4, 8 and 16 that are computed rather than learned.

    Deterministic; height and width must be multiples of 16. Before `fit`, the channels are not standardised.

    Example:
        >>> encoder = AnalyticEncoder()
        >>> images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
        >>> encoder.fit([images])
        >>> [(f.shape[1] == c, tuple(f.shape[2:])) for f, c in zip(encoder(images), encoder.channels)]
        [(True, (16, 16)), (True, (8, 8)), (True, (4, 4))]
    """

    strides: tuple[int, int, int] = (4, 8, 16)

    def __init__(self) -> None:
        super().__init__()
        n = ORIENTATIONS
        self.register_buffer("opponents", torch.tensor(OPPONENTS).view(3, 3, 1, 1), persistent=False)
        centres = torch.stack([torch.linspace(low, high, BINS) for low, high in RANGES])  # (3, BINS)
        self.register_buffer("centres", centres.view(1, 3, BINS, 1, 1), persistent=False)
        self.register_buffer("wavelets", morlets(n), persistent=False)  # (2 n, 1, k, k)
        self.register_buffer("wavelets_half", morlets(n // 2), persistent=False)  # (n, 1, k, k)
        with torch.no_grad():
            levels = self._raw(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
        fine, middle, coarse = (level.shape[1] for level in levels)
        self.channels: tuple[int, int, int] = (fine, middle, coarse)
        for i, count in enumerate(self.channels):
            self.register_buffer(f"mean_{i}", torch.zeros(count))
            self.register_buffer(f"std_{i}", torch.ones(count))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map uint8 RGB images (B, 3, H, W) to features (B, C_i, H / stride_i, W / stride_i), fine to coarse."""
        return [self._standardised(level, i) for i, level in enumerate(self._raw(images))]

    def _standardised(self, level: Tensor, i: int) -> Tensor:
        """Level i (B, C_i, h, w) with each channel's mean and deviation taken out, bounded softly."""
        mean, std = (self.get_buffer(f"{name}_{i}").view(1, -1, 1, 1) for name in ("mean", "std"))
        return BOUND * torch.tanh((level - mean) / (BOUND * std))

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Set the statistics that standardise each channel from uint8 RGB images (B, 3, H, W), in one pass.

        Raises:
            ValueError: there is no image.
        """
        device = self.get_buffer("mean_0").device
        for i, (mean, std) in enumerate(channel_statistics(self._raw(images.to(device)) for images in batches)):
            self.get_buffer(f"mean_{i}").copy_(mean)
            self.get_buffer(f"std_{i}").copy_(std.clamp_min(LEAST_STD))

    def _raw(self, images: Tensor) -> list[Tensor]:
        """The three levels before they are standardised."""
        pyramid = self._pyramid(images)
        luminance = [self._moduli(x[:, :1], "wavelets") for x in pyramid]  # octave j: (B, 8, H / 2^j, W / 2^j)
        chroma = [self._moduli(x[:, 1:], "wavelets_half") for x in pyramid]  # (B, 8, H / 2^j, W / 2^j)
        first = [compress(torch.cat(pair, dim=1)) for pair in zip(luminance, chroma)]
        second = [self._second_order(moduli) for moduli in luminance[:3]]  # (B, 16, H / 2^(j + 1), W / 2^(j + 1))
        histogram = self._soft_histogram(pyramid[1])  # (B, 48, H / 2, W / 2)
        levels = []
        for i in range(3):
            parts = [shrink(moduli, i + 2 - j) for j, moduli in enumerate(first[: i + 3])]
            if i > 0:
                parts += [shrink(moduli, i + 1 - j) for j, moduli in enumerate(second[: i + 1])]
            levels.append(torch.cat([*parts, pyramid[i + 2], shrink(histogram, i + 1)], dim=1))
        return levels

    def _pyramid(self, images: Tensor) -> list[Tensor]:
        """Luminance and the two opponents at every octave."""
        opponents = self.get_buffer("opponents")
        pyramid = [F.conv2d(images.to(opponents.dtype) / 255.0, opponents)]  # (B, 3, H, W)
        while len(pyramid) < OCTAVES:
            pyramid.append(halve(pyramid[-1]))
        return pyramid

    def _second_order(self, moduli: Tensor) -> Tensor:
        """The moduli, an octave up, of an octave's moduli (B, 8, h, w), neighbouring orientations taken together."""
        texture = halve(moduli[:, 0::2] + moduli[:, 1::2])  # (B, 4, h / 2, w / 2)
        return compress(self._moduli(texture, "wavelets_half"))

    def _soft_histogram(self, x: Tensor) -> Tensor:
        """How near each opponent of x (B, 3, h, w) is to each bin's centre, (B, 3 BINS, h, w) in 0..1."""
        centres = self.get_buffer("centres")
        width = (centres[:, :, 1:2] - centres[:, :, :1]) * BIN_WIDTH
        return torch.exp(-0.5 * ((x.unsqueeze(2) - centres) / width).square()).flatten(1, 2)

    def _moduli(self, x: Tensor, bank: str) -> Tensor:
        """The moduli (B, C n, h, w) of every channel of x (B, C, h, w) under n wavelets."""
        filters = self.get_buffer(bank)
        b, c, h, w = x.shape
        pad = KERNEL // 2
        x = F.pad(x.reshape(b * c, 1, h, w), (pad, pad, pad, pad), mode="replicate")
        even, odd = F.conv2d(x, filters).chunk(2, dim=1)
        return (even.square() + odd.square() + 1e-12).sqrt().reshape(b, -1, h, w)


def morlets(orientations: int) -> Tensor:
    """Return zero-mean Morlet wavelets of wavelength 8/3 pixels, (2 n, 1, k, k): n real parts, then n imaginary ones.

    Reference: arXiv:1203.1513, section 2.1; sigma 0.8, central frequency 3 pi / 4, elongated across the wave.
    """
    half = KERNEL // 2
    line = torch.arange(-half, half + 1, dtype=torch.float64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    real, imaginary = [], []
    for k in range(orientations):
        angle = math.pi * k / orientations
        along = x * math.cos(angle) + y * math.sin(angle)
        across = -x * math.sin(angle) + y * math.cos(angle)
        envelope = torch.exp(-(along**2 + (0.5 * across) ** 2) / (2 * 0.8**2))
        phase = along * (3 * math.pi / 4)
        offset = (envelope * phase.cos()).sum() / envelope.sum()  # makes the real part sum to zero
        real.append(envelope * (phase.cos() - offset) / envelope.sum())
        imaginary.append(envelope * phase.sin() / envelope.sum())
    return torch.stack(real + imaginary).float()[:, None]


def compress(moduli: Tensor) -> Tensor:
    """Return the moduli on a logarithmic scale that is linear near zero."""
    return torch.log1p(moduli / FLOOR)


def halve(x: Tensor) -> Tensor:
    """Return x (B, C, h, w) blurred by [1, 3, 3, 1] / 8 on both axes and sampled at the middle of each 2 x 2 cell."""
    c = x.shape[1]
    line = blur_taps(x) / 8.0
    kernel = (line[:, None] * line[None, :]).expand(c, 1, 4, 4)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, stride=2, groups=c)


def shrink(x: Tensor, times: int) -> Tensor:
    """Return x halved so many times."""
    for _ in range(times):
        x = halve(x)
    return x
