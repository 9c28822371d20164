"""What a training begins with: images, what they hold, and a run folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from invad.checkpoint import Position, load_encoder, save_encoder
from invad.data import DataSet, ImageSource, check_masks, content_hashes, open_datasets
from invad.data.cache import default_cache_dir
from invad.devices import exact_arithmetic, to_device
from invad.errors import DataError, RunError, SettingsError
from invad.evaluation import skipped_notices
from invad.model import InvAD
from invad.model.analytic import AnalyticEncoder
from invad.model.encoder import ANALYTIC, RANDOM, build_encoder
from invad.model.standardised import StandardisedEncoder
from invad.processes import Processes
from invad.records import Record
from invad.runs import Run, build_from, differences, environment
from invad.settings import TrainSettings, given
from invad.training.features import BLOCK, Budget, in_blocks, shown_batches
from invad.training.held_back import hold_back
from invad.training.memory import ONE_IMAGE, release
from invad.training.step import possible_parts

FIT_IMAGES = 1000
"""Images that an encoder's statistics are taken of, at most: each is encoded once more for it."""
FITTED = AnalyticEncoder | StandardisedEncoder
"""Encoders that have such statistics."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """Those that a run learns from, and those that it holds back."""

    data: DataSet
    learnt: ImageSource
    learnt_hashes: tuple[str, ...]
    held_back: ImageSource | None
    held_back_hashes: tuple[str, ...]
    notices: tuple[str, ...]
    """What is unusual about them, a sentence each."""

    @property
    def held_back_count(self) -> int:
        """How many are held back."""
        return 0 if self.held_back is None else len(self.held_back)


def open_data(settings: TrainSettings) -> DataSet:
    """Return the data sets that settings name, as one."""
    return open_datasets(settings.data, settings.classes, views=settings.views, split=settings.split)


def _require_test_images(data: DataSet) -> None:
    """Refuse before the first step what an evaluation on the way would stop at."""
    test = data.split("test")
    if not test:
        raise SettingsError(
            "eval_every looks at test images, and the data holds none; leave it out, or set it to 0 in the "
            "settings.toml of a run that is to go on"
        )
    check_masks(test)


def open_images(data: DataSet, settings: TrainSettings, processes: Processes, *, quiet: bool) -> Images:
    """Return the images of resolved settings, read once for what they hold.

    Raises:
        DataError: there is no normal image, or one cannot be read.
        SettingsError: something is asked of images held back, or of test images, and there are none; or a step would
            have no batch statistics.
    """
    if settings.eval_every:
        _require_test_images(data)
    records = training_records(data, validation=settings.validation)
    assert settings.held_back is not None
    kept, held = hold_back(records, settings.held_back, settings.seed)
    _require_held_back(settings, len(held), len(records))
    share = len(kept) / len(records)
    mine = 1 / processes.on_host  # of the memory for decoded images, which each process keeps for itself
    learnt = open_source(settings, kept, share * mine)
    _require_batch_statistics(settings, len(learnt), processes)
    learnt_hashes = _hashes(learnt, processes, quiet=quiet)
    held_back = open_source(settings, held, (1 - share) * mine) if held else None
    held_back_hashes = () if held_back is None else _hashes(held_back, processes, quiet=True)
    notices = [*data.notices, *validation_notices(data, settings.validation), *skipped_notices(learnt, "training")]
    if held_back is not None:
        notices += [f"held back {len(held_back)} of {len(records)} normal training images; trained on the others"]
        notices += skipped_notices(held_back, "held-back")
        known = set(learnt_hashes)
        new = [i for i, digest in enumerate(held_back_hashes) if digest not in known]
        if len(new) < len(held_back):
            notices += [f"{len(held_back) - len(new)} of those are copies of images trained on, and left out"]
            _require_held_back(settings, len(new), len(records))
            held_back_hashes = tuple(held_back_hashes[i] for i in new)
            others = [held_back.records[i] for i in new]
            held_back = open_source(settings, others, (1 - share) * mine) if new else None
    return Images(
        data=data,
        learnt=learnt,
        learnt_hashes=learnt_hashes,
        held_back=held_back,
        held_back_hashes=held_back_hashes,
        notices=tuple(notices),
    )


def _require_held_back(settings: TrainSettings, count: int, total: int) -> None:
    """Refuse to go by images held back where none of so many are."""
    if count == 0 and (settings.patience or settings.keep == "best"):
        raise SettingsError(
            f"--patience and --keep best go by images held back, and held_back = {settings.held_back:g} of {total} "
            f"gives none; set --held-back, to 0.1 say, with ten images or more in a class, not all alike"
        )


def _require_batch_statistics(settings: TrainSettings, learnt: int, processes: Processes) -> None:
    """Refuse steps of one image whose coarsest features are one position: a single value has no variance."""
    batch = min(given(settings.batch_size), learnt)
    if processes.several or batch // possible_parts(settings.accumulate, batch) > 1:
        return
    encoder = build_encoder(  # for its strides alone
        given(settings.encoder),
        weights=None if settings.encoder == ANALYTIC else RANDOM,
        levels=given(settings.levels),
        resize_levels=settings.resize_levels,
    )
    coarsest: int = encoder.strides[2]  # type: ignore[index, assignment]
    if settings.size == (coarsest, coarsest):
        raise SettingsError(
            f"image_size {coarsest} leaves one position of the coarsest features, and there batch norm needs two "
            f"images or more at a time; got batch_size {settings.batch_size}, accumulate {settings.accumulate} and "
            f"{learnt} to learn from. Choose an image_size of {2 * coarsest} or more, or more images for each part of "
            f"a batch"
        )


def training_records(data: DataSet, *, validation: bool = True) -> tuple[Record, ...]:
    """Return the normal images to learn from: those of the split `train`, and of `validation` where there is one.

    Raises:
        SettingsError: `validation` is to be left out, and there is none.
        DataError: there is no normal image.
    """
    held_out = data.split("validation")
    if not validation and not held_out:
        raise SettingsError(f"{data.root} has no split `validation` to leave out; drop --no-validation")
    records = (*data.split("train"), *(held_out if validation else ()))
    normal = tuple(record for record in records if not record.anomalous)
    if not normal:
        raise DataError(f"{data.root} holds no normal training image; expected some in CLASS/train/good/")
    return normal


def validation_notices(data: DataSet, validation: bool) -> tuple[str, ...]:
    """Say what became of the split `validation`, where there is one."""
    count = len(data.split("validation"))
    if not count:
        return ()
    if validation:
        return (f"trained on train + validation ({count} images of it)",)
    return (f"trained without the {count} images of the split validation",)


def open_source(settings: TrainSettings, records: Sequence[Record], share: float) -> ImageSource:
    """Return the images of these records, under the settings' size and cache, of whose memory they get a share."""
    return ImageSource(
        records,
        settings.size,
        cache=settings.cache,
        cache_memory=share * settings.cache_memory,
        cache_dir=Path(settings.cache_dir) if settings.cache_dir else None,
        skip_unreadable=settings.skip_unreadable,
    )


