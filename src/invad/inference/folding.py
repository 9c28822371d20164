"""A trained model -> the same function with everything that no image changes worked out beforehand.

What is folded, all of it exact but for rounding (computed in float64):

- the scales of equalised weights, and the gain sqrt(2) behind each leaky ReLU, go into the weights: the leaky ReLU is
  positively homogeneous, `g * leaky_relu(x) = leaky_relu(g * x)` for g > 0;
- the 1 / sqrt(2) of a residual block meets the gain of its second convolution, and goes into the skip's weights;
- batch norms go into the convolutions before them, the encoder's included;
- the neck's patch convolutions and the 1 x 1 convolution that merges them have nothing but sums between them: a level
  goes to S channels in one convolution;
- what depends on the constant alone (the stem, the first block's layer norm and skip) is a stored tensor;
- a 1 x 1 convolution and an upsampling commute: the skip convolves the small map, and one depthwise transposed
  convolution puts the zeros between and blurs.

Reference: arXiv:2404.10760, section 3; decision 012 says what pays and what does not.
"""

import copy
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invad.inference.similarity import MapHead
from invad.inference.winograd import WinogradConv
from invad.model import InvAD
from invad.model.decoder import Decoder, ResidualBlock
from invad.model.layers import (
    GAIN,
    LEAK,
    NORM_EPSILON,
    ConvLayer,
    EqualisedConv,
    ModulatedConv,
    NormalisedUpConv,
    layer_norm,
)
from invad.model.neck import Neck
from invad.model.standardised import StandardisedEncoder
from invad.records import Size

BLUR = (1.0, 3.0, 3.0, 1.0)
"""The taps of the blur behind an upsampling convolution; they sum to 8, and upsampling spreads one value over two."""


class Folded(nn.Module):
    """Images at the model's input size -> blurred maps and scores. Made by `fold`."""

    def __init__(self, encoder: nn.Module, neck: nn.Module, decoder: nn.Module, head: MapHead) -> None:
        super().__init__()
        self.encoder, self.neck, self.decoder, self.head = encoder, neck, decoder, head

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return maps (B, H, W) float32 and scores (B,) of RGB images (B, 3, H, W) in 0..255, uint8 or floating."""
        features = self.encoder(images)
        return self.head(features, self.decoder(self.neck(features)))  # type: ignore[no-any-return]


@torch.no_grad()
def fold(model: InvAD, size: Size) -> Folded:
    """Return the inference form of a model in eval mode; the model is left as it was.

    Args:
        model: trained; its precision and device are kept.
        size: height and width of the images it will be given.

    Example:
        >>> from invad.model import build_model
        >>> model = build_model("resnet18", weights="random", image_size=(64, 96), blocks=(1, 1, 1))
        >>> maps, scores = fold(model, (64, 96))(torch.zeros(2, 3, 64, 96, dtype=torch.uint8))
        >>> tuple(maps.shape), tuple(scores.shape)
        ((2, 64, 96), (2,))
    """
    constant = model.decoder.constant
    exact = copy.deepcopy(model).double().cpu().eval()
    strides = exact.encoder.strides
    levels = [(size[0] // s, size[1] // s) for s in strides]
    folded = Folded(
        fold_batch_norms(exact.encoder),  # type: ignore[arg-type]
        _FoldedNeck(exact.neck),
        _FoldedDecoder(exact.decoder),
        MapHead(levels, size, sigma=model.sigma),
    )
    return folded.to(dtype=constant.dtype, device=constant.device).eval().requires_grad_(False)


def lower_precision(folded: Folded, precision: str) -> None:
    """Convert encoder, neck and decoder, in place, to fp16 or bf16; the map, and other precisions, stay as they are.

    The skips' depthwise blur stays too: it is little to compute, and no runtime has a fast kernel for it in bf16.
    """
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision)
    if dtype is not None:
        for part in (folded.encoder, folded.neck, folded.decoder):
            part.to(dtype)
        for module in folded.decoder.modules():
            if isinstance(module, _UpSkip):
                module.blur = module.blur.float()


def save_multiplications(folded: Folded) -> None:
    """Convert 3 x 3 convolutions, in place, to Winograd's, which take half the time on a CPU; see `WinogradConv`.

    Not for export: other runtimes have kernels of their own for a plain convolution.
    """
    for parent in list(folded.modules()):
        for name, layer in list(parent.named_children()):
            if WinogradConv.fits(layer):
                setattr(parent, name, WinogradConv(layer))  # type: ignore[arg-type]


def fold_batch_norms(encoder: nn.Module) -> nn.Module:
    """Return the encoder with each batch norm folded into the convolution before it, where its graph can be read.

    A backbone that torch.fx cannot trace, or whose norms are not PyTorch's own, keeps them: slower, and as exact.
    """
    from torch.fx.experimental.optimization import fuse
    from torch.fx.proxy import TraceError

    if isinstance(encoder, StandardisedEncoder):
        outer = copy.deepcopy(encoder)
        outer.encoder = fold_batch_norms(outer.encoder)  # type: ignore[arg-type, assignment]
        return outer
    backbone = getattr(encoder, "backbone", None)
    if backbone is None or not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules()):
        return encoder
    fused = copy.deepcopy(encoder)
    try:
        fused.backbone = fuse(backbone)
    except (TraceError, TypeError, ValueError, AttributeError, NotImplementedError):
        return encoder
    return fused


class _FoldedNeck(nn.Module):
    """Features, fine to coarse -> codes, coarse to fine."""

    def __init__(self, neck: Neck) -> None:
        super().__init__()
        merge_weight, merge_bias = _with_norm(neck.merge.conv, neck.merge.norm)
        counts: list[int] = [down.conv.out_channels for down in neck.downsamples]  # type: ignore[union-attr, misc]
        merged = torch.split(merge_weight[:, :, 0, 0], counts, dim=1)
        bias = merge_bias.clone()
        self.merges = nn.ModuleList()
        for down, part in zip(neck.downsamples, merged, strict=True):  # part: (S, C_i)
            weight, shift = _with_norm(down.conv, down.norm)  # type: ignore[arg-type]
            bias += part @ shift
            self.merges.append(conv(torch.einsum("sc,cikl->sikl", part, weight), None, stride=weight.shape[-1]))
        self.merges[-1] = conv(self.merges[-1].weight, bias)  # type: ignore[arg-type]
        bottle = neck.bottleneck
        self.bottleneck = nn.ModuleList(
            conv(*_with_norm(c, norm))
            for c, norm in ((bottle.conv1, bottle.bn1), (bottle.conv2, bottle.bn2), (bottle.conv3, bottle.bn3))
        )
        self.codes = nn.ModuleList(_layers(layers) for layers in neck.codes)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the codes (B, S, h_i, w_i) of the features (B, C_i, h_i, w_i)."""
        parts = [merge(level) for merge, level in zip(self.merges, features, strict=True)]
        x = F.relu(parts[0] + parts[1] + parts[2])  # (B, S, h_2, w_2)
        y = x
        for layer in self.bottleneck[:-1]:
            y = F.relu(layer(y))
        x = F.relu(x + self.bottleneck[-1](y))
        codes = []
        for layers in self.codes:
            x = layers(x)
            codes.append(x)
        return codes


