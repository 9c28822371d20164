"""A run folder: what lies in it, and who may make one.

settings.toml       every setting, resolved
environment.json    versions and hardware that it was started with; log.jsonl has those that it was resumed with
records.jsonl       the training images, in order, with the SHA-256 of each; none of an imported run
held_back.jsonl     the same for the normal images that were not trained on
log.jsonl           one line per logged step and event, the first with the settings that decide what is computed;
                    where a learning rate was added, another one has them anew
tracking/           the same for TensorBoard or another tracker, where it was asked for
encoder.safetensors the frozen encoder
scale.json          the colour scale for maps, from the training images
checkpoints/        the last two states of neck, decoder and optimiser; damaged ones under another name
best.safetensors    the state with the smallest loss on the images held back, where it counts
curve.png           the losses, drawn
evaluation/         results as JSON, CSV and Markdown, what a report needs, and the report
"""

import dataclasses
import json
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from invad.checkpoint import list_checkpoints, load_checkpoint, load_encoder, load_newest
from invad.colours import ColourScale
from invad.devices import processor_flags, processor_name
from invad.errors import CheckpointError, RunError, command
from invad.files import PART, write_text
from invad.model import InvAD, build_model
from invad.model.encoder import ANALYTIC, RANDOM
from invad.presets import EPOCHS
from invad.processes import Processes
from invad.records import Record
from invad.settings import TrainSettings
from invad.trained_images import difference, read_records, write_records

PACKAGES = ("invad", "torch", "torchvision", "timm", "accelerate", "numpy", "pillow", "opencv-python-headless", "numba")
UNFINISHED = ".new"
"""How the name of a run folder ends that is being made."""


