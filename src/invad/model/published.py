"""The names and shapes of the checkpoints that the method's authors publish, translated into ours.

A published checkpoint holds `net_encoder.*` (timm's names), `net_fuser.*` (our neck) and `net_decoder.*`. Modulated
convolution weights carry a leading axis of one there, and the constant blur kernels are stored as buffers; both go.
"""

import re
from collections.abc import Mapping

from torch import Tensor

_RULES: tuple[tuple[str, str], ...] = (
    (r"net_encoder\.(.+)", r"encoder.backbone.\1"),
    (r"net_fuser\.downsamples\.(.+)", r"neck.downsamples.\1"),
    (r"net_fuser\.conv_cat\.(.+)", r"neck.merge.\1"),
    (r"net_fuser\.conv_bottle\.0\.(.+)", r"neck.bottleneck.\1"),
    (r"net_fuser\.convs\.(\d)\.(\d)\.0\.weight", r"neck.codes.\1.\2.conv.weight"),
    (r"net_fuser\.convs\.(\d)\.(\d)\.[12]\.bias", r"neck.codes.\1.\2.bias"),
    (r"net_decoder\.input\.input", r"decoder.constant"),
    (r"net_decoder\.conv1\.0\.0\.weight", r"decoder.stem.conv.weight"),
    (r"net_decoder\.conv1\.0\.1\.bias", r"decoder.stem.bias"),
    (r"net_decoder\.convs_latent\.(\d)\.(\d)\.0\.weight", r"decoder.styles.\1.\2.conv.weight"),
    (r"net_decoder\.convs_latent\.(\d)\.(\d)\.1\.bias", r"decoder.styles.\1.\2.bias"),
    (r"net_decoder\.convs\.(\d)\.(\d)\.(conv[12])\.conv\.weight", r"decoder.levels.\1.\2.\3.conv.weight"),
    (r"net_decoder\.convs\.(\d)\.(\d)\.(conv[12])\.conv\.(gamma|beta)\.(.+)", r"decoder.levels.\1.\2.\3.\4.\5"),
    (r"net_decoder\.convs\.(\d)\.(\d)\.(conv[12])\.activate\.bias", r"decoder.levels.\1.\2.\3.bias"),
    (r"net_decoder\.convs\.(\d)\.(\d)\.skip\.0\.weight", r"decoder.levels.\1.\2.skip.weight"),
)


def our_name(name: str) -> str | None:
    """Return our name of a published entry, or None for a constant blur kernel, which we do not store.

    Raises:
        KeyError: the name is not one of a published checkpoint.

    Example:
        >>> our_name("net_decoder.convs.1.0.skip.0.weight")
        'decoder.levels.1.0.skip.weight'
        >>> our_name("net_decoder.convs.1.0.skip.1.kernel") is None
        True
    """
    if name.endswith(".kernel"):
        return None
    for pattern, replacement in _RULES:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    raise KeyError(name)


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a published state dict under our names and in our shapes.

    Raises:
        KeyError: an entry has a name that no published checkpoint has.
    """
    ours = {}
    for name, value in state.items():
        new = our_name(name)
        if new is not None:
            ours[new] = value.squeeze(0) if value.ndim == 5 else value
    return ours