class _FoldedDecoder(nn.Module):
    """Codes, coarse to fine -> predictions, fine to coarse."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.styles = nn.ModuleList(_layers(layers) for layers in decoder.styles)  # type: ignore[arg-type]
        constant = decoder.stem(decoder.constant)  # (1, C_2, h_2, w_2)
        levels: list[nn.ModuleList] = []
        for blocks in decoder.levels:
            levels.append(nn.ModuleList(_FoldedBlock(block) for block in blocks))  # type: ignore[attr-defined]
        first: ResidualBlock = decoder.levels[0][0]  # type: ignore[index]
        levels[0][0] = _FirstBlock(first, constant)
        self.levels = nn.ModuleList(levels)

    def forward(self, codes: Sequence[Tensor]) -> list[Tensor]:
        """Predict (B, C_i, h_i, w_i), fine to coarse, from codes (B, S, h_i, w_i), coarse to fine."""
        x = codes[0]  # the first block starts from the constant and takes nothing
        predictions = []
        for to_style, blocks, code in zip(self.styles, self.levels, codes, strict=True):
            style = to_style(code)  # (B, Z, h_i, w_i)
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, style)
            predictions.append(x)
        return predictions[::-1]


class _FoldedBlock(nn.Module):
    """A residual block; every gain is in the weights."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.conv1 = _first_conv(block)
        self.conv2 = _Modulated(block.conv2, gain=1.0)
        self.skip = _skip(block.skip)
        self.up = block.up

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Map (B, C_in, h, w) under the style to (B, C_out, h', w')."""
        y = _normalised(x)
        y = self.conv1(y) if self.up else self.conv1(y, style)
        return self.conv2(_normalised(y), style) + self.skip(x)  # type: ignore[no-any-return]


class _FirstBlock(nn.Module):
    """The block that starts from the constant, whose norm and skip are stored."""

    def __init__(self, block: ResidualBlock, constant: Tensor) -> None:
        super().__init__()
        self.conv1 = _first_conv(block)
        self.conv2 = _Modulated(block.conv2, gain=1.0)
        self.register_buffer("normalised", layer_norm(constant))  # (1, C_2, h_2, w_2)
        self.register_buffer("skip", block.skip(constant) / GAIN)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Return (B, C_2, h_2, w_2) for the style (B, Z, h_2, w_2)."""
        y = self.conv1(self.get_buffer("normalised"), style)
        return self.conv2(_normalised(y), style) + self.get_buffer("skip")  # type: ignore[no-any-return]


