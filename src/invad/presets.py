"""The published settings, as data: what the authors trained with, by model and by data set.

Reference: arXiv:2404.10760, section 5.1 and its released configurations.
"""

from dataclasses import dataclass

from invad.model.encoder import Levels


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPreset:
    """What makes one of the published models."""

    encoder: str
    """timm's name of the frozen backbone."""
    blocks: Levels
    """Residual blocks per decoder level, fine to coarse."""
    loss_weight: float
    """The factor of the loss."""


MODELS: dict[str, ModelPreset] = {
    "invad": ModelPreset(encoder="wide_resnet50_2", blocks=(2, 2, 2), loss_weight=1.0),
    "invad-lite": ModelPreset(encoder="resnet34", blocks=(4, 4, 4), loss_weight=5.0),
}

EPOCHS: dict[str, int] = {
    "mvtec": 300,
    "visa": 100,
    "coco": 100,
    "mvtec3d": 300,
    "realiad": 100,
    "medical": 300,
    "folder": 100,
    "synthetic": 30,
}
"""Passes over the training images. Published, but for `folder` and `synthetic`, which are ours."""

OWN = frozenset({"folder", "synthetic"})
"""Layouts without published settings: there, the defaults are chosen for people who want a working model."""
HELD_BACK = 0.1
"""Share of the normal images of people's own sets that is not trained on."""

BATCH_SIZE = 32
LEARNING_RATE_PER_8_IMAGES = 1e-3
LATENT_CHANNELS = 16
GRADIENT_CLIP = 5.0
IMAGE_SIZE = 256
SEED = 42


def learning_rate(batch_size: int) -> float:
    """Return the published learning rate for a batch of this size.

    Example:
        >>> learning_rate(32)
        0.004
    """
    return LEARNING_RATE_PER_8_IMAGES * batch_size / 8


def epochs_for(layouts: tuple[str, ...]) -> int:
    """Return the epochs for a run on data sets of these layouts: the largest of their numbers.

    Example:
        >>> epochs_for(("mvtec", "visa"))
        300
    """
    return max(EPOCHS[layout] for layout in layouts)


def published(layouts: tuple[str, ...]) -> bool:
    """Return whether data sets of these layouts have published settings, which a run then keeps to.

    Example:
        >>> published(("mvtec", "folder")), published(("folder",))
        (True, False)
    """
    return not OWN.issuperset(layouts)
