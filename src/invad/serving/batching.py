"""Images of many requests computed together, by one thread that has the model to itself."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from invad.inference.scorer import Scorer

Score = tuple[NDArray[np.float32], float]
"""The map (H, W) and score of one image."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Job:
    scorer: Scorer
    image: NDArray[np.uint8]
    done: Future[Score]


class Batcher:
    """Collects images until there are enough of them or the first has waited long enough, and has them computed.

    Images for different models, as around a reload, are never mixed.

    Args:
        most: images that are computed together.
        wait: seconds that an image waits for others.
        on_batch: told the size of each batch.

    Example:
        >>> def ones(images):
        ...     return np.ones((len(images), 2, 2), np.float32), np.ones(len(images), np.float32)
        >>> batcher = Batcher(most=8, wait=0.01)
        >>> batcher.submit(ones, np.zeros((2, 2, 3), np.uint8)).result()[1]
        1.0
        >>> batcher.close()
    """

    def __init__(self, *, most: int, wait: float, on_batch: Callable[[int], None] = lambda size: None) -> None:
        self._most, self._wait, self._on_batch = most, wait, on_batch
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def submit(self, scorer: Scorer, image: NDArray[np.uint8]) -> Future[Score]:
        """Return what will hold the map (H, W) and score of an image (H, W, 3) of the model's size."""
        done: Future[Score] = Future()
        self._jobs.put(_Job(scorer=scorer, image=image, done=done))
        return done

    def close(self) -> None:
        """Compute what was submitted, then stop."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        held: _Job | None = None
        while True:
            first = held or self._jobs.get()
            if first is None:
                return
            batch, held = self._collect(first)
            self._compute(batch)
            del first, batch  # nothing of them is held while the next one is waited for

    def _collect(self, first: _Job) -> tuple[list[_Job], _Job | None]:
        """A batch that begins with a job, and the first job of the next one, if it was met already."""
        batch = [first]
        deadline = time.monotonic() + self._wait
        while len(batch) < self._most:
            try:
                job = self._jobs.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)  # to stop after this batch
                break
            if job.scorer is not first.scorer:
                return batch, job
            batch.append(job)
        return batch, None

    def _compute(self, batch: list[_Job]) -> None:
        wanted = [job for job in batch if job.done.set_running_or_notify_cancel()]
        if not wanted:
            return
        self._on_batch(len(wanted))
        try:
            maps, scores = wanted[0].scorer(np.stack([job.image for job in wanted]))
        except Exception as error:  # whatever a runtime raises: too little memory, for example
            self._one_by_one(wanted, error)
            return
        for job, values, score in zip(wanted, maps, scores.tolist(), strict=True):
            job.done.set_result((values, score))

    def _one_by_one(self, batch: list[_Job], error: Exception) -> None:
        """Compute each image of a batch that failed alone, so that one cannot spoil the others' answers."""
        if len(batch) == 1:
            batch[0].done.set_exception(error)
            return
        for job in batch:
            try:
                maps, scores = job.scorer(job.image[None])
            except Exception as alone:
                job.done.set_exception(alone)
            else:
                job.done.set_result((maps[0], float(scores[0])))
