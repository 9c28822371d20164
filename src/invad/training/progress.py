"""The progress bar of a training: loss, learning rate, images per second, time left."""

import math
import time
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
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
        self._total, self._first, self._batch = total, done, batch
        self._started = time.monotonic()
        self.images_per_second = 0.0
        self.seconds_left = math.nan
        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  lr {task.fields[rate]}  {task.fields[speed]} images/s"),
            TimeElapsedColumn(),
            TextColumn("left {task.fields[left]}"),
        )
        self._bar = RichProgress(*columns, console=Console(stderr=True), disable=quiet)
        self._task = self._bar.add_task("", total=total, completed=done, loss="-", rate="-", speed="-", left="-")

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def shorten(self, total: int) -> None:
        """Set the steps of the whole run anew, which may end early."""
        self._total = total
        self._bar.update(self._task, total=total)

    def update(self, steps: int, loss: float, rate: float) -> None:
        """Show the state after so many steps."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        self.images_per_second = (steps - self._first) * self._batch / seconds
        self.seconds_left = seconds * (self._total - steps) / (steps - self._first)
        speed, left = f"{self.images_per_second:.1f}", timedelta(seconds=round(self.seconds_left))
        self._bar.update(self._task, completed=steps, loss=f"{loss:.4f}", rate=f"{rate:g}", speed=speed, left=left)
