"""Training steps on an NVIDIA GPU that do not wait for Python: their kernels recorded, and fewer of them.

A step starts a thousand kernels or more, each in the time that a GPU would compute several. Recorded as one graph, they
start at once; that is done for every run on one GPU. `torch.compile` makes one kernel of many that do little: it takes
most of a minute, which a long run has back.

Reference: decision 019, which has the measurements.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from invad.cuda_recording import beside_others, recorded_as
from invad.errors import RunError, SettingsError
from invad.model.invad import Loss
from invad.processes import Processes
from invad.settings import Precision, TrainSettings
from invad.training.step import Forward, Step, forward_loss

WARM_UP = 3
"""Steps that are taken before one is recorded, in which libraries choose kernels and Adam allocates its moments."""
COMPILE_STEPS = 5000
"""The length of a run, in steps, from which compiling is taken to pay."""

Take = Callable[[Sequence[Tensor]], Step]
"""A step on features, by kernels that depend on their shapes alone."""


class RecordedSteps:
    """Takes steps, the first ones as they are, and then as the graph that one of them was recorded as.

    All of them change the same parameters, statistics and moments, and give the same bits as if none were recorded. A
    step that cannot be recorded, for want of memory or since something in it waits for the GPU, is taken as it is; a
    warning says so, once.
    """

    def __init__(self) -> None:
        self._taken = 0
        self._recordable = True
        self._recorded: _Recorded | None = None

    def ready(self, features: Sequence[Tensor]) -> bool:
        """Whether a step on features of these shapes has been recorded, so that memory cannot run out any more."""
        return self._recorded is not None and self._recorded.fits(features)

    def __call__(self, take: Take, features: Sequence[Tensor]) -> Step:
        """Take a step on features; the loss and the gradients' norm are the caller's own."""
        if self._taken < WARM_UP:
            with beside_others(features[0].device):
                step = take(features)
            self._taken += 1
            return step
        if self._recorded is None and self._recordable:
            self._record(take, features)
        if not self.ready(features):
            return take(features)
        assert self._recorded is not None
        return self._recorded.replay(features)

    def _record(self, take: Take, features: Sequence[Tensor]) -> None:
        """Record a step, without taking it, if it can be recorded."""
        features = [level.clone() for level in features]
        graph = torch.cuda.CUDAGraph()
        try:
            with recorded_as(graph, features[0].device):
                step = take(features)
        except RuntimeError as error:
            self._recordable = False
            reason = str(error).partition("\n")[0]
            warnings.warn(
                f"a training step's kernels cannot be recorded ({reason}), so they are started one by one: results are "
                f"the same, steps take longer",
                stacklevel=2,
            )
            return
        self._recorded = _Recorded(graph=graph, features=features, step=step)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Recorded:
    """A graph, and the tensors that it reads and writes whenever it is replayed."""

    graph: torch.cuda.CUDAGraph
    features: Sequence[Tensor]
    step: Step

    def fits(self, features: Sequence[Tensor]) -> bool:
        """Whether it is one of features of these shapes."""
        return [level.shape for level in features] == [level.shape for level in self.features]

    def replay(self, features: Sequence[Tensor]) -> Step:
        """Take the step on other features."""
        for mine, given in zip(self.features, features, strict=True):
            mine.copy_(given)
        self.graph.replay()
        loss, norm = self.step
        return loss.clone(), norm.clone()


def steps_recorder(settings: TrainSettings, processes: Processes) -> RecordedSteps | None:
    """Return what records the steps of a run; None where they are not recorded: on CPUs, in parts, among processes."""
    return RecordedSteps() if whole_steps_on_one_gpu(settings, processes) else None


def whole_steps_on_one_gpu(settings: TrainSettings, processes: Processes) -> bool:
    """Return whether batches are computed at once on one NVIDIA GPU: what can be recorded and compiled."""
    return processes.device.type == "cuda" and not processes.several and settings.accumulate == 1


def choose_compile(settings: TrainSettings, steps: int, processes: Processes) -> TrainSettings:
    """Return settings that say whether the steps are compiled.

    Raises:
        SettingsError: it is asked for where it is not done.
    """
    possible = whole_steps_on_one_gpu(settings, processes)
    if settings.compile and not possible:
        raise SettingsError(
            f"compile is for one process on an NVIDIA GPU that computes batches at once; here the device is "
            f"{processes.device.type}, processes {processes.count}, accumulate {settings.accumulate}; leave it out"
        )
    wanted = possible and steps >= COMPILE_STEPS if settings.compile is None else settings.compile
    return replace(settings, compile=wanted)


def make_forward(settings: TrainSettings, processes: Processes, notify: Callable[[str], None]) -> Forward:
    """Return what computes the loss, compiled where the settings say so and this is one GPU.

    Args:
        settings: of the run, with their choice of compiling.
        processes: which this is.
        notify: is told where compiling fails before a step is taken, after which the run goes on without.
    """
    if not settings.compile or not whole_steps_on_one_gpu(settings, processes):
        return forward_loss
    return _compiled(notify)


def _compiled(notify: Callable[[str], None]) -> Forward:
    """`forward_loss`, compiled at its first call; as it is where that fails, for want of a C compiler say."""
    from torch._dynamo.exc import TorchDynamoException

    compute: Forward = torch.compile(forward_loss, dynamic=False)

    def forward(
        trainee: nn.Module, features: Sequence[Tensor], weight: float, loss: Loss, precision: Precision
    ) -> Tensor:
        nonlocal compute
        try:
            return compute(trainee, features, weight, loss, precision)
        except TorchDynamoException as error:
            compute = forward_loss
            notify(f"the steps could not be compiled ({str(error).strip().splitlines()[0]}); the run goes on without")
        return compute(trainee, features, weight, loss, precision)

    return forward


@contextmanager
def compile_errors() -> Iterator[None]:
    """A context that says what to do where compiling fails on the way back through a step."""
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        raise RunError(
            f"the steps could not be compiled ({str(error).strip().splitlines()[0]}). Start a new run with "
            f"--compile False"
        ) from error