class _Modulated(nn.Module):
    """Scale and shift by the style, 3 x 3 convolution, leaky ReLU, of a map that is normalised already."""

    def __init__(self, layer: ModulatedConv, *, gain: float) -> None:
        super().__init__()
        gamma, beta = layer.gamma, layer.beta
        assert gamma.bias is not None and beta.bias is not None
        self.gamma = conv(gamma.weight * gamma.scale, gamma.bias)
        self.beta = conv(beta.weight * beta.scale, beta.bias)
        self.conv = conv(layer.conv.weight * layer.conv.scale * gain, layer.bias * gain)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Map (B or 1, C_in, h, w) under the style (B, Z, h, w) to (B, C_out, h, w)."""
        return F.leaky_relu(self.conv(self.beta(style) + self.gamma(style) * x), LEAK)


def _normalised(x: Tensor) -> Tensor:
    """`layer_norm`, which on a GPU has one block of threads for an image: here the whole GPU takes part."""
    if not x.is_cuda or x.dtype != torch.float32:
        return layer_norm(x)
    variance, mean = torch.var_mean(x, dim=(1, 2, 3), correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + NORM_EPSILON)


class _Activated(nn.Module):
    """A convolution and the leaky ReLU."""

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.conv = convolution

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, h, w) to (B, C_out, h', w')."""
        return F.leaky_relu(self.conv(x), LEAK)


class _Up(nn.Module):
    """A transposed 3 x 3 convolution with stride 2, then the blur: (B, C_in, h, w) -> (B, C_out, 2h, 2w).

    Together they are one transposed 6 x 6 convolution, which takes four times the multiplications.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        weight = weight.transpose(0, 1)  # (C_in, C_out, 3, 3); in x's format, or PyTorch copies it for every image
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
        self.blur = conv(_blur(bias), bias, padding=1, groups=bias.shape[0])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, h, w) to (B, C_out, 2h, 2w)."""
        return self.blur(F.conv_transpose2d(x, self.weight, stride=2))  # type: ignore[no-any-return]


class _UpSkip(nn.Module):
    """A 1 x 1 convolution, then zeros put between and the blur: (B, C_in, h, w) -> (B, C_out, 2h, 2w)."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.conv = conv(weight, None)
        self.blur: Tensor
        self.register_buffer("blur", _blur(weight))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, h, w) to (B, C_out, 2h, 2w)."""
        y = self.conv(x).to(self.blur.dtype)
        return F.conv_transpose2d(y, self.blur, stride=2, padding=1, groups=y.shape[1]).to(x.dtype)


def conv(
    weight: Tensor, bias: Tensor | None, *, stride: int = 1, padding: int | None = None, groups: int = 1
) -> nn.Conv2d:
    """Return a convolution with this weight (C_out, C_in / groups, k, k); padded to keep the size where stride is 1."""
    c_out, c_in, kernel = weight.shape[:3]
    if padding is None:
        padding = kernel // 2 if stride == 1 else 0
    layer = nn.Conv2d(
        c_in * groups,
        c_out,
        kernel,
        stride=stride,
        padding=padding,
        groups=groups,
        bias=bias is not None,
        device="meta",
    )
    layer.weight = nn.Parameter(weight.detach().clone())
    layer.bias = None if bias is None else nn.Parameter(bias.detach().clone())
    return layer


def _blur(like: Tensor) -> Tensor:
    """The depthwise blur kernel (C, 1, 4, 4) for as many channels as the tensor has on its first axis."""
    row = torch.tensor(BLUR, dtype=like.dtype) / 4.0
    return torch.outer(row, row).expand(like.shape[0], 1, 4, 4).contiguous()


def _with_norm(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with the batch norm behind it."""
    fused = torch.nn.utils.fuse_conv_bn_eval(convolution, norm)
    assert fused.bias is not None
    return fused.weight, fused.bias


def _layers(layers: Sequence[ConvLayer]) -> nn.Sequential:
    return nn.Sequential(*(_layer(layer) for layer in layers))


def _layer(layer: ConvLayer | NormalisedUpConv) -> nn.Module:
    """A convolution layer, its scale and gain in the weights."""
    weight, bias = layer.conv.weight * layer.conv.scale * GAIN, layer.bias * GAIN
    return _Activated(_Up(weight, bias) if layer.conv.up else conv(weight, bias))


def _first_conv(block: ResidualBlock) -> nn.Module:
    if isinstance(block.conv1, NormalisedUpConv):
        return _layer(block.conv1)
    return _Modulated(block.conv1, gain=GAIN)


def _skip(skip: EqualisedConv) -> nn.Module:
    weight = skip.weight * (skip.scale / math.sqrt(2.0))
    return _UpSkip(weight) if skip.up else conv(weight, None)