class Run:
    """The paths of one run folder, and its small files.

    Example:
        >>> Run("runs/x").settings_file.as_posix()
        'runs/x/settings.toml'
    """

    def __init__(self, path: Path | str) -> None:
        path = Path(path)
        self.path = path
        self.settings_file = path / "settings.toml"
        self.environment_file = path / "environment.json"
        self.records_file = path / "records.jsonl"
        self.held_back_file = path / "held_back.jsonl"
        self.log_file = path / "log.jsonl"
        self.encoder_file = path / "encoder.safetensors"
        self.scale_file = path / "scale.json"
        self.tracking = path / "tracking"
        self.checkpoints = path / "checkpoints"
        self.best_file = path / "best.safetensors"
        self.curve_file = path / "curve.png"
        self.evaluation = path / "evaluation"

    @classmethod
    @contextmanager
    def create(cls, path: Path) -> Iterator["Run"]:
        """A context that fills the folder of a new run; it gets its name at the end, so that nobody sees half of one.

        Raises:
            RunError: something stands there already, or the folder cannot be made.
        """
        cls.require_free(path)
        there = path.exists()  # an empty folder stays what it is: it may be a mount, or the one we run in
        new = path / UNFINISHED if there else path.with_name(f".{path.name}{UNFINISHED}")
        try:
            shutil.rmtree(new, ignore_errors=True)  # what a killed program left
            new.mkdir(parents=True)
            yield cls(new)
            if not there:
                new.rename(path)
                return
            for entry in sorted(new.iterdir(), key=lambda entry: entry.name == cls(new).settings_file.name):
                entry.rename(path / entry.name)  # the settings last: without them it is no run
        except OSError as error:
            raise RunError(f"cannot make the run folder {path}: {error.strerror}") from error
        finally:
            shutil.rmtree(new, ignore_errors=True)

    @staticmethod
    def require_free(path: Path) -> None:
        """Refuse a path where something stands already.

        Raises:
            RunError: it does.
        """
        if path.exists() and (not path.is_dir() or any(entry.name != UNFINISHED for entry in path.iterdir())):
            raise RunError(
                f"{path} exists already. Choose another --out, go on with it by "
                f"`{command('train', '--resume', path)}`, or delete it"
            )

    @classmethod
    def open(cls, path: Path | str) -> "Run":
        """Open the folder of a run that exists.

        Raises:
            RunError: there is no run.
        """
        run = cls(path)
        with reaching(run.path):
            there = run.settings_file.is_file()
        if not there:
            raise RunError(f"{path} is not a run: expected a folder made by `invad train`, with {run.settings_file}")
        return run

    def settings(self) -> TrainSettings:
        """Return the settings that the run was made with, every published value filled in."""
        return TrainSettings.load(self.settings_file)

    def write_environment(self, processes: Processes | None = None) -> None:
        """Record the versions and the machine, and the processes that train."""
        write_text(self.environment_file, json.dumps(environment(processes), indent=1) + "\n")

    def environment(self) -> dict[str, str]:
        """Return the versions and the machine that the run was made with; nothing where it did not record them."""
        if not self.environment_file.is_file():
            return {}
        try:
            found = json.loads(self.environment_file.read_text(encoding="utf-8"))
            return {str(name): str(value) for name, value in found.items()}
        except (OSError, ValueError, AttributeError) as error:
            raise RunError(
                f"{self.environment_file} is damaged, or cannot be read ({error}); restore it from a copy, or delete it"
            ) from error

    def environments(self) -> tuple[dict[str, str], ...]:
        """Return the versions and machine that the run was started with, and those of each time that it was resumed."""
        later = (event["environment"] for event in self.events() if "environment" in event)
        return (self.environment(), *later)

    def write_records(self, records: Sequence[Record], hashes: Sequence[str]) -> None:
        """Record which images the run is trained on, and the SHA-256 of each."""
        write_records(self.records_file, records, hashes)

    def write_held_back(self, records: Sequence[Record], hashes: Sequence[str]) -> None:
        """Record which normal images the run is not trained on, and the SHA-256 of each."""
        write_records(self.held_back_file, records, hashes)

    def held_back(self) -> tuple[Record, ...]:
        """Return the normal images that were held back from the training; none of older and imported runs."""
        if not self.held_back_file.is_file():
            return ()
        rows = read_records(self.held_back_file)
        return tuple(Record(image=Path(r["image"]), class_name=r["class"], split=r["split"]) for r in rows)

    def trained_classes(self) -> tuple[str, ...]:
        """Return the classes that the run was trained on, by name; none of an imported run."""
        if not self.records_file.is_file():
            return ()
        return tuple(sorted({line["class"] for line in read_records(self.records_file)}))

    def require_trained_here(self) -> None:
        """Refuse a run that was imported: nothing says what it was trained on.

        Raises:
            RunError: it was.
        """
        if not self.records_file.is_file():
            raise RunError(
                f"{self.path} has no list of training images (imported weights?); it can neither be gone on with nor "
                f"done again"
            )

    def logged_settings(self) -> dict[str, Any]:
        """Return the settings that decide, as the log has them last; none of a run of an older version."""
        found: dict[str, Any] = {}
        for event in self.events():
            if event["event"] in ("started", "changed"):
                found = event["settings"]
        return found

    def require_same_settings(self, settings: TrainSettings) -> None:
        """Refuse to go on by settings that would compute something else than those that the run was started with.

        Later learning rates may have been added: they are written into the settings first, and then into the log.

        Raises:
            RunError: one of those that decide was changed.
        """
        logged, now = self.logged_settings(), settings.deciding()
        changed = [name for name, value in logged.items() if name in now and not _goes_on(name, value, now[name])]
        if changed:
            told = ", ".join(f"{name} was {logged[name]} and is {now[name]}" for name in changed)
            raise RunError(
                f"{self.settings_file} has changed since the run was started: {told}. Put it back, or start a new run"
            )

    def check_records(self, records: Sequence[Record], hashes: Sequence[str]) -> None:
        """Refuse to go on with other images to learn from than the run was started with.

        Raises:
            RunError: the list of images or one of them has changed.
        """
        self._require_same("training images", self.records_file, records, hashes)

    def check_held_back(self, records: Sequence[Record], hashes: Sequence[str]) -> None:
        """Refuse to go on with other images held back than the run was started with.

        Raises:
            RunError: the list of images or one of them has changed.
        """
        self._require_same("images held back", self.held_back_file, records, hashes)

    def _require_same(self, what: str, file: Path, records: Sequence[Record], hashes: Sequence[str]) -> None:
        """Refuse other images than those of a list; before the first checkpoint, one may have been mended."""
        found = difference(file, records, hashes, mended=not list_checkpoints(self.checkpoints))
        if found:
            raise RunError(
                f"the {what} are not those that {self.path} was started with ({found}). Restore them, or start a "
                f"new run"
            )

    def require_there(self) -> None:
        """Refuse to write into a folder that is gone, as one on a drive that is no longer mounted.

        Raises:
            RunError: it is gone, or the drive does not answer.
        """
        with reaching(self.path):
            there = self.settings_file.is_file()
        if not there:
            raise RunError(
                f"the run folder {self.path} has vanished (a drive that is no longer mounted?). Once it is back, go on "
                f"by `{command('train', '--resume', self.path)}`"
            )

    def tidy(self) -> None:
        """Take away what a killed program left: half a line at the end of the log, and files not written to their end.

        Raises:
            RunError: the folder cannot be written.
        """
        try:
            for folder in (self.path, self.checkpoints):
                for part in folder.glob(f".*{PART}"):
                    part.unlink(missing_ok=True)
            if self.log_file.is_file():
                with self.log_file.open("r+b") as file:
                    file.truncate(file.read().rfind(b"\n") + 1)
        except OSError as error:
            raise RunError(f"cannot write in the run folder {self.path}: {error.strerror}") from error

    def write_scale(self, scale: ColourScale) -> None:
        """Record the colour scale of its pictures, with which a run is complete."""
        write_text(self.scale_file, json.dumps(dataclasses.asdict(scale)) + "\n")

    def scale(self) -> ColourScale:
        """Return the colour scale of its pictures.

        Raises:
            RunError: the training has not ended, or the file is damaged.
        """
        if not self.complete:
            raise RunError(f"{self.path} is not complete; finish it by `{command('train', '--resume', self.path)}`")
        try:
            return ColourScale.from_values(json.loads(self.scale_file.read_text(encoding="utf-8")))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"{self.scale_file} is damaged or of another version ({error}); delete it and write it anew by "
                f"`{command('train', '--resume', self.path)}`"
            ) from error

    @property
    def name(self) -> str:
        """What its folder is called, whatever path leads there."""
        return self.path.resolve().name

    @property
    def complete(self) -> bool:
        """Whether the training has ended."""
        return self.scale_file.is_file()

    def notices(self) -> tuple[str, ...]:
        """Return what was unusual about the training, a sentence each."""
        return tuple(dict.fromkeys(event["text"] for event in self.events() if event.get("event") == "notice"))

    def layouts(self) -> tuple[str, ...]:
        """Return the layouts of the data sets that the run was trained on; none where it does not know."""
        named = [spec.partition(":")[0] for spec in self.settings().data]
        imported = [event["layout"] for event in self.events() if event.get("event") == "imported"]
        return tuple(dict.fromkeys(layout for layout in (*named, *imported) if layout in EPOCHS))

    def events(self) -> list[dict[str, Any]]:
        """Return what the log holds, a mapping for each line; a last line that was cut short is left out."""
        if not self.log_file.is_file():
            return []
        try:
            lines = self.log_file.read_text(encoding="utf-8").split("\n")
            return [json.loads(line) for line in lines[:-1]]
        except (OSError, ValueError) as error:
            raise RunError(
                f"{self.log_file} is damaged, or cannot be read ({error}); restore it from a copy"
            ) from error

    def log(self, **values: Any) -> None:
        """Append one line to the log.

        Raises:
            RunError: the line cannot be written, or the folder is gone.
        """
        self.require_there()
        try:
            with self.log_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
        except OSError as error:
            raise RunError(f"cannot write {self.log_file}: {error.strerror}. The last checkpoint is intact") from error


