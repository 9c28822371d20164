"""How long a run is, and its learning rate on the way.

The schedule `step`, as published: the learning rate x 0.1 after 80 % of the epochs; a run ends where its patience does.

The schedule `cooldown` keeps the full rate and then goes down on a line to nothing. It may begin whenever patience is
exhausted, so that the images held back can end a run early without its weights being left unsettled (Hagele et al.,
arXiv:2405.18392).

Reference: arXiv:2404.10760, section 5.1.
"""

from invad.checkpoint import Position
from invad.settings import TrainSettings, given

DROP_AT = 0.8
"""The share of the epochs after which the learning rate drops."""
DROP_TO = 0.1
"""What the learning rate is then multiplied by."""
COOLDOWN = 0.3
"""The share of the epochs that a cooldown takes."""


def ended(s: TrainSettings, position: Position) -> bool:
    """Whether all epochs are done, or, with the schedule `step`, patience is exhausted."""
    return position.epoch >= last_epoch(s, position) or (s.schedule == "step" and exhausted(s, position))


def last_epoch(s: TrainSettings, position: Position) -> int:
    """The epochs after which the run ends, as far as is known at a position."""
    epochs = given(s.epochs)
    return epochs if s.schedule == "step" else cooling_since(s, position) + cooldown_epochs(epochs)


def cooling_since(s: TrainSettings, position: Position) -> int:
    """The epochs after which a cooldown begins: those of the whole run less its own, or when patience was exhausted."""
    epochs = given(s.epochs)
    return epochs - cooldown_epochs(epochs) if position.cooling_since is None else position.cooling_since


def learning_rate_at(s: TrainSettings, position: Position, steps: int) -> float:
    """The learning rate of the step after a position, in epochs of so many steps."""
    epochs, epoch = given(s.epochs), position.epoch + position.step / steps
    if s.schedule == "step":
        factor = step_schedule(epoch, epochs)
    else:
        factor = cooldown_schedule(epoch, epochs, cooling_since(s, position))
    return base_rate(s, position.total_steps) * factor * warmup_factor(position.total_steps, given(s.warmup))


def base_rate(s: TrainSettings, total_steps: int) -> float:
    """Return the learning rate after so many steps, before schedule and warm-up.

    Example:
        >>> settings = TrainSettings(learning_rate=0.004, later_rates=((100, 0.002), (200, 0.001)))
        >>> [base_rate(settings, step) for step in (99, 100, 300)]
        [0.004, 0.002, 0.001]
    """
    later = [rate for step, rate in s.later_rates if step <= total_steps]
    return later[-1] if later else given(s.learning_rate)


def exhausted(s: TrainSettings, position: Position) -> bool:
    """Whether the loss on the images held back did not get smaller for as many epochs as patience lasts."""
    return bool(s.patience) and position.step == 0 and position.epoch - position.best_epoch >= given(s.patience)


def cooldown_epochs(epochs: int) -> int:
    """Return how many of a run's epochs its cooldown takes, at least one.

    Example:
        >>> cooldown_epochs(20), cooldown_epochs(1)
        (6, 1)
    """
    return max(1, round(COOLDOWN * epochs))


def step_schedule(epoch: float, epochs: int) -> float:
    """Return the factor of the learning rate after so many epochs, counted from 0, of a run of `epochs`.

    Example:
        >>> [step_schedule(epoch, 10) for epoch in (0, 7.9, 8, 9)], step_schedule(0.9, 1)
        ([1.0, 1.0, 0.1, 0.1], 1.0)
    """
    return DROP_TO if epoch >= max(1, int(epochs * DROP_AT)) else 1.0


def cooldown_schedule(epoch: float, epochs: int, since: int) -> float:
    """Return the factor of the learning rate after so many epochs where the cooldown begins after `since` of them.

    Example:
        >>> [cooldown_schedule(epoch, 10, since=7) for epoch in (0, 7, 8.5, 10)]
        [1.0, 1.0, 0.5, 0.0]
    """
    return min(1.0, 1.0 - (epoch - since) / cooldown_epochs(epochs))


def warmup_factor(step: int, steps: int) -> float:
    """Return the factor of the learning rate of a step, counted from 0, in a warm-up of so many.

    Example:
        >>> [warmup_factor(step, 4) for step in (0, 2, 3, 100)]
        [0.25, 0.75, 1.0, 1.0]
    """
    return min(1.0, (step + 1) / steps) if steps else 1.0
