"""The training loop: settings and data in, a run folder out.

The order of the images in an epoch depends on the seed and the epoch's number alone, and nothing else is random after
the start; so a run that is stopped anywhere and resumed sees the same images in the same order.
"""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from invad.checkpoint import Position, list_checkpoints, load_newest, set_aside_newer
from invad.data.dataset import full_spec
from invad.devices import exact_arithmetic, fastest_precision
from invad.errors import ImageError, SettingsError
from invad.model import InvAD
from invad.processes import Processes, start_processes
from invad.runs import Run, load_untrained, reaching
from invad.settings import TrainSettings, given, require_rate
from invad.training.features import Features, open_features
from invad.training.gpu_steps import choose_compile, compile_errors, make_forward, steps_recorder
from invad.training.interrupt import Interrupt
from invad.training.job import Job, checkpoint_due, draw_what_there_is, finish, judge, report, save, watch
from invad.training.memory import memory_errors, release
from invad.training.optimisation import make_optimiser, set_rate
from invad.training.parallel import make_trainee
from invad.training.progress import Progress
from invad.training.rates import nothing_left, record_rates, require_rates_ahead, with_rate
from invad.training.schedule import ended, last_epoch, learning_rate_at
from invad.training.setup import (
    Images,
    build_untrained,
    feature_budget,
    make_run,
    open_data,
    open_images,
    renew_lists,
    require_same_images,
    tell,
    tell_resumed,
)
from invad.training.step import Step, possible_parts
from invad.training.stepper import Stepper
from invad.training.tracking import Trackers, require_trackers

LOG_STEPS = 10
"""Steps between two looks at the loss; looking waits for the accelerator."""


