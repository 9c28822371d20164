"""InvAD written down as the published description reads, step by step: what speed and memory are compared with.

Nothing is folded, fused or computed once:

- every weight is scaled in every forward pass, every batch norm stands behind its convolution;
- a modulated convolution repeats its kernel for each image and runs one grouped convolution over all of them;
- the learned constant is repeated for each image, and so is all work that depends on it alone;
- upsampling is a transposed convolution, then a blur of its own;
- the map resizes every level to the finest one, concatenates them, and compares the concatenations;
- the blur is SciPy's, on the host, image by image.

It gives the numbers of `invad.InvAD` (tests/test_benchmarks_literal.py), and trains by autograd like any module.

Reference: arXiv:2404.10760, sections 3.2 to 3.4.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from invad.model import InvAD
from invad.model.neck import Neck

BLUR = (1.0, 3.0, 3.0, 1.0)
GAIN = math.sqrt(2.0)
SIGMA = 4.0


class Blur(nn.Module):
    """The 4 x 4 binomial filter after an upsampling convolution, zero-padded; gain 4."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        row = torch.tensor(BLUR)
        self.register_buffer("kernel", torch.outer(row, row) / 64.0 * 4.0, persistent=False)
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """Filter every channel of x (B, C, h, w)."""
        kernel = self.get_buffer("kernel").to(x.dtype).expand(x.shape[1], 1, 4, 4)
        return F.conv2d(F.pad(x, [self.padding] * 4), kernel, groups=x.shape[1])


class Equalised(nn.Module):
    """An equalised convolution; upsampling by a transposed convolution and a blur."""

    def __init__(self, weight: Tensor, scale: float, *, up: bool = False, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)  # (C_out, C_in, k, k)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.scale = scale
        self.blur = Blur(1 if weight.shape[-1] == 3 else 2) if up else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, h, w) to (B, C_out, h, w), or to (B, C_out, 2h, 2w) with a blur."""
        weight = self.weight * self.scale
        if self.blur is not None:
            return self.blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))  # type: ignore[no-any-return]
        return F.conv2d(x, weight, self.bias, padding=weight.shape[-1] // 2)


class Activate(nn.Module):
    """`sqrt(2) * leaky_relu(x + b, 0.2)`."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        return F.leaky_relu(x + self.bias.view(1, -1, 1, 1), 0.2) * GAIN


class Modulated(nn.Module):
    """Layer norm, modulation by the style, and a convolution whose kernel is repeated for each image."""

    def __init__(self, weight: Tensor, *, gamma: Equalised | None, beta: Equalised | None, up: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight[None])  # (1, C_out, C_in, 3, 3)
        self.gamma, self.beta = gamma, beta
        self.scale = 1.0 / math.sqrt(weight[0].numel())
        self.blur = Blur(1) if up else None

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Map (B, C_in, h, w) under the style (B, Z, h, w) to (B, C_out, h, w), or twice the size with a blur."""
        b, c_in, h, w = x.shape
        x = F.layer_norm(x, x.shape[1:], eps=1e-5)
        if self.gamma is not None and self.beta is not None:
            x = x * self.gamma(style) + self.beta(style)
        kernels = (self.weight * self.scale).repeat(b, 1, 1, 1, 1)  # (B, C_out, C_in, 3, 3)
        c_out = kernels.shape[1]
        x = x.reshape(1, b * c_in, h, w)
        if self.blur is not None:
            kernels = kernels.transpose(1, 2).reshape(b * c_in, c_out, 3, 3)
            x = F.conv_transpose2d(x, kernels, stride=2, groups=b)  # (1, B C_out, 2h + 1, 2w + 1)
            return self.blur(x.reshape(b, c_out, 2 * h + 1, 2 * w + 1))  # type: ignore[no-any-return]
        return F.conv2d(x, kernels.reshape(b * c_out, c_in, 3, 3), padding=1, groups=b).reshape(b, c_out, h, w)


class Block(nn.Module):
    """A residual block of the decoder."""

    def __init__(self, conv1: Modulated, act1: Activate, conv2: Modulated, act2: Activate, skip: Equalised) -> None:
        super().__init__()
        self.conv1, self.act1, self.conv2, self.act2, self.skip = conv1, act1, conv2, act2, skip

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Map (B, C_in, h, w) to (B, C_out, h', w')."""
        y = self.act1(self.conv1(x, style))
        y = self.act2(self.conv2(y, style))
        return (y + self.skip(x)) / math.sqrt(2.0)  # type: ignore[no-any-return]


class LiteralDecoder(nn.Module):
    """Codes, coarse to fine -> predictions, fine to coarse."""

    def __init__(self, constant: Tensor, stem: nn.Module, styles: nn.ModuleList, levels: nn.ModuleList) -> None:
        super().__init__()
        self.constant = nn.Parameter(constant)
        self.stem, self.styles, self.levels = stem, styles, levels

    def forward(self, codes: Sequence[Tensor]) -> list[Tensor]:
        """Predict (B, C_i, h_i, w_i), fine to coarse, from codes (B, S, h_i, w_i), coarse to fine."""
        x = self.stem(self.constant.repeat(codes[0].shape[0], 1, 1, 1))  # (B, C_2, h_2, w_2)
        predictions = []
        for to_style, blocks, code in zip(self.styles, self.levels, codes, strict=True):
            style = to_style(code)
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, style)
            predictions.append(x)
        return predictions[::-1]


