"""The progress bar of a training: loss, learning rate, images per second, time left."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Progress:
    """A context that shows how far a training is.

    Args:
        total: steps of the whole run.
        done: steps that an earlier start has done.
        batch: images per step.
        quiet: show nothing.
    """

    def __init__(self, total: int, done: int, batch: int, *, quiet: bool) -> None:
        self._first, self._batch = done, batch
        self._started = time.monotonic()
        self.images_per_second = 0.0
        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  lr {task.fields[rate]}  {task.fields[speed]} images/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
        )
        self._bar = RichProgress(*columns, console=Console(stderr=True), disable=quiet, speed_estimate_period=120)
        self._task = self._bar.add_task("", total=total, completed=done, loss="-", rate="-", speed="-")

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, steps: int, loss: float, rate: float) -> None:
        """Show the state after so many steps."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        self.images_per_second = (steps - self._first) * self._batch / seconds
        speed = f"{self.images_per_second:.1f}"
        self._bar.update(self._task, completed=steps, loss=f"{loss:.4f}", rate=f"{rate:g}", speed=speed)
