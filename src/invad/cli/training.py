"""`invad train` and `invad presets`."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from invad.cli.main import merge_repeated
from invad.errors import RunError, SettingsError, command
from invad.model.backbones import BACKBONES, Backbone
from invad.presets import EPOCHS, FEWEST_STEPS, MODELS, MOST_STEPS, PASSES, RECIPES, Recipe, learning_rate
from invad.processes import is_first
from invad.settings import TrainSettings

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Train:
    """Train one model on the normal images of one or many data sets.

    Every option that is not given takes its value from model, recipe, data and encoder (see `invad presets`). Ctrl-C
    leaves a run that `invad train --resume RUN` goes on with.
    """

    out: Path | None = None
    """The run folder to make."""
    resume: Path | None = None
    """Go on with this run, with its own settings, instead of starting one. Only `--learning-rate X`, the rate from
    here on, and `--quiet` can stand beside it."""
    config: Path | None = None
    """A TOML file of settings; options given here override it."""
    dry_run: bool = False
    """Read the data, build the model, take a few steps, and say what the whole run will take on this machine."""
    quiet: bool = False
    """Show no progress."""
    settings: Annotated[TrainSettings, tyro.conf.arg(name="")] = field(default_factory=TrainSettings)

    @classmethod
    def parse(cls, prog: str, args: Sequence[str]) -> "Train":
        """Fill in the options; those of a settings file first, those of the command line over them."""
        path = _value_of("--config", args)
        default = cls(settings=TrainSettings.load(Path(path))) if path else cls()
        lists = ("--data", "--classes", "--views", "--track")
        return tyro.cli(cls, prog=prog, args=merge_repeated(args, *lists), default=default)

    def run(self) -> None:
        """Start a run, or go on with one."""
        from invad.cli.calibration import promise
        from invad.inference.calibration import FILE, Calibration
        from invad.runs import Run
        from invad.training import resume, train

        if self.dry_run:
            self._forecast()
            return
        if self.resume is not None:
            others = dataclasses.replace(self.settings, learning_rate=None)
            if self.out is not None or self.config is not None or others != TrainSettings():
                raise SettingsError(
                    "--resume goes on with the run's own settings, of which --learning-rate alone can be another; "
                    "leave out all others"
                )
            path = self.resume
        elif self.out is None:
            raise SettingsError("no run folder given; expected --out runs/NAME")
        else:
            path = self.out
        try:
            if self.resume is not None:
                run = resume(path, learning_rate=self.settings.learning_rate, quiet=self.quiet)
            else:
                run = train(self.settings, path, quiet=self.quiet)
        except KeyboardInterrupt:
            if is_first() and Run(path).settings_file.is_file():
                print(f"stopped; go on with: {command('train', '--resume', path)}", file=sys.stderr)
            raise
        if is_first():
            thresholds = run.path / FILE
            if thresholds.is_file():
                print(promise(Calibration.from_json(thresholds.read_text(encoding="utf-8"), str(thresholds)), run.path))
            evaluate, predict = command("evaluate", run.path), command("predict", run.path, "PHOTOS")
            print(f"trained: {run.path}. Next: {evaluate} where there are test images, or {predict}")

    def _forecast(self) -> None:
        """What the run would take."""
        from invad.training.dry_run import describe, dry_run

        if self.resume is not None:
            raise SettingsError("--dry-run looks ahead at a new run; leave out --resume")
        print(describe(dry_run(self.settings)))
        print("no run was made; without --dry-run the training begins")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reproduce:
    """Do a complete run again, with its settings, encoder and images, and compare: the weights should be the same bits.

    The exit status is 2 where they are not although machine and versions are the same.
    """

    run_path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run to do again."""
    out: Path
    """The run folder to make."""
    quiet: bool = False
    """Show no progress."""

    def run(self) -> None:
        """Train, compare, and say what was found."""
        from invad.training.reproduce import reproduce

        found = reproduce(self.run_path, self.out, quiet=self.quiet)
        if not is_first():
            return
        for text in found.environment:
            print(f"differs: {text}")
        for key, (before, now) in found.metrics.items():
            print(f"{key:<14}{100 * before:8.3f} then {100 * now:8.3f} now, {100 * (now - before):+.3f}")
        if found.identical:
            print(f"identical: all weights of {found.run.path} are those of {self.run_path} to the bit")
            return
        said = f"the weights of {found.run.path} and {self.run_path} differ by up to {found.largest_difference:.3g}"
        if not found.environment:
            raise RunError(f"{said}, although machine and versions are the same")
        print(f"{said}; other machines and versions round otherwise")


@dataclass(frozen=True, kw_only=True, slots=True)
class Presets:
    """Show what settings that are not given become: by model, recipe, data set and encoder."""

    def run(self) -> None:
        """Print a table for each."""
        from rich.console import Console

        Console().print(_models(), _recipes(), _data_sets(), _encoders())
        plain = {f.name: f.default for f in dataclasses.fields(TrainSettings) if isinstance(f.default, int | float)}
        Console().print("Everything else: " + ", ".join(f"{name} {value}" for name, value in plain.items()))


def _models() -> "Table":
    from rich.table import Table

    table = Table("--model", "encoder", "blocks per level", "loss weight", title="Models, as published")
    for name, preset in MODELS.items():
        table.add_row(name, preset.encoder, _numbers(preset.blocks), f"{preset.loss_weight:g}")
    return table


def _recipes() -> "Table":
    from rich.table import Table

    table = Table("--recipe", *RECIPES, title="Recipes: paper for published data sets, aligned for others")
    rows: dict[str, Callable[[Recipe], str]] = {
        "loss": lambda recipe: recipe.loss,
        "standardise": lambda recipe: "yes" if recipe.standardise else "no",
        "schedule": lambda recipe: recipe.schedule,
        "warmup": lambda recipe: str(recipe.warmup),
        "batch size": lambda recipe: str(recipe.batch_size),
        "learning rate": lambda recipe: f"{learning_rate(recipe.batch_size):g}",
        "blur at 256 pixels": lambda recipe: f"{recipe.blur:g}",
    }
    for name, show in rows.items():
        table.add_row(name, *(show(recipe) for recipe in RECIPES.values()))
    table.add_row("length", "epochs, see below", f"{PASSES} epochs, {FEWEST_STEPS:,} to {MOST_STEPS:,} steps")
    return table


def _data_sets() -> "Table":
    from rich.table import Table

    table = Table("data", "epochs", title="Data sets, in the recipe paper")
    for name, count in EPOCHS.items():
        table.add_row(name, str(count))
    return table


def _encoders() -> "Table":
    from rich.table import Table

    usual = Backbone()
    table = Table("--encoder", "levels", "image size", title="Encoders")
    table.add_row("any other of timm", _numbers(usual.levels), str(usual.image_size))
    for name, backbone in BACKBONES.items():
        table.add_row(name, _numbers(backbone.levels), str(backbone.image_size))
    return table


def _numbers(values: Sequence[int]) -> str:
    return " ".join(map(str, values))


def _value_of(option: str, args: Sequence[str]) -> str | None:
    """The value of an option among raw arguments, in either spelling."""
    for i, arg in enumerate(args):
        if arg.startswith(f"{option}="):
            return arg.split("=", 1)[1]
        if arg == option and i + 1 < len(args):
            return args[i + 1]
    return None
