"""The training loop: settings and data in, a run folder out.

The order of the images in an epoch depends on the seed and the epoch's number alone, and nothing else is random after
the start; so a run that is stopped anywhere and resumed sees the same images in the same order.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from invad.checkpoint import Position, list_checkpoints, load_newest, save_checkpoint, save_encoder
from invad.data import DataSet, ImageSource, batches, open_datasets
from invad.devices import choose_device, to_device
from invad.errors import DataError, RunError, SettingsError
from invad.evaluation import evaluate_model, skipped_notices
from invad.model import InvAD, inversion_loss
from invad.model.analytic import AnalyticEncoder
from invad.records import Record
from invad.runs import Run, build_from, load_untrained
from invad.settings import TrainSettings
from invad.training.board import open_board, require_tensorboard
from invad.training.features import all_blocks, feature_batches, store_features
from invad.training.interrupt import Interrupt
from invad.training.optimisation import clip_gradients, learning_rate_at, make_optimiser
from invad.training.progress import Progress
from invad.training.scale import colour_scale

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

T = TypeVar("T")

CHECKPOINT_SECONDS = 60.0
"""Checkpoints are written at the end of an epoch, but not more often than this."""
LOG_STEPS = 10
"""Steps between two looks at the loss; looking waits for the accelerator."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What one run works with."""

    run: Run
    settings: TrainSettings
    model: InvAD
    optimiser: torch.optim.Adam
    source: ImageSource
    data: DataSet
    features: list[Tensor] | None
    """Those of all images, where they are stored."""
    board: "SummaryWriter | None"


def train(settings: TrainSettings, out: Path | str, *, quiet: bool = False) -> Run:
    """Train a model and return its run folder.

    Args:
        settings: what to train on and how; every None is replaced by its published value.
        out: the run folder to make; it must not exist, or be empty.
        quiet: show no progress.

    Raises:
        SettingsError: a setting cannot be meant, or does not fit the data.
        DataError: the data set is not laid out as it should be, or an image cannot be read.
        WeightsError: the encoder's weights cannot be had.
        MissingExtraError: TensorBoard was asked for and is not installed.
        RunError: the folder is taken or cannot be written, or the loss is no longer a number.
        KeyboardInterrupt: passed on after a checkpoint has been written, from which `resume` goes on.
    """
    data = open_data(settings)
    settings = settings.resolved(data.layouts)
    device = choose_device(settings.device)
    Run.require_free(Path(out))
    if settings.tensorboard:
        require_tensorboard()
    model = build_from(settings, weights=settings.weights)
    records = training_records(data, validation=settings.validation)
    source = open_source(settings, records)
    if isinstance(model.encoder, AnalyticEncoder):
        model.encoder.fit(to_device(images, torch.device("cpu")) for _, images in batches(source, all_blocks(source)))
    run = Run.create(Path(out))
    save_encoder(run.encoder_file, model)
    run.write_records(source.records)
    run.write_environment()
    settings.save(run.settings_file)  # last: a folder without it is not a run
    for text in (*data.notices, *validation_notices(data, settings.validation), *skipped_notices(source, "training")):
        run.log(event="notice", text=text)
        Console(stderr=True, quiet=quiet).print(f"note: {text}", highlight=False)
    _start(run, settings, model.to(device), source, data, quiet=quiet)
    return run


def resume(path: Path | str, *, quiet: bool = False) -> Run:
    """Go on with a run that was stopped, from its newest whole checkpoint, to the end that its settings name.

    A run that is complete is returned as it is. Raises as `train` does, and RunError where the training images are no
    longer those that the run was started with.
    """
    run = Run.open(Path(path))
    settings = run.settings()
    data = open_data(settings)
    source = open_source(settings, training_records(data, validation=settings.validation))
    run.check_records(source.records)
    model = load_untrained(run).to(choose_device(settings.device))
    _start(run, settings, model, source, data, quiet=quiet)
    return run


def open_data(settings: TrainSettings) -> DataSet:
    """Return the data sets that settings name, as one."""
    return open_datasets(settings.data, settings.classes, views=settings.views, split=settings.split)


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


def open_source(settings: TrainSettings, records: tuple[Record, ...]) -> ImageSource:
    """Return the images of these records, decoded once, under the settings' size and cache."""
    return ImageSource(
        records,
        settings.size,
        cache=settings.cache,
        cache_dir=Path(settings.cache_dir) if settings.cache_dir else None,
        skip_unreadable=settings.skip_unreadable,
    )


