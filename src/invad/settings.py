"""The settings of a training run: documented where they are declared, checked when made, readable in a file.

The command line and the settings file are both made from `TrainSettings`; None means what follows from model,
recipe, data and encoder (`invad presets`).
"""

import dataclasses
import json
import math
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from invad.errors import SettingsError
from invad.files import write_text
from invad.kinds import coerce
from invad.model.backbones import backbone_of
from invad.model.invad import Loss
from invad.presets import (
    CACHE_MEMORY,
    GRADIENT_CLIP,
    HELD_BACK,
    LATENT_CHANNELS,
    MODELS,
    RECIPES,
    SEED,
    Recipe,
    Schedule,
    blur_for,
    epochs_for,
    learning_rate,
    published,
    steps_for,
)
from invad.records import Size

T = TypeVar("T")

FORMAT = 3
"""The version of the settings file; 1 had `tensorboard` where `track` is now, 2 knew one recipe, that of the paper."""
MAY_CHANGE = frozenset(
    {
        *("data", "classes", "views", "split", "validation", "held_back", "skip_unreadable"),
        *("weights", "device", "cache", "cache_memory", "cache_dir", "feature_memory", "feature_disk"),
        *("choose_by", "eval_every", "checkpoint_every", "track"),
    }
)
"""Settings that may be others when a run goes on. The first row only names images, whose list and hashes the run keeps;
the second and third say where things lie, and how often somebody looks. All others decide what is computed."""
Precision = Literal["fp32", "bf16"]
"""The arithmetic of neck and decoder in training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainSettings:
    """Everything that decides what a training run computes.

    Where several values may stand, one alone will do: `data="folder:photos"`, `image_size=128`.
    """

    data: tuple[str, ...] = ()
    """Data sets as LAYOUT:ROOT, for example mvtec:/data/mvtec; several sets make one model."""
    classes: tuple[str, ...] = ()
    """The classes to train on; none given: all that the data sets hold."""
    views: tuple[str, ...] = ()
    """The cameras to use of sets that have several (realiad: C1 to C5); none given: all."""
    split: Literal[0, 1, 2, 3] | None = None
    """Which split of COCO-AD; needed for coco, and only there."""
    validation: bool = True
    """Learn from the split `validation` of a set that has one (mvtec3d), too, as published."""
    model: Literal["invad-lite", "invad"] = "invad-lite"
    """The published model."""
    recipe: Literal["paper", "aligned"] | None = None
    """How the model is trained and its maps are made: as published, or by a loss that is what the map shows, over
    standardised features, which takes a fraction of the time. None: paper for published data sets, aligned for others.
    It decides all of loss, standardise, schedule, warmup, batch_size, blur and the length that are not
    given."""
    encoder: str | None = None
    """Any timm backbone, or `analytic`, which needs no weights. None: invad-lite resnet34, invad wide_resnet50_2."""
    weights: str | None = None
    """The encoder's weights: a .safetensors or .pth file, or `random`. None: timm's, from the hub or its cache."""
    levels: tuple[int, int, int] | None = None
    """The backbone's stages or blocks to use (timm's out_indices), fine to coarse. None: 1 2 3, or those that are known
    to suit the backbone (see `invad presets`)."""
    resize_levels: bool = False
    """Resize levels whose strides are not 1 : 2 : 4 to that ratio; those of plain transformers always are."""
    image_size: tuple[int, ...] | None = None
    """Pixels of the model's input: one number for a square, or height and width; multiples of the coarsest stride, 16
    for ResNets. None: 256, or what the backbone needs (see `invad presets`)."""
    style_channels: int | None = None
    """Channels of a style code. None: the finest level's channels, at most 64."""
    latent_channels: int = LATENT_CHANNELS
    """Channels of a style."""
    blocks: tuple[int, int, int] | None = None
    """Residual blocks per decoder level, fine to coarse. None: invad-lite 4 4 4, invad 2 2 2."""
    loss: Loss | None = None
    """What is made small in training: the squared error of the features, one minus their cosine, or that with the
    positions predicted worst counting most. None: paper squared, aligned hard-cosine."""
    loss_weight: float | None = None
    """The factor of the loss. None: invad-lite 5, invad 1."""
    standardise: bool | None = None
    """Give each channel of the features zero mean and unit variance over the training images. None: paper no, aligned
    yes. The analytic encoder's channels always have."""
    steps: int | None = None
    """The length of the run in steps of the optimiser, rounded to whole epochs; not beside epochs. None: paper by
    epochs; aligned 20 passes over the images, but at least 400 and at most 20,000 steps."""
    epochs: int | None = None
    """The length of the run in passes over the training images. None: as steps say; by the recipe paper 300 for
    mvtec, mvtec3d and medical, 100 for visa, coco, realiad and folder, 30 for synthetic."""
    batch_size: int | None = None
    """Images per step, of all processes together; a last short batch is dropped, unless it is the only one. None: paper
    32, aligned 16."""
    accumulate: int = 1
    """Parts that a batch is computed in, one after the other, where memory is short. The learning rate stays that of
    the whole batch; each part has batch statistics of its own."""
    learning_rate: float | None = None
    """Adam's learning rate. None: 1e-3 for every 8 images of the batch (0.004 for 32)."""
    later_rates: tuple[tuple[int, float], ...] = ()
    """Learning rates that take the place of the first one later in the run, each after so many steps, for example
    500 0.001; of several that apply, the last of the list. Schedule and warmup go on. `--resume RUN --learning-rate X`
    adds one."""
    schedule: Schedule | None = None
    """step: a tenth of the learning rate after 80 % of the epochs. cooldown: the full rate, then a line to nothing over
    the last 30 % of the epochs, which begins as soon as patience is exhausted. None: paper step, aligned cooldown."""
    warmup: int | None = None
    """Steps in which the learning rate grows to its full value. None: paper 0, aligned 20."""
    gradient_clip: float = GRADIENT_CLIP
    """The largest global norm of the gradients."""
    seed: int = SEED
    """Decides the initial weights and the order of the images."""
    precision: Literal["auto", "fp32", "bf16"] | None = None
    """The arithmetic of neck and decoder in training; weights and optimiser stay fp32. auto: bf16 where the machine has
    instructions for it, else fp32. None: fp32 for published data sets, auto for others."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the first accelerator there is."""
    compile: bool | None = None
    """Compile the steps (torch.compile), on one NVIDIA GPU: most of a minute, after which they take about half the
    time. None: in a run of 5,000 steps or more."""
    cache: Literal["memory", "disk", "none"] = "memory"
    """Where decoded and resized images are kept."""
    cache_memory: float = CACHE_MEMORY
    """GiB of a host's memory that decoded images may take where they are kept there; those beyond it are decoded in
    every epoch. None are kept once their features are."""
    cache_dir: str | None = None
    """The folder of the disk cache. None: a folder in the user's cache directory."""
    feature_memory: float = 2.0
    """GiB of memory for the encoder's features of all training images, computed once: the accelerator's where half of
    what is free there is enough, else the host's, of all processes on it together. 0: none."""
    feature_disk: float = 0.0
    """GiB of disk for the features where they do not fit in memory; they lie in the folder of the disk cache, and later
    runs find them. Where they fit nowhere, they are computed in every step."""
    skip_unreadable: bool = False
    """Leave out images that cannot be decoded (and say so in the results) instead of stopping."""
    held_back: float | None = None
    """The share of each class's normal training images that is not trained on: it says when to stop, and calibrates
    decisions. A class of fewer than ten gives none. None: 0 for published data sets, 0.1 for others."""
    patience: int | None = None
    """Stop after so many epochs in which the loss on the images held back did not get smaller (schedule cooldown: begin
    to end); 0: never. None: paper 0; aligned a fifth of the epochs, at least three, where images are held
    back."""
    keep: Literal["last", "best"] = "last"
    """Which weights count in the end: those after the last epoch, or those with the smallest loss on the images held
    back."""
    choose_by: Literal["held-back", "test"] = "held-back"
    """The images that `patience` and `keep` go by. `test` is refused: numbers on images that the weights were chosen by
    are no longer a test."""
    blur: float | None = None
    """The blur of the maps, in pixels (sigma). None: paper 4; aligned 6 at 256 pixels, in proportion at other sizes."""
    eval_every: int = 0
    """Evaluate on the test images every so many epochs, for watching only; 0: never."""
    checkpoint_every: float = 60.0
    """Seconds between two checkpoints, at least; the end of the run writes one, too."""
    track: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()
    """Where to log the run too, beside its own log.jsonl (tensorboard needs the extra `tracking`, the others
    the package of their name)."""

    def __post_init__(self) -> None:
        for name, kind in typing.get_type_hints(type(self)).items():
            object.__setattr__(self, name, coerce(name, getattr(self, name), kind))
        _check(self)

    @property
    def size(self) -> Size:
        """Height and width of the model's input, of resolved settings."""
        assert self.image_size is not None
        return (self.image_size[0], self.image_size[-1])

    @property
    def arithmetic(self) -> Precision:
        """The precision of resolved settings."""
        assert self.precision is not None and self.precision != "auto"
        return self.precision

    def resolved(self, layouts: tuple[str, ...], *, fastest: Precision) -> "TrainSettings":
        """Return the same settings with every None replaced, but for what depends on the number of images.

        Args:
            layouts: of the data sets.
            fastest: the precision that the machine is fastest in (see `invad.devices.fastest_precision`).
        """
        preset, as_published = MODELS[self.model], published(layouts)
        name = self.recipe or ("paper" if as_published else "aligned")
        recipe: Recipe = RECIPES[name]
        precision = self.precision or ("fp32" if as_published else "auto")
        batch_size = _or(self.batch_size, recipe.batch_size)
        encoder = _or(self.encoder, preset.encoder)
        backbone = backbone_of(encoder)
        image_size = _or(self.image_size, (backbone.image_size,))
        by_epochs = name == "paper" and self.steps is None
        return dataclasses.replace(
            self,
            recipe=name,
            encoder=encoder,
            levels=_or(self.levels, backbone.levels),
            resize_levels=self.resize_levels or backbone.plain,
            image_size=image_size,
            blocks=_or(self.blocks, preset.blocks),
            loss=_or(self.loss, recipe.loss),
            loss_weight=_or(self.loss_weight, preset.loss_weight),
            standardise=_or(self.standardise, recipe.standardise),
            epochs=_or(self.epochs, epochs_for(layouts)) if by_epochs else self.epochs,
            batch_size=batch_size,
            learning_rate=_or(self.learning_rate, learning_rate(batch_size)),
            schedule=_or(self.schedule, recipe.schedule),
            warmup=_or(self.warmup, recipe.warmup),
            precision=fastest if precision == "auto" else precision,
            held_back=_or(self.held_back, 0.0 if as_published else HELD_BACK),
            blur=_or(self.blur, blur_for(recipe, (image_size[0], image_size[-1]))),
        )

    def for_images(self, learnt: int, held_back: int) -> "TrainSettings":
        """Return resolved settings with the length of the run for so many images to learn from, and its patience.

        Example:
            >>> settings = TrainSettings(data=("folder:photos",)).resolved(("folder",), fastest="fp32")
            >>> settings.for_images(900, 100).epochs
            20
        """
        assert self.batch_size is not None
        epochs = self.epochs
        if epochs is None:
            steps = self.steps if self.steps is not None else steps_for(learnt, self.batch_size)
            epochs = max(1, round(steps / max(1, learnt // self.batch_size)))
        watched = self.recipe == "aligned" and held_back > 0
        patience = max(3, epochs // 5) if watched else 0
        return dataclasses.replace(self, steps=None, epochs=epochs, patience=_or(self.patience, patience))

    def deciding(self) -> dict[str, Any]:
        """Return the settings that have to stay as they are while a run is trained, as JSON gives them back.

        Example:
            >>> settings = TrainSettings(data=("folder:photos",), batch_size=4, levels=(1, 2, 3)).deciding()
            >>> settings["batch_size"], settings["levels"], "data" in settings
            (4, [1, 2, 3], False)
        """
        found = {name: value for name, value in dataclasses.asdict(self).items() if name not in MAY_CHANGE}
        plain: dict[str, Any] = json.loads(json.dumps(found))
        return plain

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read settings from a TOML file.

        Raises:
            SettingsError: the file is missing, not TOML, of a newer format, or holds an unknown or wrong setting.
        """
        return cls.from_mapping(read_toml(path), str(path))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], origin: str = "settings") -> Self:
        """Make settings from plain values, as TOML or JSON hold them; lists become tuples.

        Raises:
            SettingsError: a name is unknown, or a value has the wrong type or cannot be meant.

        Example:
            >>> TrainSettings.from_mapping({"data": ["folder:photos"], "epochs": 5}).epochs
            5
        """
        known = typing.get_type_hints(cls)
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise SettingsError(f"{origin}: unknown setting {unknown[0]!r}; known ones: {', '.join(known)}")
        try:
            return cls(**values)
        except SettingsError as error:
            raise SettingsError(f"{origin}: {error}") from error

    def save(self, path: Path) -> None:
        """Write the settings to a TOML file, one setting a line with its documentation left out."""
        write_text(path, to_toml({"format": FORMAT, **dataclasses.asdict(self)}))


def read_toml(path: Path) -> dict[str, Any]:
    """Return the settings in a TOML file as plain values, its format version checked and taken off.

    Raises:
        SettingsError: the file is missing, not TOML, or of another format.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not a TOML file: {error}") from error
    version = values.pop("format", FORMAT)
    if version not in range(1, FORMAT + 1):
        raise SettingsError(f"{path} has format {version!r}; this version of invad reads formats 1 to {FORMAT}")
    if version == 1:
        values = _from_first_format(values)
    return _from_second_format(values) if version < FORMAT else values


def _from_first_format(values: dict[str, Any]) -> dict[str, Any]:
    """What settings of format 1 mean today: they knew `tensorboard` alone, and held nothing back."""
    if values.pop("tensorboard", False):
        values["track"] = ["tensorboard"]
    values.setdefault("held_back", 0.0)
    values.setdefault("precision", "fp32")
    return values


def _from_second_format(values: dict[str, Any]) -> dict[str, Any]:
    """What settings of formats 1 and 2 mean today: there was the recipe of the paper alone."""
    paper = RECIPES["paper"]
    before = {
        "recipe": "paper",
        "loss": paper.loss,
        "standardise": paper.standardise,
        "batch_size": paper.batch_size,
        "schedule": paper.schedule,
        "warmup": paper.warmup,
        "patience": 0,
        "blur": paper.blur,
        "levels": [1, 2, 3],
        "image_size": [256],
    }
    return before | values


def to_toml(values: Mapping[str, Any]) -> str:
    """Return flat values as TOML; None is left out, since TOML has no word for it.

    Example:
        >>> print(to_toml({"epochs": 5, "weights": None, "data": ("folder:a",)}), end="")
        epochs = 5
        data = ["folder:a"]
    """
    return "".join(f"{name} = {_toml_value(value)}\n" for name, value in values.items() if value is not None)


def _toml_value(value: Any) -> str:
    """A value as TOML writes it: as JSON does, but for infinity and the characters that have to be escaped."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    if isinstance(value, float):
        return repr(float(value))  # `inf`, where JSON has `Infinity`
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def given(value: T | None) -> T:
    """Return a setting that `TrainSettings.resolved` has filled in."""
    assert value is not None
    return value


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


def _check(s: TrainSettings) -> None:
    """Refuse what cannot be meant."""
    for name, value in dataclasses.asdict(s).items():
        for item in value if isinstance(value, tuple) else (value,):
            _check_value(name, item)
    positive: dict[str, float | None] = {
        "steps": s.steps,
        "epochs": s.epochs,
        "batch_size": s.batch_size,
        "accumulate": s.accumulate,
        "learning_rate": s.learning_rate,
        "gradient_clip": s.gradient_clip,
        "loss_weight": s.loss_weight,
        "latent_channels": s.latent_channels,
    }
    for name, value in positive.items():
        if value is not None and value <= 0:
            raise SettingsError(f"{name} must be above 0, not {value}")
    for name in ("learning_rate", "loss_weight", "blur", "cache_memory"):
        if getattr(s, name) == math.inf:
            raise SettingsError(f"{name} must be finite, not inf")
    _check_later_rates(s.later_rates)
    if not 0 <= s.seed < 1 << 64:
        raise SettingsError(f"seed must be 0 or more, and below 2 to the 64th, not {s.seed}")
    if s.image_size is not None and (len(s.image_size) not in (1, 2) or min(s.image_size) <= 0):
        raise SettingsError(f"image_size must be one number, or height and width, not {s.image_size}")
    if s.steps is not None and s.epochs is not None:
        raise SettingsError("steps and epochs both give the length of the run; leave one out")
    if s.batch_size is not None and s.accumulate > s.batch_size:
        raise SettingsError(f"accumulate cannot part {s.batch_size} images of a batch into {s.accumulate}")
    for name in (
        "eval_every",
        "cache_memory",
        "feature_memory",
        "feature_disk",
        "checkpoint_every",
        "patience",
        "warmup",
        "blur",
    ):
        value = getattr(s, name)
        if value is not None and value < 0:
            raise SettingsError(f"{name} must be 0 or more, not {value}")
    if s.held_back is not None and not 0 <= s.held_back <= 0.5:
        raise SettingsError(f"held_back must be a share from 0 to 0.5, not {s.held_back}")
    if s.choose_by == "test":
        raise SettingsError(
            "choose_by = test is refused: weights chosen by the test images make every number on them too good. Use "
            "held-back, with held_back above 0; to watch the test images without choosing by them, use eval_every"
        )


def _check_later_rates(later: tuple[tuple[int, float], ...]) -> None:
    """Refuse steps that cannot be, and rates that no step can be taken with."""
    for step, rate in later:
        if step < 0:
            raise SettingsError(f"later_rates must begin after 0 steps or more, not {step}")
        require_rate("later_rates", rate)


def require_rate(name: str, rate: float) -> None:
    """Refuse what is no learning rate.

    Raises:
        SettingsError: it is not above 0, or not finite.
    """
    if not (math.isfinite(rate) and rate > 0):
        raise SettingsError(f"{name} must be a finite number above 0, not {rate}")


def _check_value(name: str, value: Any) -> None:
    """Refuse what no settings file can give back."""
    if isinstance(value, float) and math.isnan(value):
        raise SettingsError(f"{name} must be a number, not nan")
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        raise SettingsError(f"{name} = {value!r} is not text that UTF-8 can hold; rename the file or folder")