class LiteralInvAD(nn.Module):
    """The literal model with a copy of the weights of an `InvAD` model.

    Its encoder is the model's own, frozen and in eval mode.

    Example:
        >>> from invad.model import build_model
        >>> model = build_model("resnet18", weights="random", image_size=(64, 64), blocks=(1, 1, 1))
        >>> images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
        >>> with torch.no_grad():
        ...     pairs = zip(LiteralInvAD(model)(images)[1], model(images)[1])
        >>> all(torch.allclose(a, b, atol=1e-4) for a, b in pairs)
        True
    """

    def __init__(self, model: InvAD) -> None:
        super().__init__()
        encoder: Any = copy.deepcopy(model.encoder)
        self.encoder = encoder.to(memory_format=torch.contiguous_format)
        self.neck = _neck(model.neck)
        self.decoder = _decoder(model)
        self.train(model.training)

    def train(self, mode: bool = True) -> "LiteralInvAD":
        """Put neck and decoder in training mode; the encoder never leaves eval mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def predict(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the decoder's rendering of the features, fine to coarse, same shapes."""
        return self.decoder(self.neck(features))  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return features and predictions, each fine to coarse, of uint8 images (B, 3, H, W)."""
        with torch.no_grad():
            features = self.encoder(images)
        return features, self.predict(features)

    def trained_parameters(self) -> list[nn.Parameter]:
        """The parameters of neck and decoder."""
        return [*self.neck.parameters(), *self.decoder.parameters()]


class LiteralNeck(nn.Module):
    """Features, fine to coarse -> codes, coarse to fine."""

    def __init__(self, downsamples: nn.ModuleList, merge: nn.Module, bottleneck: nn.Module, codes: nn.ModuleList):
        super().__init__()
        self.downsamples, self.merge, self.bottleneck, self.codes = downsamples, merge, bottleneck, codes

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the codes (B, S, h_i, w_i)."""
        x = torch.cat([down(level) for down, level in zip(self.downsamples, features, strict=True)], dim=1)
        x = self.bottleneck(self.merge(x))
        codes = []
        for layers in self.codes:
            x = layers(x)
            codes.append(x)
        return codes


def literal_map(
    features: Sequence[Tensor], predictions: Sequence[Tensor], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the blurred maps (B, H, W): levels concatenated at the finest size, cosine, SciPy's blur on the host."""
    finest = tuple(features[0].shape[-2:])

    def concatenated(levels: Sequence[Tensor]) -> Tensor:
        resized = [
            F.interpolate(F.normalize(level, dim=1), finest, mode="bilinear", align_corners=True) for level in levels
        ]
        return torch.cat(resized, dim=1)  # (B, C_0 + C_1 + C_2, h_0, w_0)

    cosine = F.cosine_similarity(concatenated(features), concatenated(predictions), dim=1)[:, None]
    maps = F.interpolate(1.0 - cosine, size, mode="bilinear", align_corners=True)[:, 0].cpu().numpy()
    return np.stack([gaussian_filter(one, sigma=SIGMA) for one in maps])


def _copy(value: Tensor) -> Tensor:
    return value.detach().clone(memory_format=torch.contiguous_format)


def _conv_layer(layer: Any) -> nn.Sequential:
    """The literal form of a `ConvLayer`."""
    conv = layer.conv
    return nn.Sequential(Equalised(_copy(conv.weight), conv.scale, up=conv.up), Activate(_copy(layer.bias)))


def _conv_layers(layers: Any) -> nn.Sequential:
    return nn.Sequential(*(_conv_layer(layer) for layer in layers))


def _modulated(layer: Any, *, up: bool) -> Modulated:
    """The literal form of a `ModulatedConv`, or of a `NormalisedUpConv` where it upsamples."""
    parts: dict[str, Equalised | None] = {"gamma": None, "beta": None}
    if not up:
        parts = {
            name: Equalised(_copy(part.weight), part.scale, bias=_copy(part.bias))
            for name, part in (("gamma", layer.gamma), ("beta", layer.beta))
        }
    return Modulated(_copy(layer.conv.weight), up=up, **parts)


def _block(block: Any) -> Block:
    skip = Equalised(_copy(block.skip.weight), block.skip.scale, up=block.up)
    conv1, conv2 = _modulated(block.conv1, up=block.up), _modulated(block.conv2, up=False)
    return Block(conv1, Activate(_copy(block.conv1.bias)), conv2, Activate(_copy(block.conv2.bias)), skip)


def _decoder(model: InvAD) -> LiteralDecoder:
    decoder: Any = model.decoder
    return LiteralDecoder(
        _copy(decoder.constant),
        _conv_layer(decoder.stem),
        nn.ModuleList(_conv_layers(layers) for layers in decoder.styles),
        nn.ModuleList(nn.ModuleList(_block(block) for block in level) for level in decoder.levels),
    )


def _neck(neck: Neck) -> LiteralNeck:
    plain = copy.deepcopy(neck)  # convolutions and batch norms are literal as they stand
    codes = nn.ModuleList(_conv_layers(layers) for layers in plain.codes)
    return LiteralNeck(plain.downsamples, plain.merge, plain.bottleneck, codes)
