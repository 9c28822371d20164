"""The names and shapes of the checkpoints that the method's authors publish, translated into ours.

A published checkpoint holds `net_encoder.*` (timm's names), `net_fuser.*` (our neck) and `net_decoder.*`. Modulated
convolution weights carry a leading axis of one there, and the constant blur kernels are stored as buffers; both go.
"""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from invad.errors import WeightsError

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


SHOWN = 5
"""Names in an error for each kind of fault."""


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


def published_name(name: str) -> str:
    """Return the published name of one of our entries; `[12]` where it is either, by the layer's kind.

    Example:
        >>> published_name("decoder.levels.1.0.skip.weight")
        'net_decoder.convs.1.0.skip.0.weight'
    """
    for pattern, replacement in _RULES:
        groups = re.findall(r"\([^)]*\)", pattern)
        inverse = re.escape(replacement)
        for number, group in enumerate(groups, start=1):
            inverse = inverse.replace(rf"\\{number}", group)
        found = re.fullmatch(inverse, name)
        if found:
            for group, value in zip(groups, found.groups()):
                pattern = pattern.replace(group, value, 1)
            return pattern.replace("\\.", ".")
    raise KeyError(name)


def load_published(model: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Fill a model from a published state dict.

    Raises:
        WeightsError: it does not fit; the message names what is missing, extra, or of another shape.
    """
    wanted = model.state_dict()
    extra: list[str] = []
    ours: dict[str, Tensor] = {}
    for name, value in state.items():
        new = _try_our_name(name)
        if new is None or new in wanted:
            ours |= from_published({name: value})
        else:
            extra.append(name)
    missing = [published_name(n) for n in wanted if n not in ours and not n.endswith("num_batches_tracked")]
    misshapen = [
        f"{published_name(name)} {tuple(value.shape)} for {tuple(wanted[name].shape)}"
        for name, value in ours.items()
        if value.shape != wanted[name].shape
    ]
    if missing or extra or misshapen:
        raise WeightsError(
            f"{origin} does not fit this model: {_count(missing, 'missing')}, {_count(extra, 'extra')}, "
            f"{_count(misshapen, 'of another shape')}. Is it a checkpoint of the other model? See --model"
        )
    model.load_state_dict(ours, strict=False)


def _try_our_name(name: str) -> str | None:
    """Our name; None for a blur kernel, and the name itself where it is no published one."""
    try:
        return our_name(name)
    except KeyError:
        return name


def _count(names: Sequence[str], what: str) -> str:
    shown = f" ({', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''})" if names else ""
    return f"{len(names)} {what}{shown}"


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
