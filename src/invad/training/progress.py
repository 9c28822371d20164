"""The progress bar of a training: loss, learning rate, images per second, time left."""

import math
import time
from collections import deque
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress


class Progress:
    """A context that shows how far a training is.

    The time left goes by the latest steps alone: a machine may be busier than it was, or less.

    Args:
        total: steps of the whole run.
        done: steps that an earlier start has done.
        batch: images per step.
        window: the latest steps that the time left goes by; those of whole epochs, so that what comes between two
            epochs counts as often as it comes.
        quiet: show nothing.
    """

    def __init__(self, total: int, done: int, batch: int, window: int, *, quiet: bool) -> None:
        self._total, self._first, self._batch, self._window = total, done, batch, window
        self._started = time.monotonic()
        self._marks = deque([(done, self._started)])
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

    def warm(self, steps: int) -> None:
        """Note when the first step of a start is done: it allocates and waits for images as no other does."""
        self._marks.append((steps, time.monotonic()))

    def update(self, steps: int, loss: float, rate: float) -> None:
        """Show the state after so many steps."""
        now = time.monotonic()
        self.images_per_second = (steps - self._first) * self._batch / max(now - self._started, 1e-9)
        self._marks.append((steps, now))
        self.seconds_left = self._seconds_per_step() * (self._total - steps)
        speed, left = f"{self.images_per_second:.1f}", timedelta(seconds=round(self.seconds_left))
        self._bar.update(self._task, completed=steps, loss=f"{loss:.4f}", rate=f"{rate:g}", speed=speed, left=left)

    def _seconds_per_step(self) -> float:
        """Over the window, or as far back as there are steps after the first one."""
        steps, now = self._marks[-1]
        while len(self._marks) > 2 and self._may_forget(steps):
            self._marks.popleft()
        before, then = self._marks[0]
        return (now - then) / (steps - before)

    def _may_forget(self, steps: int) -> bool:
        """Whether the oldest mark is of before the first step, or of before the window."""
        (oldest, _), (next_one, _) = self._marks[0], self._marks[1]
        return next_one < steps and (oldest == self._first or next_one <= steps - self._window)
