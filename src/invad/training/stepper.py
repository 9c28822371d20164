"""The steps of one run: recorded where that can be done, and in parts where memory is short."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from invad.settings import TrainSettings, given
from invad.training.gpu_steps import RecordedSteps
from invad.training.step import Forward, Step, fit_into_memory, forward_loss, train_step


@dataclass(kw_only=True, slots=True)
class Stepper:
    """Takes the steps of one run, and remembers how they fit into memory."""

    settings: TrainSettings
    trainee: nn.Module
    optimiser: torch.optim.Optimizer
    parts: int
    """That a batch is computed in; memory that runs out makes them more."""
    together: bool
    """Processes wait for each other in a step, so that none of them can try again in more parts."""
    forward: Forward
    """Features -> loss, where a batch is computed at once."""
    recorded: RecordedSteps | None
    """Records such steps; None: they are taken as they are."""
    notify: Callable[[str], None]
    """Is told when the parts become more."""

    def __call__(self, features: Sequence[Tensor], loss_weight: float) -> Step:
        """Take a step on the features of a batch; return its loss and its gradients' norm.

        Args:
            features: fine to coarse, (B, C_i, h_i, w_i).
            loss_weight: the factor of the loss.

        Raises:
            RunError: memory does not hold a single image's step.
        """
        take = partial(self._take, features, loss_weight)
        if self.recorded is not None and self.recorded.ready(features):
            return take(1)
        if self.together:
            return take(self.parts)
        step, self.parts = fit_into_memory(
            take, self.trainee, self.optimiser, self.parts, len(features[0]), self.notify
        )
        return step

    def _take(self, features: Sequence[Tensor], loss_weight: float, parts: int) -> Step:
        """A step in so many parts; one that is not cut is recorded, or taken by its recording."""
        if parts > 1 or self.recorded is None:
            return self._compute(features, loss_weight, parts)
        return self.recorded(partial(self._compute, loss_weight=loss_weight, parts=1), features)

    def _compute(self, features: Sequence[Tensor], loss_weight: float, parts: int) -> Step:
        s = self.settings
        return train_step(
            self.trainee,
            self.optimiser,
            features,
            loss_weight=loss_weight,
            clip=s.gradient_clip,
            precision=s.arithmetic,
            loss=given(s.loss),
            parts=parts,
            forward=self.forward if parts == 1 else forward_loss,
        )
