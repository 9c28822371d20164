"""The training loop: settings and data in, a run folder out.

The order of the images in an epoch depends on the seed and the epoch's number alone, and nothing else is random after
the start; so a run that is stopped anywhere and resumed sees the same images in the same order.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from invad.checkpoint import (
    Position,
    list_checkpoints,
    load_checkpoint,
    load_newest,
    save_checkpoint,
    write_checkpoint,
)
from invad.devices import fastest_precision
from invad.errors import ImageError, RunError, SettingsError
from invad.evaluation import evaluate_model
from invad.inference.calibrating import calibrate_run
from invad.model import InvAD
from invad.processes import Processes, start_processes
from invad.runs import Run, load_untrained
from invad.settings import TrainSettings
from invad.training.curve import write_curve
from invad.training.features import Features, open_features
from invad.training.held_back import held_back_loss
from invad.training.interrupt import Interrupt
from invad.training.optimisation import learning_rate_at, make_optimiser
from invad.training.parallel import make_trainee
from invad.training.progress import Progress
from invad.training.scale import colour_scale
from invad.training.setup import (
    Images,
    build_untrained,
    feature_budget,
    make_run,
    open_data,
    open_images,
    require_same_images,
)
from invad.training.step import Step, exact_arithmetic, fit_into_memory, train_step
from invad.training.tracking import Trackers, require_trackers

T = TypeVar("T")

LOG_STEPS = 10
"""Steps between two looks at the loss; looking waits for the accelerator."""


@dataclass(kw_only=True, slots=True)
class Job:
    """What one run works with."""

    run: Run
    settings: TrainSettings
    images: Images
    processes: Processes
    model: InvAD
    trainee: nn.Module
    optimiser: torch.optim.Adam
    learnt: Features
    held_back: Features | None
    trackers: Trackers
    parts: int
    """That a batch is computed in; memory that runs out makes them more."""
    saved_at: float
    """When the last checkpoint was written, on the monotonic clock."""


def train(settings: TrainSettings, out: Path | str, *, encoder_file: Path | None = None, quiet: bool = False) -> Run:
    """Train a model and return its run folder.

    Args:
        settings: what to train on and how; every None is replaced by its published value.
        out: the run folder to make; it must not exist, or be empty.
        encoder_file: the `encoder.safetensors` of another run, in place of the encoder's weights that settings name.
        quiet: show no progress.

    Raises:
        SettingsError: a setting cannot be meant, or does not fit the data.
        DataError: the data set is not laid out as it should be, or an image cannot be read.
        WeightsError: the encoder's weights cannot be had.
        MissingExtraError: a tracker was asked for and is not installed.
        RunError: the folder is taken, vanishes or cannot be written, or the loss is no longer a number.
        KeyboardInterrupt: passed on after a checkpoint has been written, from which `resume` goes on.
    """
    processes = start_processes(settings.device)
    data = open_data(settings)
    settings = settings.resolved(data.layouts, fastest=fastest_precision(processes.device))
    if settings.batch_size < processes.count * settings.accumulate:
        raise SettingsError(
            f"a batch of {settings.batch_size} images is too small for {processes.count} processes and "
            f"{settings.accumulate} parts: each needs one image or more"
        )
    Run.require_free(Path(out))
    require_trackers(settings.track)
    images = open_images(data, settings, processes, quiet=quiet or not processes.first)
    model = build_untrained(settings, images.learnt, encoder_file)
    if processes.first:
        make_run(Path(out), settings, model, images, quiet=quiet)
    processes.from_first(True)  # the folder is there
    return _start(Run.open(Path(out)), settings, model, images, processes, resumed=False, quiet=quiet)


def resume(path: Path | str, *, quiet: bool = False) -> Run:
    """Go on with a run that was stopped, from its newest whole checkpoint, to the end that its settings name.

    A run that is complete is returned as it is. Raises as `train` does, and RunError where the training images are no
    longer those that the run was started with.
    """
    run = Run.open(Path(path))
    if run.complete:
        return run
    settings = run.settings()
    processes = start_processes(settings.device)
    images = open_images(open_data(settings), settings, processes, quiet=quiet or not processes.first)
    require_same_images(run, images)
    if processes.first:
        run.tidy()
    return _start(run, settings, load_untrained(run), images, processes, resumed=True, quiet=quiet)


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


def _start(
    run: Run,
    settings: TrainSettings,
    model: InvAD,
    images: Images,
    processes: Processes,
    *,
    resumed: bool,
    quiet: bool,
) -> Run:
    """Train from the newest checkpoint, or from the first step."""
    model = model.to(processes.device)
    trainee = make_trainee(model, processes)
    optimiser = make_optimiser(model.trained_parameters(), _given(settings.learning_rate))
    start = Position(epoch=0, step=0, total_steps=0)
    if list_checkpoints(run.checkpoints):
        start = load_newest(run.checkpoints, model, optimiser)
    if processes.first and resumed:
        run.log(event="resumed", epoch=start.epoch, step=start.step, total_steps=start.total_steps)
    quiet = quiet or not processes.first
    with exact_arithmetic():
        learnt, held_back, said = _open_features(settings, model, images, processes, quiet=quiet)
        trackers = Trackers(settings.track if processes.first else (), run, settings, start.total_steps)
        if processes.first:
            run.log(event="features", text=said)
        job = Job(
            run=run,
            settings=settings,
            images=images,
            processes=processes,
            model=model,
            trainee=trainee,
            optimiser=optimiser,
            learnt=learnt,
            held_back=held_back,
            trackers=trackers,
            parts=settings.accumulate,
            saved_at=time.monotonic(),
        )
        try:
            _finish(job, _run(job, start, quiet=quiet))
        finally:
            trackers.close()
    processes.from_first(True)  # the run is whole
    return run


def _open_features(
    settings: TrainSettings, model: InvAD, images: Images, processes: Processes, *, quiet: bool
) -> tuple[Features, Features | None, str]:
    """The features of the images learnt and held back, which share the room, and a sentence on where they are."""
    parts = [(images.learnt, images.learnt_hashes)]
    if images.held_back is not None:
        parts.append((images.held_back, images.held_back_hashes))
    total = sum(len(source) for source, _ in parts)
    found = [
        open_features(
            model,
            source,
            feature_budget(settings, len(source) / total),
            settings.arithmetic,
            hashes=hashes,
            device=processes.device,
            quiet=quiet,
        )
        for source, hashes in parts
    ]
    (learnt, said), rest = found[0], found[1:]
    return learnt, rest[0][0] if rest else None, said


def _run(job: Job, start: Position, *, quiet: bool) -> Position:
    """All epochs from a position on, with checkpoints, log and progress; returns where the training ended."""
    s, epochs, first = job.settings, _given(job.settings.epochs), job.processes.first
    steps = len(epoch_batches(len(job.images.learnt), s.batch_size, s.seed, 0))
    position, batch = start, min(s.batch_size, len(job.images.learnt))
    with Interrupt() as interrupt, Progress(steps * epochs, start.total_steps, batch, quiet=quiet) as progress:
        while not _ended(s, position):
            epoch = position.epoch
            rate = learning_rate_at(_given(s.learning_rate), epoch, epochs)
            last: Step | None = None
            try:
                for step, last in _epoch(job, epoch, position.step, rate):
                    position = replace(position, step=step + 1, total_steps=epoch * steps + step + 1)
                    if position.total_steps % LOG_STEPS == 0 or step + 1 == steps:
                        _report(job, position, last, rate, progress)
                    stop = job.processes.any(interrupt.asked)
                    if stop or (first and step + 1 < steps and _checkpoint_due(job)):
                        _save(job, position, last)
                    if stop:
                        raise KeyboardInterrupt
                position = _judge(job, replace(position, epoch=epoch + 1, step=0))
            except ImageError:
                _save(job, position, last)
                raise
            if _ended(s, position) or _checkpoint_due(job):
                _save(job, position, last)
            if s.eval_every and (epoch + 1) % s.eval_every == 0:
                _watch(job, epoch + 1, position.total_steps)
    return position


def _ended(s: TrainSettings, position: Position) -> bool:
    """Whether all epochs are done, or patience is exhausted."""
    waited = position.epoch - position.best_epoch
    return position.epoch >= _given(s.epochs) or bool(s.patience and position.step == 0 and waited >= s.patience)


def _epoch(job: Job, epoch: int, first_step: int, rate: float) -> Iterator[tuple[int, Step]]:
    """The steps of one epoch from `first_step` on, each with its loss and its gradients' norm."""
    s, processes = job.settings, job.processes
    job.model.train()
    for group in job.optimiser.param_groups:
        group["lr"] = rate
    batches = epoch_batches(len(job.images.learnt), s.batch_size, s.seed, epoch)[first_step:]
    shares = [processes.share(batch) for batch in batches]
    for step, (batch, features) in enumerate(zip(batches, job.learnt.batches(shares), strict=True), start=first_step):
        yield step, _step(job, features, len(batch))


