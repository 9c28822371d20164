"""Another learning rate for the rest of a run, as after a loss that is no number.

It stands in the run's settings, so that a run that is resumed once more, or reproduced, takes it after the same step.
"""

from dataclasses import replace

from invad.checkpoint import Position
from invad.errors import RunError, command
from invad.runs import Run
from invad.settings import TrainSettings
from invad.training.schedule import base_rate, ended
from invad.training.setup import tell


def nothing_left(run: Run) -> RunError:
    """The error of a learning rate for a run that has no step left."""
    return RunError(f"all steps of {run.path} are done, so a learning rate changes nothing; leave it out")


def with_rate(run: Run, settings: TrainSettings, start: Position, rate: float) -> TrainSettings:
    """Return the settings of a run with another learning rate from a position on; the same ones if they have it.

    Raises:
        RunError: no step is left.
    """
    if ended(settings, start):
        raise nothing_left(run)
    planned = any(step > start.total_steps for step, _ in settings.later_rates)
    if base_rate(settings, start.total_steps) == rate and not planned:
        return settings
    return replace(settings, later_rates=(*settings.later_rates, (start.total_steps, float(rate))))


def require_rates_ahead(run: Run, settings: TrainSettings, start: Position) -> None:
    """Refuse learning rates that somebody wrote into the settings for steps that were done without them.

    Raises:
        RunError: there is one.
    """
    for step, _ in _unlogged(run, settings):
        if step < start.total_steps:
            raise RunError(
                f"{run.settings_file} has a learning rate for after step {step} that was not there when the steps up "
                f"to {start.total_steps} were done. Take it out, and go on by "
                f"`{command('train', '--resume', run.path, '--learning-rate', 'X')}`"
            )


def record_rates(run: Run, settings: TrainSettings) -> None:
    """Write down learning rates that are new: in the run's settings, then in its log.

    A kill in between leaves the log behind the settings, which `Run.require_same_settings` accepts; resuming once more
    logs what is missing.
    """
    if settings != run.settings():
        settings.save(run.settings_file)
    added = _unlogged(run, settings)
    for step, rate in added:
        tell(run, f"the learning rate was changed to {rate:g} after step {step}")
    if added:
        run.log(event="changed", settings=settings.deciding())


def _unlogged(run: Run, settings: TrainSettings) -> tuple[tuple[int, float], ...]:
    """The later learning rates that the log does not know yet."""
    return settings.later_rates[len(run.logged_settings().get("later_rates", ())) :]