@contextmanager
def reaching(run: Path) -> Iterator[None]:
    """A context in which a drive that does not answer is said in a sentence: that of a run's folder, or of its images.

    Raises:
        RunError: something cannot be read or written there.
    """
    try:
        yield
    except ConnectionError:  # nothing of a file: whoever reads the output has gone, or a tracker's host
        raise
    except OSError as error:
        if error.errno is None:  # what other libraries derive from OSError
            raise
        raise RunError(
            f"cannot reach {error.filename or run}: {error.strerror} (a drive that is no longer mounted?). Once it is "
            f"back, go on by `{command('train', '--resume', run)}`"
        ) from error


def _goes_on(name: str, before: Any, now: Any) -> bool:
    """Whether a setting is what it was, or has later learning rates behind those that it had."""
    if name == "later_rates":
        now = now[: len(before)]
    return bool(now == before)


def environment(processes: Processes | None = None) -> dict[str, str]:
    """Return the versions of what the numbers depend on, and the machine, by name.

    Args:
        processes: those that train, of which the numbers depend on how many there are and on what they compute; None
            where nothing is trained.

    Example:
        >>> "python" in environment()
        True
    """
    found = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": platform.machine(),
        "processor name": processor_name(),
        "processor flags": " ".join(processor_flags()) or "unknown",
        "threads": str(torch.get_num_threads()),
        "accelerators": ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())) or "none",
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    if processes is not None:
        found |= {"processes": str(processes.count), "device": processes.device.type}
    return found