def feature_budget(settings: TrainSettings, share: float) -> Budget:
    """Return a share of the room that settings grant to features."""
    folder = Path(settings.cache_dir) if settings.cache_dir else default_cache_dir()
    return Budget(
        memory=share * settings.feature_memory, disk=share * settings.feature_disk, folder=folder / "features"
    )


def build_untrained(
    settings: TrainSettings, source: ImageSource, encoder_file: Path | None, device: torch.device, *, quiet: bool
) -> InvAD:
    """Return the model of resolved settings before its first step, on a device.

    Args:
        settings: of the run.
        source: the images that an encoder's statistics are taken of, where it has some.
        encoder_file: the encoder of another run to take; None: the one that settings name.
        device: where the model goes, and where it encodes the images that statistics are taken of.
        quiet: show no progress.
    """
    if encoder_file is not None:
        model = build_from(settings, weights=None if settings.encoder == ANALYTIC else RANDOM)
        load_encoder(encoder_file, model)
        return model.to(device)
    model = build_from(settings, weights=settings.weights).to(device)
    if isinstance(model.encoder, FITTED):
        _fit(model.encoder, source, device, quiet=quiet)
    return model


def _fit(encoder: FITTED, source: ImageSource, device: torch.device, *, quiet: bool) -> None:
    """Take an encoder's statistics, again and of half as many images at a time where memory runs out."""
    indices, most = fit_indices(len(source)), BLOCK
    while True:
        shown = shown_batches(source, in_blocks(indices, most), "fitting the encoder", quiet=quiet)
        try:
            with exact_arithmetic():
                encoder.fit(to_device(images, device) for _, images in shown)
            return
        except torch.OutOfMemoryError as error:
            if most == 1:
                raise RunError(ONE_IMAGE) from error
            most //= 2
        release()