def epoch_batches(count: int, batch_size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Return the indices of each batch of an epoch: all images shuffled, a last short batch dropped.

    A set smaller than one batch keeps its only, short one.

    Example:
        >>> [batch.tolist() for batch in epoch_batches(5, 2, seed=0, epoch=0)]
        [[2, 4], [3, 0]]
    """
    order = np.random.default_rng((seed, epoch)).permutation(count)
    full = count // batch_size
    return [order] if full == 0 else list(order[: full * batch_size].reshape(full, batch_size))


def train_step(
    model: InvAD,
    optimiser: torch.optim.Optimizer,
    features: Sequence[Tensor],
    *,
    loss_weight: float,
    clip: float,
    bf16: bool,
) -> Tensor:
    """Take one optimiser step on features (B, C_i, h_i, w_i); return the loss, detached and on the device."""
    with torch.autocast(features[0].device.type, torch.bfloat16, enabled=bf16):
        predictions = model.predict(features)
    loss = inversion_loss(features, predictions, loss_weight)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    clip_gradients(model.trained_parameters(), clip)
    optimiser.step()
    return loss.detach()


def _start(run: Run, settings: TrainSettings, model: InvAD, source: ImageSource, data: DataSet, *, quiet: bool) -> None:
    """Train from the newest checkpoint, or from the first step."""
    optimiser = make_optimiser(model.trained_parameters(), _given(settings.learning_rate))
    start = Position(epoch=0, step=0, total_steps=0)
    if list_checkpoints(run.checkpoints):
        start = load_newest(run.checkpoints, model, optimiser)
        run.log(event="resumed", epoch=start.epoch, step=start.step, total_steps=start.total_steps)
    complete = start.epoch == settings.epochs
    features = None if complete else store_features(model, source, settings.feature_memory, quiet=quiet)
    board = open_board(run.tensorboard, start.total_steps) if settings.tensorboard else None
    job = Job(
        run=run,
        settings=settings,
        model=model,
        optimiser=optimiser,
        source=source,
        data=data,
        features=features,
        board=board,
    )
    try:
        _run(job, start, quiet=quiet)
    finally:
        if board is not None:
            board.close()


def _run(job: Job, start: Position, *, quiet: bool) -> None:
    """All epochs from a position on, with checkpoints, log and progress."""
    s, epochs = job.settings, _given(job.settings.epochs)
    steps = len(epoch_batches(len(job.source), s.batch_size, s.seed, 0))
    saved_at, position = time.monotonic(), start
    batch = min(s.batch_size, len(job.source))
    with Interrupt() as interrupt, Progress(steps * epochs, start.total_steps, batch, quiet=quiet) as progress:
        for epoch in range(start.epoch, epochs):
            rate = learning_rate_at(_given(s.learning_rate), epoch, epochs)
            for step, loss in _epoch(job, epoch, start.step if epoch == start.epoch else 0, rate):
                position = Position(epoch=epoch, step=step + 1, total_steps=epoch * steps + step + 1)
                if position.total_steps % LOG_STEPS == 0 or step + 1 == steps:
                    _report(job, position, loss.item(), rate, progress)
                if interrupt.asked:
                    save_checkpoint(job.run.checkpoints, job.model, job.optimiser, position)
                    raise KeyboardInterrupt
            position = Position(epoch=epoch + 1, step=0, total_steps=(epoch + 1) * steps)
            last = epoch + 1 == epochs
            if last or time.monotonic() - saved_at > CHECKPOINT_SECONDS:
                save_checkpoint(job.run.checkpoints, job.model, None if last else job.optimiser, position)
                saved_at = time.monotonic()
            if s.eval_every and (epoch + 1) % s.eval_every == 0:
                _watch(job, epoch + 1)
    if not job.run.scale_file.exists():
        job.run.write_scale(*colour_scale(job.model, job.source))
        job.run.log(event="finished", epoch=epochs, total_steps=position.total_steps)


def _epoch(job: Job, epoch: int, first_step: int, rate: float) -> Iterator[tuple[int, Tensor]]:
    """The steps of one epoch from `first_step` on, each with its loss."""
    s = job.settings
    job.model.train()
    for group in job.optimiser.param_groups:
        group["lr"] = rate
    indices = epoch_batches(len(job.source), s.batch_size, s.seed, epoch)[first_step:]
    for step, features in enumerate(feature_batches(job.model, job.source, indices, job.features), start=first_step):
        yield (
            step,
            train_step(
                job.model,
                job.optimiser,
                features,
                loss_weight=_given(s.loss_weight),
                clip=s.gradient_clip,
                bf16=s.precision == "bf16",
            ),
        )


def _report(job: Job, position: Position, loss: float, rate: float, progress: Progress) -> None:
    """One look at the loss: progress bar, log, and a stop where it is no longer a number."""
    if not np.isfinite(loss):
        raise RunError(
            f"the loss became {loss} in epoch {position.epoch + 1}, step {position.step}. The checkpoints before are "
            f"intact; try a smaller learning rate (now {rate:g}) or precision fp32"
        )
    progress.update(position.total_steps, loss, rate)
    if job.board is not None:
        job.board.add_scalar("loss", loss, position.total_steps)
        job.board.add_scalar("learning_rate", rate, position.total_steps)
    job.run.log(
        event="step",
        epoch=position.epoch + 1,
        step=position.step,
        total_steps=position.total_steps,
        loss=loss,
        learning_rate=rate,
        images_per_second=round(progress.images_per_second, 2),
    )


def _watch(job: Job, epoch: int) -> None:
    """Evaluate on the test images, for the log alone: nothing is chosen by it."""
    evaluation = evaluate_model(job.model, job.data, job.settings, protocols=("exact",), quiet=True)
    mean = evaluation.results[0].mean
    job.run.log(event="evaluation", epoch=epoch, protocol="exact", mean=mean)
    if job.board is not None:
        for key, value in mean.items():
            if value is not None:
                job.board.add_scalar(f"test/{key}", value, epoch)


def _given(value: T | None) -> T:
    """A setting that `TrainSettings.resolved` has filled in."""
    assert value is not None
    return value
