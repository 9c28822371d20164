"""Frozen encoders: uint8 images -> three levels of features whose sizes are in the ratio 4 : 2 : 1.

An encoder normalises the pixels itself, so that nothing outside has to know what its weights were trained on. Its
weights come from timm (and with it the Hugging Face cache), or from a local file; never silently from nowhere.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invad.errors import SettingsError, WeightsError
from invad.model.backbones import backbone_of
from invad.records import Levels

ANALYTIC = "analytic"
"""The name of the encoder that needs no weights."""
RANDOM = "random"
"""The name of untrained weights, which have to be asked for."""


class Encoder(Protocol):
    """What InvAD asks of an encoder, which is also an `nn.Module`."""

    channels: Levels
    """C_0, C_1, C_2, fine to coarse."""
    strides: Levels
    """Pixels per position of each level, fine to coarse, in the ratio 1 : 2 : 4."""

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Map uint8 RGB images (B, 3, H, W) to features (B, C_i, H / stride_i, W / stride_i), fine to coarse."""
        ...

    def requires_grad_(self, requires_grad: bool) -> nn.Module:
        """As `nn.Module.requires_grad_`."""
        ...

    def eval(self) -> nn.Module:
        """As `nn.Module.eval`."""
        ...


class TimmEncoder(nn.Module):
    """Three stages of a timm backbone, or three blocks of a plain transformer.

    Args:
        name: any timm model that supports `features_only` (see `invad.model.backbones` for those with settings of
            their own).
        weights: None for timm's own pretrained weights (downloaded, or from the Hugging Face cache); a path to a
            `.safetensors` or `.pth` file with timm's names; `"random"` for untrained weights.
        levels: timm's `out_indices`, fine to coarse.
        resize_levels: bring levels whose strides are not 1 : 2 : 4 to that ratio by bilinear resizing; blocks of one
            stride become twice, once and half as large.

    Raises:
        SettingsError: timm does not know the name, or the strides do not fit.
        WeightsError: the weights cannot be had, or do not fit.
    """

    def __init__(
        self,
        name: str,
        *,
        weights: str | Path | None = None,
        levels: Levels = (1, 2, 3),
        resize_levels: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = _create(name, levels, pretrained=weights is None)
        if weights is not None and str(weights) != RANDOM:
            _load(self.backbone, Path(weights), name)
        info: Any = self.backbone.feature_info
        self.channels = _three(info.channels())
        self.strides = _target_strides(name, _three(info.reduction()), resize_levels)
        self._resize = resize_levels and self.strides != _three(info.reduction())
        config: Any = self.backbone.pretrained_cfg
        self._levels = levels
        self.register_buffer("mean", _per_channel(config["mean"]), persistent=False)
        self.register_buffer("std", _per_channel(config["std"]), persistent=False)

    def extra_repr(self) -> str:
        """Say what neither weights nor modules tell."""
        mean, std = (buffer.flatten().tolist() for buffer in (self.get_buffer("mean"), self.get_buffer("std")))
        return f"levels={self._levels}, strides={self.strides}, resized={self._resize}, {mean=}, {std=}"

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map uint8 RGB images (B, 3, H, W) to features (B, C_i, H / stride_i, W / stride_i), fine to coarse."""
        assert isinstance(self.mean, Tensor) and isinstance(self.std, Tensor)
        x = (images.to(self.mean.dtype) / 255.0 - self.mean) / self.std  # (B, 3, H, W)
        features = list(self.backbone(x))
        if self._resize:
            height, width = images.shape[-2:]
            features = [
                F.interpolate(f, (height // s, width // s), mode="bilinear") for f, s in zip(features, self.strides)
            ]
        return features


def _create(name: str, levels: Levels, *, pretrained: bool) -> nn.Module:
    """The timm backbone, or an error that says how to come by its weights.

    It draws the same random numbers wherever its weights come from, so that what is drawn after it is the same, too.
    """
    import timm

    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name}*")[:5])
        raise SettingsError(
            f"encoder {name!r} is neither {ANALYTIC!r} nor a timm model" + (f"; similar ones: {near}" if near else "")
        )
    options: dict[str, Any] = {"dynamic_img_size": True} if backbone_of(name).plain else {}
    try:
        backbone: nn.Module = timm.create_model(name, features_only=True, out_indices=levels, **options)
    except (RuntimeError, AttributeError, IndexError, AssertionError) as error:
        raise SettingsError(f"encoder {name!r} has no features at levels {levels}: {error}") from error
    if not pretrained:
        return backbone
    drawn = torch.get_rng_state()
    try:
        return timm.create_model(name, pretrained=True, features_only=True, out_indices=levels, **options)
    except Exception as error:  # whatever the hub's client raises, the weights could not be had
        raise WeightsError(_how_to_provide(name, error)) from error
    finally:
        torch.set_rng_state(drawn)


def _how_to_provide(name: str, error: Exception) -> str:
    """The ways to give an encoder its weights, after they could not be had."""
    cause = str(error).strip().split("\n")[0][:200] or type(error).__name__
    return (
        f"the ImageNet weights of encoder {name!r} could not be had ({cause}). Provide them in one of three ways: "
        f"(1) run once with access to the Hugging Face hub, so that timm downloads them; "
        f"(2) copy the Hugging Face cache of a machine that has them and set HF_HOME to it; "
        f"(3) pass a .safetensors or .pth file with --weights FILE. "
        f"Or ask for the encoder that needs none: --encoder {ANALYTIC}"
    )


def _load(backbone: nn.Module, path: Path, name: str) -> None:
    """Fill the backbone from a file with timm's names; entries of stages that are not used are left out."""
    state = read_state(path)
    wanted = backbone.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    misshapen = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or misshapen:
        raise WeightsError(
            f"{path} does not fit encoder {name!r}: {len(missing)} of its {len(wanted)} entries are missing"
            f"{_some(missing)} and {len(misshapen)} have another shape{_some(misshapen)}. "
            f"Expected a file with timm's names for this model"
        )
    backbone.load_state_dict({key: state[key] for key in wanted if key in state}, strict=False)


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.safetensors` or `.pth` file by name; no pickled code is run.

    Raises:
        WeightsError: the file is missing, of another kind, or damaged.
    """
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise many kinds for one cause: the file is not what it should be
        raise WeightsError(f"{path} cannot be read as a weights file: {str(error)[:200]}") from error
    for key in ("state_dict", "model", "net"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise WeightsError(f"{path} does not hold a dictionary of tensors")
    return loaded


def _some(names: Sequence[str]) -> str:
    """The first few names in brackets."""
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""


def _three(values: Sequence[int]) -> Levels:
    first, second, third = values
    return first, second, third


def _target_strides(name: str, strides: Levels, resize: bool) -> Levels:
    """The strides that the encoder delivers, or an error where they do not fit and may not be resized."""
    finest = strides[0]
    if strides == (finest, 2 * finest, 4 * finest):
        return strides
    if not resize:
        raise SettingsError(
            f"encoder {name!r} has strides {strides}; expected a ratio of 1 : 2 : 4. "
            f"Choose other levels, or pass --resize-levels to resize them"
        )
    if strides == (finest, finest, finest):
        return finest // 2, finest, 2 * finest
    coarsest = max(strides[2], 4)
    return coarsest // 4, coarsest // 2, coarsest


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)


def build_encoder(
    name: str,
    *,
    weights: str | Path | None = None,
    levels: Levels = (1, 2, 3),
    resize_levels: bool = False,
) -> nn.Module:
    """Return the encoder of this name: `analytic`, or any timm backbone.

    Raises:
        SettingsError: the name is unknown, its levels do not fit, or weights were given to the analytic encoder.
        WeightsError: the weights cannot be had, or do not fit.

    Example:
        >>> import torch
        >>> encoder = build_encoder("resnet18", weights="random")
        >>> [tuple(f.shape) for f in encoder(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))]
        [(1, 64, 16, 16), (1, 128, 8, 8), (1, 256, 4, 4)]
    """
    if name == ANALYTIC:
        from invad.model.analytic import AnalyticEncoder

        if weights is not None:
            raise SettingsError(f"the {ANALYTIC} encoder is computed and takes no weights; leave out --weights")
        return AnalyticEncoder()
    return TimmEncoder(name, weights=weights, levels=levels, resize_levels=resize_levels)