def fit_indices(count: int) -> NDArray[np.int64]:
    """Return which of so many images an encoder's statistics are taken of: all, or FIT_IMAGES spread over them.

    Example:
        >>> fit_indices(4).tolist(), fit_indices(2500)[[0, 1, -1]].tolist()
        ([0, 1, 2, 3], [0, 2, 2497])
    """
    taken = min(count, FIT_IMAGES)
    return np.arange(taken) * count // taken


def make_run(
    out: Path, settings: TrainSettings, model: InvAD, images: Images, processes: Processes, *, quiet: bool
) -> None:
    """Make the folder of a run that has not begun.

    Raises:
        RunError: it is taken or cannot be written.
    """
    with Run.create(out) as run:
        save_encoder(run.encoder_file, model)
        run.write_records(images.learnt.records, images.learnt_hashes)
        if images.held_back is not None:
            run.write_held_back(images.held_back.records, images.held_back_hashes)
        run.write_environment(processes)
        settings.save(run.settings_file)
        run.log(event="started", settings=settings.deciding())
        for text in images.notices:
            tell(run, text, quiet=quiet)


def tell(run: Run, text: str, *, quiet: bool = False) -> None:
    """Say something that a reader of the results has to know, in the log of the run and here."""
    run.log(event="notice", text=text)
    Console(stderr=True, quiet=quiet).print(f"note: {text}", highlight=False, markup=False)


def tell_resumed(run: Run, start: Position, processes: Processes) -> None:
    """Log where a run goes on, with which versions and on which machine; say so where they are others than before."""
    before, now = run.environments()[-1], environment(processes)
    run.log(event="resumed", epoch=start.epoch, step=start.step, total_steps=start.total_steps, environment=now)
    changed = differences(before, {name: value for name, value in now.items() if name in before})
    if changed:
        tell(
            run,
            f"resumed after step {start.total_steps} with other versions or on another machine, so its weights may "
            f"differ by rounding from those of a run that was never stopped ({'; '.join(changed)})",
        )


def require_same_images(run: Run, images: Images) -> None:
    """Refuse images that are not those that a run was started with, wherever they lie now.

    Raises:
        RunError: one was added or left out, or changed since the first checkpoint.
    """
    run.check_records(images.learnt.records, images.learnt_hashes)
    run.check_held_back(() if images.held_back is None else images.held_back.records, images.held_back_hashes)


def renew_lists(run: Run, images: Images) -> None:
    """Write where the images of a run lie now, and what they hold, after `require_same_images` found them the same."""
    run.write_records(images.learnt.records, images.learnt_hashes)
    if images.held_back is not None:
        run.write_held_back(images.held_back.records, images.held_back_hashes)


def _hashes(source: ImageSource, processes: Processes, *, quiet: bool) -> tuple[str, ...]:
    paths = [record.image for record in source.records]
    return processes.from_first(content_hashes(paths, quiet=quiet) if processes.first else None)
