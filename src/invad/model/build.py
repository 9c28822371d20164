"""From a few plain numbers to a model."""

from pathlib import Path

import torch
from torch import nn

from invad.errors import SettingsError
from invad.model.decoder import Decoder
from invad.model.encoder import ANALYTIC, build_encoder
from invad.model.invad import InvAD
from invad.model.neck import Neck
from invad.model.standardised import StandardisedEncoder
from invad.records import Levels, Size
from invad.scoring import SIGMA


def build_model(
    encoder: str | nn.Module,
    *,
    image_size: Size = (256, 256),
    weights: str | Path | None = None,
    levels: Levels = (1, 2, 3),
    resize_levels: bool = False,
    style_channels: int | None = None,
    latent_channels: int = 16,
    blocks: Levels = (4, 4, 4),
    standardise: bool = False,
    sigma: float = SIGMA,
) -> InvAD:
    """Return an InvAD model in eval mode with a fresh neck and decoder (drawn from torch's global generator).

    Channels lie last in its weights, as they do in images, and so in all its features: convolutions are fastest so.

    Args:
        encoder: the name of an encoder (see `build_encoder`), or a built one.
        image_size: height and width of the images it will see, multiples of the coarsest stride.
        weights: the encoder's, see `build_encoder`.
        levels: the encoder's, see `build_encoder`.
        resize_levels: the encoder's, see `build_encoder`.
        style_channels: S; None for min(C_0, 64), rounded down to a multiple of 4.
        latent_channels: Z.
        blocks: residual blocks per level, fine to coarse.
        standardise: whether each channel of the features has zero mean and unit variance over the training images
            (see `StandardisedEncoder`, which is fitted on them); the analytic encoder's always have.
        sigma: the blur of the maps, in pixels; the default is the published one.

    Raises:
        SettingsError: a number is out of range, or the image size does not fit the encoder.
        WeightsError: the encoder's weights cannot be had.

    Example:
        >>> model = build_model("resnet18", weights="random", image_size=(64, 96), blocks=(1, 1, 1))
        >>> tuple(model.decoder.constant.shape)
        (1, 256, 4, 6)
    """
    if isinstance(encoder, str):
        name = encoder
        encoder = build_encoder(name, weights=weights, levels=levels, resize_levels=resize_levels)
        if standardise and name != ANALYTIC:
            encoder = StandardisedEncoder(encoder)  # type: ignore[arg-type]
    channels: Levels = encoder.channels  # type: ignore[assignment]
    coarsest: int = encoder.strides[2]  # type: ignore[index, assignment]
    height, width = image_size
    if min(image_size) < coarsest or height % coarsest or width % coarsest:
        raise SettingsError(
            f"image size {height} x {width} does not fit the encoder: expected multiples of {coarsest} pixels"
        )
    style = style_channels if style_channels is not None else max(4, min(channels[0], 64) // 4 * 4)
    if style < 4 or style % 4:
        raise SettingsError(f"style channels must be a positive multiple of 4, not {style}")
    if latent_channels < 1 or min(blocks) < 1:
        raise SettingsError(f"latent channels and blocks must be at least 1, not {latent_channels} and {blocks}")
    decoder = Decoder(
        channels,
        style_channels=style,
        latent_channels=latent_channels,
        blocks=blocks,
        coarse_size=(height // coarsest, width // coarsest),
    )
    model = InvAD(encoder, Neck(channels, style), decoder, sigma).eval()  # type: ignore[arg-type]
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model