def train(settings: TrainSettings, out: Path | str, *, encoder_file: Path | None = None, quiet: bool = False) -> Run:
    """Train a model and return its run folder.

    Args:
        settings: what to train on and how; every None is replaced by what follows from model, recipe, data and encoder.
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
    settings = replace(settings, data=tuple(full_spec(spec) for spec in settings.data))
    data = open_data(settings)
    settings = settings.resolved(data.layouts, fastest=fastest_precision(processes.device))
    if given(settings.batch_size) < processes.count * settings.accumulate:
        raise SettingsError(
            f"a batch of {settings.batch_size} images is too small for {processes.count} processes and "
            f"{settings.accumulate} parts: each needs one image or more"
        )
    Run.require_free(Path(out))
    require_trackers(settings.track)
    images = open_images(data, settings, processes, quiet=quiet or not processes.first)
    _require_image_each(settings, images, processes)
    settings = settings.for_images(len(images.learnt), images.held_back_count)
    settings = choose_compile(settings, run_steps(settings, len(images.learnt)), processes)
    run, model = _begin(Path(out), settings, images, encoder_file, processes, quiet=quiet)
    with reaching(run.path):
        return _start(run, settings, model, images, processes, resumed=False, quiet=quiet)


def resume(path: Path | str, *, learning_rate: float | None = None, quiet: bool = False) -> Run:
    """Go on with a run that was stopped, from its newest whole checkpoint, to the end that its settings name.

    A run that is complete is returned as it is. Raises as `train` does, and RunError where the training images, or
    settings that decide what is computed, are no longer those that the run was started with, and where a learning rate
    is given for a run that has no steps left.

    Args:
        path: the run folder.
        learning_rate: takes the place of the run's own from here on, as after a loss that is no number; schedule and
            warm-up go on. It is added to the run's settings (`TrainSettings.later_rates`), so that the run keeps it
            when it is resumed once more, and is reproduced with it. None: the run's own.
        quiet: show no progress.
    """
    run = Run.open(path)
    with reaching(run.path):
        run.require_trained_here()
        if learning_rate is not None:
            require_rate("learning_rate", learning_rate)
        if run.complete:
            if learning_rate is not None:
                raise nothing_left(run)
            return run
        settings = run.settings()
        run.require_same_settings(settings)
        require_trackers(settings.track)
        processes = start_processes(settings.device)
        images = open_images(open_data(settings), settings, processes, quiet=quiet or not processes.first)
        require_same_images(run, images)
        _require_image_each(settings, images, processes)
        if processes.first:
            run.tidy()
            renew_lists(run, images)
        model = load_untrained(run)
        return _start(run, settings, model, images, processes, resumed=True, learning_rate=learning_rate, quiet=quiet)


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


def run_steps(settings: TrainSettings, count: int) -> int:
    """Return the steps of a whole run on so many images."""
    return given(settings.epochs) * len(epoch_batches(count, given(settings.batch_size), settings.seed, 0))


def _batch(settings: TrainSettings, images: Images) -> int:
    """The images of a step, of all processes together."""
    return min(given(settings.batch_size), len(images.learnt))


def _require_image_each(settings: TrainSettings, images: Images, processes: Processes) -> None:
    """Refuse more processes than a batch has images."""
    batch = _batch(settings, images)
    if batch < processes.count:
        raise SettingsError(
            f"a batch of {batch} images, of {len(images.learnt)} to learn from, is too small for {processes.count} "
            f"processes: each needs one image or more; start fewer processes"
        )


def _begin(
    out: Path, settings: TrainSettings, images: Images, encoder_file: Path | None, processes: Processes, *, quiet: bool
) -> tuple[Run, InvAD]:
    """The run folder and the model before its first step: the first process makes them, the others read them."""
    if processes.first:
        with memory_errors():
            model = build_untrained(settings, images.learnt, encoder_file, processes.device, quiet=quiet)
        make_run(out, settings, model, images, processes, quiet=quiet)
    processes.from_first(True)  # the folder is there
    run = Run.open(out)
    return run, model if processes.first else load_untrained(run)


def _start(
    run: Run,
    settings: TrainSettings,
    model: InvAD,
    images: Images,
    processes: Processes,
    *,
    resumed: bool,
    learning_rate: float | None = None,
    quiet: bool,
) -> Run:
    """Train from the newest checkpoint, or from the first step."""
    model = model.to(processes.device)
    trainee = make_trainee(model, processes)
    optimiser = make_optimiser(model.trained_parameters(), given(settings.learning_rate))
    start = Position(epoch=0, step=0, total_steps=0)
    if list_checkpoints(run.checkpoints):
        start = load_newest(run.checkpoints, model, optimiser)
    if learning_rate is not None:
        settings = with_rate(run, settings, start, learning_rate)
    if resumed:
        require_rates_ahead(run, settings, start)
    processes.wait()  # until all have read it
    if processes.first and resumed:
        set_aside_newer(run.checkpoints, start)
        tell_resumed(run, start, processes)
        record_rates(run, settings)
    quiet = quiet or not processes.first
    with exact_arithmetic(), memory_errors():
        learnt, held_back, said = _open_features(settings, model, images, processes, quiet=quiet)
        trackers = Trackers(settings.track if processes.first else (), run, settings, start.total_steps)
        if processes.first:
            run.log(event="features", text=said)
        notify = partial(tell, run)
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
            stepper=Stepper(
                settings=settings,
                trainee=trainee,
                optimiser=optimiser,
                parts=max(start.parts, possible_parts(settings.accumulate, _batch(settings, images), processes.count)),
                together=processes.several,
                forward=make_forward(settings, processes, notify),
                recorded=steps_recorder(settings, processes),
                notify=notify,
            ),
            saved_at=time.monotonic(),
        )
        try:
            with compile_errors() if settings.compile else nullcontext():
                end = _run(job, start, quiet=quiet)
            job.stepper.recorded = None  # and with it the memory of a step, which the end has use for
            release()
            finish(job, end)
        except BaseException:
            draw_what_there_is(job)
            raise
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
            processes=processes,
            quiet=quiet,
        )
        for source, hashes in parts
    ]
    (learnt, said), rest = found[0], found[1:]
    return learnt, rest[0][0] if rest else None, said


def _run(job: Job, start: Position, *, quiet: bool) -> Position:
    """All epochs from a position on, with checkpoints, log and progress; returns where the training ended."""
    s, epochs, first = job.settings, given(job.settings.epochs), job.processes.first
    steps = len(epoch_batches(len(job.images.learnt), given(s.batch_size), s.seed, 0))
    position, batch = start, _batch(s, job.images)
    window = steps * max(1, s.eval_every)
    with Interrupt() as interrupt, Progress(steps * epochs, start.total_steps, batch, window, quiet=quiet) as progress:
        while not ended(s, position):
            epoch = position.epoch
            last: Step | None = None
            try:
                for step, rate, last in _epoch(job, position, steps):
                    position = replace(
                        position, step=step + 1, total_steps=epoch * steps + step + 1, parts=job.stepper.parts
                    )
                    if position.total_steps == start.total_steps + 1:
                        last[0].item()  # waits for the accelerator
                        progress.warm(position.total_steps)
                    if position.total_steps % LOG_STEPS == 0 or step + 1 == steps:
                        report(job, position, last, rate, progress)
                    stop = job.processes.any(interrupt.asked)
                    if stop or (first and step + 1 < steps and checkpoint_due(job)):
                        save(job, position, last)
                    if stop:
                        raise KeyboardInterrupt
                position = judge(job, replace(position, epoch=epoch + 1, step=0))
                progress.shorten(steps * last_epoch(s, position))
            except ImageError:
                save(job, position, last)
                job.processes.wait()  # for the first to have saved: a launcher ends all as soon as one has ended
                raise
            if ended(s, position) or checkpoint_due(job):
                save(job, position, last)
            if s.eval_every and (epoch + 1) % s.eval_every == 0:
                watch(job, epoch + 1, position.total_steps)
    return position


def _epoch(job: Job, start: Position, steps: int) -> Iterator[tuple[int, float, Step]]:
    """The steps that are left of an epoch, each with its learning rate, its loss and its gradients' norm."""
    s, processes, epoch = job.settings, job.processes, start.epoch
    job.model.train()
    batches = epoch_batches(len(job.images.learnt), given(s.batch_size), s.seed, epoch)[start.step :]
    shares = [processes.share(batch) for batch in batches]
    ready = iter(job.learnt.batches(shares))
    for step, batch in enumerate(batches, start=start.step):
        rate = learning_rate_at(s, replace(start, step=step, total_steps=epoch * steps + step), steps)
        set_rate(job.optimiser, rate)
        with processes.failing_together():  # not in the step, where processes wait for each other
            features = next(ready)
        yield step, rate, _step(job, features, len(batch))


def _step(job: Job, features: list[Tensor], images: int) -> Step:
    """One step on this process's share of a batch; several processes average what each adds to the loss."""
    weight = given(job.settings.loss_weight) * len(features[0]) * job.processes.count / images
    return job.stepper(features, weight)
