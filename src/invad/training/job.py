"""One run at work: what it works with, what it says of itself, what it keeps, and how it ends."""

import contextlib
import math
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import torch
from torch import Tensor, nn

from invad.checkpoint import Position, load_checkpoint, save_checkpoint, write_checkpoint
from invad.errors import CheckpointError, InvadError, RunError, command
from invad.evaluation import evaluate_scorer
from invad.inference.calibrating import HELD_BACK, calibrate_run
from invad.inference.calibration import read_calibration
from invad.inference.checksum import model_checksum
from invad.inference.scorer import plain_scorer
from invad.model import InvAD
from invad.processes import Processes
from invad.runs import Run
from invad.settings import TrainSettings, given
from invad.training.curve import write_curve
from invad.training.features import Features
from invad.training.held_back import held_back_loss
from invad.training.progress import Progress
from invad.training.scale import colour_scale
from invad.training.schedule import base_rate, cooling_since, ended, exhausted
from invad.training.setup import Images, tell
from invad.training.step import Step
from invad.training.stepper import Stepper
from invad.training.tracking import Trackers


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
    stepper: Stepper
    saved_at: float
    """When the last checkpoint was written, on the monotonic clock."""


def report(job: Job, position: Position, step: Step, rate: float, progress: Progress) -> None:
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
        what = (
            f"the loss became {loss} and its gradients' norm {norm} in epoch {position.epoch + 1}, step {position.step}"
        )
        raise _no_number(job, position, what)


def _no_number(job: Job, position: Position, what: str) -> RunError:
    """The error that says what is no number any more, and how to go on."""
    resume, rate = command("train", "--resume", job.run.path), base_rate(job.settings, position.total_steps) / 2
    return RunError(
        f"{what}. The checkpoints before are intact, and `{resume}` does the same steps again from there: that helps "
        f"where a fault of the machine made it. If it comes again, go on with a smaller learning rate: `{resume} "
        f"--learning-rate {rate:g}`"
    )


def checkpoint_due(job: Job) -> bool:
    """Return whether the last checkpoint is long enough ago."""
    return time.monotonic() - job.saved_at > job.settings.checkpoint_every


def save(job: Job, position: Position, step: Step | None) -> None:
    """Write a checkpoint, if the last step left numbers; a run that has ended needs no optimiser."""
    if not job.processes.first:
        return
    if step is not None:
        _require_numbers(job, position, step[0].item(), step[1].item())
    job.run.require_there()
    optimiser = None if ended(job.settings, position) else job.optimiser
    save_checkpoint(job.run.checkpoints, job.model, optimiser, position)
    job.saved_at = time.monotonic()


def judge(job: Job, position: Position) -> Position:
    """The position with what the images held back say of the weights; the best weights are kept where they count."""
    if job.held_back is None or job.images.held_back is None:
        return position
    s, count = job.settings, len(job.images.held_back)
    loss = held_back_loss(job.trainee, job.held_back, count, s, job.processes)
    if not math.isfinite(loss):
        what = f"the loss on the images held back became {loss} after epoch {position.epoch}"
        raise _no_number(job, position, what)
    better = position.best_loss is None or loss < position.best_loss
    if better:
        position = replace(position, best_loss=loss, best_epoch=position.epoch)
    elif s.schedule == "cooldown" and position.epoch < cooling_since(s, position) and exhausted(s, position):
        position = replace(position, cooling_since=position.epoch)
    if job.processes.first:
        if better and s.keep == "best":
            job.run.require_there()
            write_checkpoint(job.run.best_file, job.model, None, position)
        job.run.log(event="held_back", epoch=position.epoch, total_steps=position.total_steps, loss=loss)
        job.trackers.log({"held_back_loss": loss}, position.total_steps)
    return position


def watch(job: Job, epoch: int, total_steps: int) -> None:
    """Evaluate on the test images, for the log alone: nothing is chosen by it."""
    evaluation = evaluate_scorer(
        plain_scorer(job.model, job.settings.size),
        job.images.data,
        skip_unreadable=job.settings.skip_unreadable,
        protocols=("exact",),
        processes=job.processes,
        quiet=True,
    )
    if job.processes.first:
        mean = evaluation.results[0].mean
        job.run.log(event="evaluation", epoch=epoch, protocol="exact", mean=mean)
        job.trackers.log({f"test/{key}": value for key, value in mean.items()}, total_steps)


def finish(job: Job, position: Position) -> None:
    """Put the weights that count into the last checkpoint, and make what pictures need."""
    if not job.processes.first:
        return
    s, run = job.settings, job.run
    if s.keep == "best":
        _take_best(job, position)
    elif position.epoch < given(s.epochs):
        run.log(
            event="notice",
            text=f"ended after {position.epoch} of {s.epochs} epochs: the images held back gained nothing in "
            f"{s.patience} of them",
        )
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    run.log(event="finished", epoch=position.epoch, total_steps=position.total_steps, time=now)
    write_curve(run)
    if job.images.held_back is not None and not _is_calibrated_by_hand(job):
        calibrate_run(run, quiet=True)
    run.write_scale(colour_scale(job.model, job.images.learnt))  # last: a run with a scale is complete


def _is_calibrated_by_hand(job: Job) -> bool:
    """Whether this very model has thresholds already that a person took from other images: an end that is repeated."""
    try:
        found = read_calibration(job.run.path, model_checksum(job.model))
    except RunError:
        return False
    return found is not None and found.images != HELD_BACK


def _take_best(job: Job, position: Position) -> None:
    """End with the best weights, or with the last ones where the file of the best is damaged; say which they are."""
    run, epoch = job.run, position.best_epoch
    try:
        epoch = load_checkpoint(run.best_file, job.model).epoch
    except CheckpointError as error:
        if epoch != position.epoch and _kept(epoch, position) not in run.notices():
            tell(
                run,
                f"{error}, so the weights are those after the last epoch, {position.epoch}, and not those after epoch "
                f"{epoch}, where the loss on the images held back was smallest",
            )
            return  # otherwise the last checkpoint holds the best weights already
    else:
        run.require_there()
        save_checkpoint(run.checkpoints, job.model, None, position)
    run.log(event="notice", text=_kept(epoch, position))


def _kept(epoch: int, position: Position) -> str:
    return (
        f"the weights are those after epoch {epoch} of {position.epoch}, where the loss on the images held back was "
        f"smallest"
    )


def draw_what_there_is(job: Job) -> None:
    """Draw the losses of a run that was stopped, which people want to look at most."""
    if not job.processes.first:
        return
    with contextlib.suppress(InvadError, OSError):  # what stopped the run is what has to be said
        job.run.require_there()
        write_curve(job.run)