def _step(job: Job, features: list[Tensor], images: int) -> Step:
    """One step on this process's share of a batch; several processes average what each adds to the loss."""
    s, here = job.settings, len(features[0])
    weight = _given(s.loss_weight) * here * job.processes.count / images

    def take(parts: int) -> Step:
        return train_step(
            job.trainee,
            job.optimiser,
            features,
            loss_weight=weight,
            clip=s.gradient_clip,
            precision=s.arithmetic,
            parts=parts,
        )

    if job.processes.several:  # processes wait for each other in a step, so none of them can try again
        return take(job.parts)
    done, job.parts = fit_into_memory(take, job.trainee, job.parts, here, lambda text: _notice(job, text))
    return done


def _notice(job: Job, text: str) -> None:
    """Say something that a reader of the results has to know."""
    job.run.log(event="notice", text=text)
    Console(stderr=True).print(f"note: {text}", highlight=False)


def _report(job: Job, position: Position, step: Step, rate: float, progress: Progress) -> None:
    """One look at the loss: progress bar, log, and a stop where it is no longer a number."""
    loss = _mean(job, step[0])
    _require_numbers(job, position, loss, step[1].item())
    progress.update(position.total_steps, loss, rate)
    if not job.processes.first:
        return
    job.trackers.log({"loss": loss, "learning_rate": rate}, position.total_steps)
    job.run.log(
        event="step",
        epoch=position.epoch + 1,
        step=position.step,
        total_steps=position.total_steps,
        loss=loss,
        learning_rate=rate,
        images_per_second=round(progress.images_per_second, 2),
        seconds_left=round(progress.seconds_left, 1),
    )


