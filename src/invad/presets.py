"""Settings as data: what the authors trained with, by model and by data set, and our own recipe beside it.

Reference: arXiv:2404.10760, section 5.1 and its released configurations; decision 014 for the recipe `aligned`.
"""

from dataclasses import dataclass
from typing import Literal

from invad.model.invad import Loss
from invad.records import Levels, Size
from invad.scoring import SIGMA

Schedule = Literal["step", "cooldown"]
"""How the learning rate goes over a run: see `invad.training.optimisation`."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a model is trained, and how its maps are made."""

    loss: Loss
    """How predictions are compared with features."""
    standardise: bool
    """Whether each channel of the features has zero mean and unit variance over the training images."""
    schedule: Schedule
    """How the learning rate goes."""
    warmup: int
    """Steps in which the learning rate grows to its full value."""
    batch_size: int
    """Images per step."""
    blur: float
    """Of the maps, in pixels, where the image's shorter side has 256."""
    blur_grows: bool
    """Whether it grows and shrinks with that side."""


RECIPES: dict[str, Recipe] = {
    "paper": Recipe(
        loss="squared", standardise=False, schedule="step", warmup=0, batch_size=32, blur=SIGMA, blur_grows=False
    ),
    "aligned": Recipe(
        loss="hard-cosine",
        standardise=True,
        schedule="cooldown",
        warmup=20,
        batch_size=16,
        blur=6.0,
        blur_grows=True,
    ),
}
"""The published one, and ours, in which the loss is what the map shows: see decision 014."""

FEWEST_STEPS, MOST_STEPS = 400, 20_000
"""The length of a run by the recipe `aligned`, whatever the number of images."""
PASSES = 20
"""How often it sees each image, between these."""

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

LEARNING_RATE_PER_8_IMAGES = 1e-3
LATENT_CHANNELS = 16
GRADIENT_CLIP = 5.0
CACHE_MEMORY = 4.0
"""GiB that decoded images may take in memory."""
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


def blur_for(recipe: Recipe, size: Size) -> float:
    """Return the blur of a recipe's maps at this image size, in pixels.

    Example:
        >>> [blur_for(RECIPES[name], (128, 160)) for name in ("paper", "aligned")]
        [4.0, 3.0]
    """
    return recipe.blur * min(size) / 256 if recipe.blur_grows else recipe.blur


def steps_for(images: int, batch_size: int) -> int:
    """Return how many steps the recipe `aligned` takes for so many images.

    Example:
        >>> steps_for(30, 16), steps_for(1000, 16), steps_for(1_000_000, 16)
        (400, 1250, 20000)
    """
    return min(max(PASSES * images // batch_size, FEWEST_STEPS), MOST_STEPS)


def published(layouts: tuple[str, ...]) -> bool:
    """Return whether data sets of these layouts have published settings, which a run then keeps to.

    Example:
        >>> published(("mvtec", "folder")), published(("folder",))
        (True, False)
    """
    return not OWN.issuperset(layouts)
