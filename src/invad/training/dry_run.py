"""What a training will take on this machine, from two of its steps."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import psutil
import torch
from torch import Tensor, nn

from invad.checkpoint import trained_state
from invad.devices import exact_arithmetic, fastest_precision, to_device
from invad.model import InvAD
from invad.processes import Processes, start_processes
from invad.runs import build_from
from invad.settings import TrainSettings, given
from invad.training.features import DTYPES, GIB, Kept, feature_bytes, feature_shapes, place_features
from invad.training.loop import epoch_batches
from invad.training.optimisation import make_optimiser
from invad.training.parallel import make_trainee
from invad.training.setup import FITTED, feature_budget, fit_indices, open_data, open_images
from invad.training.step import possible_parts, train_step

SAMPLE = 16
"""Images that reading and encoding are timed on, at most."""
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
    memory: int
    """Of the process at its peak, or of the accelerator where there is one."""
    disk: int
    """The run folder."""


def dry_run(settings: TrainSettings) -> Forecast:
    """Read the data, build the model, take two steps, and say what the whole run will take; nothing is written.

    Raises: as `train`, but for what concerns the run folder.
    """
    processes = start_processes(settings.device)
    data, device = open_data(settings), processes.device
    settings = settings.resolved(data.layouts, fastest=fastest_precision(device))
    images = open_images(data, replace(settings, cache="none"), processes, quiet=True)
    source, held = images.learnt, images.held_back_count
    settings = settings.for_images(len(source), held)
    epochs, batch_size = given(settings.epochs), given(settings.batch_size)
    model = build_from(settings, weights=settings.weights).to(device)  # what is fitted to images makes no step longer
    first_batch, *_ = batches = epoch_batches(len(source), batch_size, settings.seed, 0)
    few, everything = first_batch[:SAMPLE], len(source) + held
    with exact_arithmetic():
        reading = _seconds(lambda: source.images(few), device) / len(few) * everything
        pixels = to_device(source.images(few), device)
        model.encode(pixels)
        encoding = _seconds(lambda: model.encode(pixels), device) / len(few) * everything
        step = _time_step(model, settings, model.encode(to_device(source.images(first_batch), device)))
    size = feature_bytes(feature_shapes(model, source, device), settings.arithmetic) * everything
    kept = place_features(size, feature_budget(settings, 1.0))
    again = 0.0 if kept != "nowhere" else encoding + (reading if settings.cache == "none" else 0.0)
    epoch = len(batches) * step + step * FORWARD_SHARE * held / len(first_batch) + again
    fitting = encoding * len(fit_indices(len(source))) / everything if isinstance(model.encoder, FITTED) else 0.0
    once = reading + fitting + (0.0 if kept == "nowhere" else encoding)
    return Forecast(
        images=len(source),
        held_back=held,
        classes=len({record.class_name for record in source.records}),
        epochs=epochs,
        steps=len(batches),
        precision=settings.arithmetic,
        features=size,
        kept=kept,
        once=once,
        step=step,
        epoch=epoch,
        total=once + epochs * epoch,
        memory=_memory(device) + {"memory": size, "disk": 0, "nowhere": _decoded(settings, everything)}[kept],
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
        ("memory", f"about {f.memory / GIB:.1f} GiB"),
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


def _time_step(model: InvAD, settings: TrainSettings, features: list[Tensor]) -> float:
    """Seconds of the second of two steps."""
    alone = Processes(device=features[0].device)
    trainee, optimiser = (
        make_trainee(model, alone),
        make_optimiser(model.trained_parameters(), given(settings.learning_rate)),
    )
    levels = [level.to(DTYPES[settings.arithmetic]) for level in features]
    step = partial(
        train_step,
        trainee.train(),
        optimiser,
        levels,
        loss_weight=given(settings.loss_weight),
        loss=given(settings.loss),
        clip=settings.gradient_clip,
        precision=settings.arithmetic,
        parts=possible_parts(settings.accumulate, len(levels[0])),
    )
    return [_seconds(step, alone.device) for _ in range(2)][1]


def _memory(device: torch.device) -> int:
    """Bytes that two steps took at their peak on an accelerator, or that this process holds after them."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    held: int = psutil.Process().memory_info().rss
    return held


def _decoded(settings: TrainSettings, images: int) -> int:
    """Bytes of the decoded images that are kept in the host's memory."""
    height, width = settings.size
    return min(images * height * width * 3, int(settings.cache_memory * GIB)) if settings.cache == "memory" else 0


def _folder_bytes(model: InvAD) -> int:
    """Bytes of a run folder: the encoder, and two checkpoints of the weights with Adam's two moments."""
    encoder: nn.Module = model.encoder  # type: ignore[assignment]
    frozen: int = sum(value.nbytes for value in encoder.state_dict().values())
    return frozen + 2 * 3 * sum(value.nbytes for value in trained_state(model).values())


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