def _mean(job: Job, loss: Tensor) -> float:
    """The loss of the whole batch, which processes hold parts of."""
    values = job.processes.gather(loss.item())
    return sum(values) / len(values)


def _require_numbers(job: Job, position: Position, loss: float, norm: float) -> None:
    """Stop where the loss or its gradients are no longer numbers, before weights made of them are written."""
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise RunError(
            f"the loss became {loss} and its gradients' norm {norm} in epoch {position.epoch + 1}, step "
            f"{position.step}. The checkpoints before are intact: `invad train --resume {job.run.path}` tries again "
            f"from there. If it comes again, start a run with a smaller learning rate or in precision fp32"
        )


def _checkpoint_due(job: Job) -> bool:
    return time.monotonic() - job.saved_at > job.settings.checkpoint_every


def _save(job: Job, position: Position, step: Step | None) -> None:
    """Write a checkpoint, if the last step left numbers; a run that has ended needs no optimiser."""
    if not job.processes.first:
        return
    if step is not None:
        _require_numbers(job, position, step[0].item(), step[1].item())
    job.run.require_there()
    optimiser = None if _ended(job.settings, position) else job.optimiser
    save_checkpoint(job.run.checkpoints, job.model, optimiser, position)
    job.saved_at = time.monotonic()


def _judge(job: Job, position: Position) -> Position:
    """The position with what the images held back say of the weights; the best weights are kept where they count."""
    if job.held_back is None or job.images.held_back is None:
        return position
    s, count = job.settings, len(job.images.held_back)
    loss = held_back_loss(job.trainee, job.held_back, count, s.arithmetic, _given(s.loss_weight), job.processes)
    if not math.isfinite(loss):
        raise RunError(
            f"the loss on the images held back became {loss} after epoch {position.epoch}. The checkpoints before are "
            f"intact; start a run with a smaller learning rate or in precision fp32"
        )
    better = position.best_loss is None or loss < position.best_loss
    if better:
        position = replace(position, best_loss=loss, best_epoch=position.epoch)
    if job.processes.first:
        if better and s.keep == "best":
            job.run.require_there()
            write_checkpoint(job.run.best_file, job.model, None, position)
        job.run.log(event="held_back", epoch=position.epoch, total_steps=position.total_steps, loss=loss)
        job.trackers.log({"held_back_loss": loss}, position.total_steps)
    return position


def _watch(job: Job, epoch: int, total_steps: int) -> None:
    """Evaluate on the test images, for the log alone: nothing is chosen by it."""
    evaluation = evaluate_model(
        job.model, job.images.data, job.settings, protocols=("exact",), processes=job.processes, quiet=True
    )
    if job.processes.first:
        mean = evaluation.results[0].mean
        job.run.log(event="evaluation", epoch=epoch, protocol="exact", mean=mean)
        job.trackers.log({f"test/{key}": value for key, value in mean.items()}, total_steps)


def _finish(job: Job, position: Position) -> None:
    """Put the weights that count into the last checkpoint, and make what pictures need."""
    if not job.processes.first:
        return
    s, run = job.settings, job.run
    if s.keep == "best":
        best = load_checkpoint(run.best_file, job.model)
        run.require_there()
        save_checkpoint(run.checkpoints, job.model, None, position)
        run.log(event="notice", text=_kept(best, position))
    elif position.epoch < _given(s.epochs):
        run.log(event="notice", text=f"stopped after {position.epoch} of {s.epochs} epochs: {s.patience} without gain")
    run.log(event="finished", epoch=position.epoch, total_steps=position.total_steps)
    write_curve(run)
    if job.images.held_back is not None:
        calibrate_run(run, quiet=True)
    run.write_scale(*colour_scale(job.model, job.images.learnt))  # last: a run with a scale is complete


def _kept(best: Position, position: Position) -> str:
    return (
        f"the weights are those after epoch {best.epoch} of {position.epoch}, where the loss on the images "
        f"held back was smallest"
    )


def _given(value: T | None) -> T:
    """A setting that `TrainSettings.resolved` has filled in."""
    assert value is not None
    return value