def differences(then: Mapping[str, str], now: Mapping[str, str], when: str = "then") -> tuple[str, ...]:
    """Return what differs between two records of versions and machine, a few words each.

    Example:
        >>> differences({"torch": "2.6.0", "numpy": "2.2"}, {"torch": "2.9.1", "numpy": "2.2"})
        ('torch: 2.6.0 then, 2.9.1 now',)
    """
    names = [name for name in dict.fromkeys((*then, *now)) if then.get(name) != now.get(name)]
    return tuple(
        f"{name}: {then.get(name, 'not recorded')} {when}, {now.get(name, 'not recorded')} now" for name in names
    )


def build_from(settings: TrainSettings, *, weights: str | None) -> InvAD:
    """Return the untrained model that resolved settings describe, its initial weights drawn from their seed.

    Args:
        settings: with every None replaced (see `TrainSettings.resolved`).
        weights: the encoder's; `random` where they are filled in afterwards.
    """
    assert settings.encoder is not None and settings.blocks is not None and settings.standardise is not None
    assert settings.levels is not None and settings.blur is not None
    torch.manual_seed(settings.seed)
    return build_model(
        settings.encoder,
        weights=weights,
        image_size=settings.size,
        levels=settings.levels,
        resize_levels=settings.resize_levels,
        style_channels=settings.style_channels,
        latent_channels=settings.latent_channels,
        blocks=settings.blocks,
        standardise=settings.standardise,
        sigma=settings.blur,
    )


def load_untrained(run: Run) -> InvAD:
    """Return the model of a run as it was before its first step, the encoder's weights filled in, on the CPU."""
    settings = run.settings()
    model = build_from(settings, weights=None if settings.encoder == ANALYTIC else RANDOM)
    load_encoder(run.encoder_file, model)
    return model


def load_model(run: Run) -> InvAD:
    """Return the trained model of a run, in eval mode on the CPU.

    It is the newest checkpoint of a run that is complete: another one is another model. Of one that is not, it is the
    newest that is whole.

    Raises:
        CheckpointError: there is no such checkpoint, or it is of another model.
    """
    model = load_untrained(run)
    newest = list_checkpoints(run.checkpoints)[:1]
    if not (run.complete and newest):
        load_newest(run.checkpoints, model)
        return model
    try:
        load_checkpoint(newest[0], model)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}: it is the model of this run. Restore it from a copy, or delete it and {run.scale_file}, and "
            f"`{command('train', '--resume', run.path)}` takes the steps since the checkpoint before once more"
        ) from error
    return model
