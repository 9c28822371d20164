"""One step of the optimiser."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from invad.errors import RunError
from invad.model import inversion_loss
from invad.model.invad import Loss
from invad.settings import Precision
from invad.training.memory import release
from invad.training.optimisation import clip_gradients

Step = tuple[Tensor, Tensor]
"""The loss and the gradients' norm before clipping, each a scalar on the device."""


class Forward(Protocol):
    """Features -> the loss of what a trainee makes of them."""

    def __call__(
        self, trainee: nn.Module, features: Sequence[Tensor], weight: float, loss: Loss, precision: Precision
    ) -> Tensor:
        """Return the loss, a scalar; arguments as `train_step`."""
        ...


def forward_loss(
    trainee: nn.Module, features: Sequence[Tensor], weight: float, loss: Loss, precision: Precision
) -> Tensor:
    """Return the loss of what the trainee makes of features, a scalar, times the weight; arguments as `train_step`."""
    with torch.autocast(features[0].device.type, torch.bfloat16, enabled=precision == "bf16"):
        predictions = trainee(features)
    return inversion_loss(features, predictions, weight, loss)


def train_step(
    trainee: nn.Module,
    optimiser: torch.optim.Optimizer,
    features: Sequence[Tensor],
    *,
    loss_weight: float,
    clip: float,
    precision: Precision,
    loss: Loss = "squared",
    parts: int = 1,
    forward: Forward = forward_loss,
) -> Step:
    """Take one step; return its loss and the norm of its gradients.

    Args:
        trainee: features -> predictions (see `invad.training.parallel`).
        optimiser: over the trainee's parameters.
        features: fine to coarse, (B, C_i, h_i, w_i).
        loss_weight: the factor of the loss.
        clip: the largest global norm of the gradients.
        precision: of the trainee's arithmetic.
        loss: how predictions are compared with features.
        parts: that the batch is computed in, one after the other, at most one for each image; each has batch
            statistics of its own.
        forward: `forward_loss`, or what computes the same faster.
    """
    optimiser.zero_grad(set_to_none=True)
    pieces = list(zip(*(level.tensor_split(parts) for level in features), strict=True))
    losses = []
    for number, piece in enumerate(pieces, start=1):
        share = len(piece[0]) / len(features[0])
        with _gradients_stay_here(trainee) if number < len(pieces) else nullcontext():
            value = forward(trainee, piece, loss_weight * share, loss, precision)
            value.backward()  # type: ignore[no-untyped-call]
        losses.append(value.detach())
    norm = clip_gradients(trainee.parameters(), clip)
    optimiser.step()
    return torch.stack(losses).sum(), norm.detach()


def possible_parts(wanted: int, images: int, processes: int = 1) -> int:
    """Return how many parts a batch is computed in: those wanted, or fewer, so that each has an image in each process.

    Example:
        >>> possible_parts(4, images=16), possible_parts(4, images=3)
        (4, 3)
    """
    return min(wanted, images // processes)


def fit_into_memory(
    step: Callable[[int], Step],
    modules: nn.Module,
    optimiser: torch.optim.Optimizer,
    parts: int,
    batch: int,
    notify: Callable[[str], None],
) -> tuple[Step, int]:
    """Take a step, in twice as many parts each time that memory runs out; return it and the parts it took.

    Batch and learning rate stay as they are. The batch norms' running statistics are put back before a new try, and
    what the optimiser had begun to allocate is taken away.

    Args:
        step: takes a step in so many parts.
        modules: what the step changes.
        optimiser: that it steps with.
        parts: to begin with.
        batch: images of a step, and so the most parts.
        notify: is told of every change.

    Raises:
        RunError: memory does not hold a single image's step.
    """
    while True:
        before, known = [buffer.clone() for buffer in modules.buffers()], set(optimiser.state)
        try:
            return step(parts), parts
        except torch.OutOfMemoryError as error:
            if parts >= batch:
                raise RunError(
                    "memory does not hold the training of a single image; choose a smaller --image-size or --model"
                ) from error
            parts = min(2 * parts, batch)
        for buffer, value in zip(modules.buffers(), before, strict=True):
            buffer.copy_(value)
        for parameter in set(optimiser.state) - known:
            del optimiser.state[parameter]
        release()
        notify(
            f"memory ran out: each batch of {batch} images is now computed in {parts} parts with batch statistics of "
            f"their own; batch and learning rate stay as they were"
        )


def _gradients_stay_here(trainee: nn.Module) -> AbstractContextManager[None]:
    """A context in which processes do not exchange gradients: more parts of the batch follow."""
    no_sync = getattr(trainee, "no_sync", None)  # DistributedDataParallel's
    return nullcontext() if no_sync is None else no_sync()
