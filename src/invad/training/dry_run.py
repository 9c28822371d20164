"""What a training will take on this machine, from a few of its steps."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event, Thread
from typing import TypeVar

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from invad.checkpoint import trained_state
from invad.data import ImageSource, read_ahead
from invad.data import batches as read
from invad.devices import exact_arithmetic, fastest_precision
from invad.model import InvAD
from invad.processes import Processes, start_processes
from invad.runs import build_from
from invad.settings import TrainSettings, given
from invad.training.features import BLOCK, DTYPES, GIB, Kept, feature_bytes, feature_shapes, place_among
from invad.training.gpu_steps import WARM_UP, choose_compile, make_forward, steps_recorder
from invad.training.loop import epoch_batches, run_steps
from invad.training.memory import InPieces, encode, memory_errors
from invad.training.optimisation import make_optimiser
from invad.training.parallel import make_trainee
from invad.training.setup import FITTED, feature_budget, fit_indices, open_data, open_images
from invad.training.step import possible_parts
from invad.training.stepper import Stepper

Made = TypeVar("Made")

SAMPLE = 16
"""Images that reading and encoding are timed on, at most."""
LOOK = 0.005
"""Seconds between two looks at the memory."""
LIBRARIES = 80 * 2**20
"""Bytes of Matplotlib and SciPy, which a run loads at its end."""
FORWARD_SHARE = 0.35
"""What the loss of images held back costs beside a step on as many: there is no way back and no optimiser."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What a whole run will take, in seconds and bytes."""

    images: int
    held_back: int
    classes: int
    epochs: int
    steps: int
    """Of one epoch."""
    precision: str
    features: int
    """Bytes of all features."""
    kept: Kept
    """Where they are."""
    once: float
    """Decoding all images, fitting the encoder's statistics, and computing all features where they are kept."""
    step: float
    """One step, without reading and encoding."""
    epoch: float
    """One epoch after the first."""
    total: float
    parts: int
    """That a batch is computed in: more than asked for where memory ran out."""
    memory: int
    """Bytes of the process at its peak."""
    accelerator: int
    """Bytes of the accelerator's memory at its peak; 0 where there is none."""
    disk: int
    """The run folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """What a run holds in the host's memory beside what encoding a block and a few steps show, in bytes.

    Example:
        >>> run = Beside(
        ...     kept="memory", features=9, pixels=3, images=50, fitted=0, batch=8, room=90, on_host=True, checkpoint=100
        ... )
        >>> run.in_steps()
        650
    """

    kept: Kept
    features: int
    """Of one image."""
    pixels: int
    """Of one decoded image."""
    images: int
    fitted: int
    """Images that the encoder's statistics are taken of."""
    batch: int
    room: int
    """For decoded images that are kept."""
    on_host: bool
    """Features that are kept in memory are in the host's."""
    checkpoint: int
    """Of the file of a checkpoint."""

    def decoded(self, images: int) -> int:
        """So many decoded images, as far as they are kept."""
        return min(images, self.room // self.pixels) * self.pixels

    def before_steps(self) -> int:
        """At the end of reading and encoding: decoded images, those read ahead, and features."""
        kept = self.fitted if self.kept == "disk" else self.images  # which are forgotten before files are made
        return self.decoded(kept) + read_ahead() * BLOCK * self.pixels + self._features()

    def in_steps(self) -> int:
        """Between two steps: features or what they are made of, batches read ahead, and a checkpoint and its copy."""
        writing = 2 * self.checkpoint
        if self.kept == "memory":
            return writing + self._features()
        if self.kept == "disk":
            return writing + read_ahead() * self.batch * self.features
        return writing + self.decoded(self.images) + read_ahead() * self.batch * self.pixels

    def _features(self) -> int:
        return self.images * self.features if self.kept == "memory" and self.on_host else 0


def dry_run(settings: TrainSettings) -> Forecast:
    """Read the data, build the model, take a few steps, and say what the whole run will take; nothing is written.

    Raises: as `train`, but for what concerns the run folder.
    """
    processes = start_processes(settings.device)
    data, device = open_data(settings), processes.device
    settings = settings.resolved(data.layouts, fastest=fastest_precision(device))
    images = open_images(data, replace(settings, cache="none"), processes, quiet=True)
    source, held = images.learnt, images.held_back_count
    settings = settings.for_images(len(source), held)
    settings = choose_compile(settings, run_steps(settings, len(source)), processes)
    epochs, batch_size = given(settings.epochs), given(settings.batch_size)
    model = build_from(settings, weights=settings.weights).to(device)  # what is fitted to images makes no step longer
    first_batch, *_ = batches = epoch_batches(len(source), batch_size, settings.seed, 0)
    few, everything = first_batch[:SAMPLE], len(source) + held
    with exact_arithmetic(), memory_errors():
        (reading, encoding, features), most_encoding = _with_peak(
            lambda: _prepare(model, source, few, first_batch, device)
        )
        (first_steps, step, parts), most_stepping = _with_peak(lambda: _time_step(model, settings, features, processes))
    one = feature_bytes(feature_shapes(model, source, device), settings.arithmetic)
    kept, place = place_among(one * everything, feature_budget(settings, 1.0), processes)
    fitted = len(fit_indices(len(source))) if isinstance(model.encoder, FITTED) else 0
    beside = Beside(
        kept=kept,
        features=one,
        pixels=settings.size[0] * settings.size[1] * 3,
        images=everything,
        fitted=fitted,
        batch=len(first_batch),
        room=int(settings.cache_memory * GIB / processes.on_host) if settings.cache == "memory" else 0,
        on_host=place.type != "cuda",
        checkpoint=_checkpoint_bytes(model),
    )
    cached = 1.0 if settings.cache == "disk" else beside.decoded(everything) / (everything * beside.pixels)
    reading, encoding = reading * everything, encoding * everything
    again = encoding + reading * (1 - cached) if kept == "nowhere" else 0.0
    epoch = len(batches) * step + step * FORWARD_SHARE * held / len(first_batch) + again
    once = reading * cached if kept == "nowhere" else reading + encoding
    once += (encoding + reading * (1 - cached)) * fitted / everything + first_steps
    return Forecast(
        images=len(source),
        held_back=held,
        classes=len({record.class_name for record in source.records}),
        epochs=epochs,
        steps=len(batches),
        precision=settings.arithmetic,
        features=one * everything,
        kept=kept,
        once=once,
        step=step,
        epoch=epoch,
        total=once + epochs * epoch,
        parts=parts,
        memory=max(most_encoding + beside.before_steps(), most_stepping + beside.in_steps()) + LIBRARIES,
        accelerator=_accelerator_bytes(device, one * everything if kept == "memory" and not beside.on_host else 0),
        disk=_folder_bytes(model),
    )


def describe(forecast: Forecast) -> str:
    """Return a forecast as a few lines for people."""
    f = forecast
    where = {"memory": "kept in memory", "disk": "kept on disk", "nowhere": "computed in every step"}[f.kept]
    rows = [
        ("data", f"{f.images} images of {f.classes} classes to learn from, {f.held_back} held back"),
        ("features", f"{f.features / GIB:.2f} GiB in {f.precision}, {where}"),
        (
            "time",
            f"about {_span(f.total)}: {_span(f.once)} to read and encode, then {f.epochs} epochs of "
            f"{_span(f.epoch)} ({f.steps} steps of {f.step:.2f} s)",
        ),
        ("memory", f"about {f.memory / GIB:.1f} GiB{_on_accelerator(f)}{_in_parts(f)}"),
        ("disk", f"about {f.disk / GIB:.2f} GiB for the run folder"),
    ]
    return "\n".join(f"  {name:<10}{text}" for name, text in rows)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long a piece of work takes, the accelerator's part of it included."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _on_accelerator(forecast: Forecast) -> str:
    return f", and {forecast.accelerator / GIB:.1f} GiB of the accelerator's" if forecast.accelerator else ""


def _in_parts(forecast: Forecast) -> str:
    return f"; each batch is computed in {forecast.parts} parts" if forecast.parts > 1 else ""


def _prepare(
    model: InvAD, source: ImageSource, few: NDArray[np.int64], batch: NDArray[np.int64], device: torch.device
) -> tuple[float, float, list[Tensor]]:
    """Seconds of reading one image, by threads as a run does, and of encoding one; and the features of a batch."""
    reading = _seconds(lambda: deque(read(source, np.array_split(few, len(few))), maxlen=0), device)
    pixels, pieces = source.images(few), InPieces()
    encode(model, pixels, device, pieces)
    encoding = _seconds(lambda: encode(model, pixels, device, pieces), device)
    return reading / len(few), encoding / len(few), encode(model, source.images(batch), device, pieces)


def _with_peak(work: Callable[[], Made]) -> tuple[Made, int]:
    """What a piece of work returns, and the most bytes that this process held meanwhile, looked at now and then."""
    process, ended = psutil.Process(), Event()
    seen: list[int] = [process.memory_info().rss]

    def look() -> None:
        while not ended.wait(LOOK):
            seen.append(process.memory_info().rss)

    looking = Thread(target=look, daemon=True)
    looking.start()
    try:
        made = work()
    finally:
        ended.set()
        looking.join()
    return made, max(*seen, process.memory_info().rss)


def _time_step(
    model: InvAD, settings: TrainSettings, features: list[Tensor], processes: Processes
) -> tuple[float, float, int]:
    """Seconds by which the first steps, that compile and record, exceed later ones; of a later one; and its parts."""
    alone, here = Processes(device=features[0].device), len(features[0])
    trainee = make_trainee(model, alone)
    optimiser = make_optimiser(model.trained_parameters(), given(settings.learning_rate))
    stepper = Stepper(
        settings=settings,
        trainee=trainee,
        optimiser=optimiser,
        parts=possible_parts(settings.accumulate, here),
        together=False,
        forward=make_forward(settings, processes, lambda text: None),
        recorded=steps_recorder(settings, processes),
        notify=lambda text: None,
    )
    levels = [level.to(DTYPES[settings.arithmetic]) for level in features]
    trainee.train()
    seconds = []
    for _ in range(2 if stepper.recorded is None else WARM_UP + 2):
        started = time.perf_counter()
        loss, _ = stepper(levels, given(settings.loss_weight))
        loss.item()  # waits for the accelerator
        seconds.append(time.perf_counter() - started)
    first = 0.0 if stepper.recorded is None else sum(seconds[:-1]) - (len(seconds) - 1) * seconds[-1]
    return max(0.0, first), seconds[-1], stepper.parts


def _accelerator_bytes(device: torch.device, features: int) -> int:
    """Bytes that the steps took at their peak, and the features beside them."""
    return torch.cuda.max_memory_reserved(device) + features if device.type == "cuda" else 0


def _folder_bytes(model: InvAD) -> int:
    """Bytes of a run folder: the encoder, and two checkpoints."""
    encoder: nn.Module = model.encoder  # type: ignore[assignment]
    frozen: int = sum(value.nbytes for value in encoder.state_dict().values())
    return frozen + 2 * _checkpoint_bytes(model)


def _checkpoint_bytes(model: InvAD) -> int:
    """Bytes of a checkpoint: the weights, and Adam's two moments of each."""
    return 3 * sum(value.nbytes for value in trained_state(model).values())


def _span(seconds: float) -> str:
    """A span of time as people say it.

    Example:
        >>> _span(0.4), _span(75), _span(7300)
        ('0.4 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
