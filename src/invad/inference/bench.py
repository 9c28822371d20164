"""How fast a model is on this machine, and what a million images cost.

A latency is the time from one image to its map and score, alone. Throughput is how many images a second come out when
several wait: in batches or, for OpenVINO, several at once.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from invad.data.images import read_image
from invad.data.resizing import resize_image
from invad.inference.inputs import spread
from invad.inference.scorer import Scorer

PERCENTILES = (50, 90, 99)
WARM_UP = 3
PHOTOS = 16
"""Photos that are timed, at most: each is held decoded, at its own size."""
MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """What was measured of one way to feed the model."""

    latency: dict[int, float]
    """Percentiles of the time for one image, in milliseconds."""
    throughput: float
    """Images a second at the best batch."""
    batch: int
    """That batch."""

    def hours(self, images: int = MILLION) -> float:
        """Return how long so many images take, in hours.

        Example:
            >>> Timing(latency={50: 100.0}, throughput=100.0, batch=1).hours(360_000)
            1.0
        """
        return images / self.throughput / 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """The timings of one model."""

    photos: int
    """How many it was timed on."""
    pixels: Timing
    """From decoded images, at their own size."""
    files: Timing
    """From files that the operating system has read before: decoding included, the disk's own speed not."""


def bench(scorer: Scorer, paths: Sequence[Path], *, seconds: float, batches: Sequence[int]) -> Bench:
    """Return timings of a model.

    Args:
        scorer: the model.
        paths: photos to feed it; of more than `PHOTOS` so many, evenly over all of them.
        seconds: how long each of the measurements goes on, at least.
        batches: the batch sizes that throughput is looked for in.

    Raises:
        ImageError: a photo cannot be read.
    """
    paths = spread(paths, PHOTOS)
    images: list[NDArray[np.uint8]] = [read_image(path) for path in paths]

    def from_pixels(chosen: Sequence[int]) -> None:
        scorer(np.stack([resize_image(images[i], scorer.size) for i in chosen]))

    def from_files(chosen: Sequence[int]) -> None:
        scorer(np.stack([resize_image(read_image(paths[i]), scorer.size) for i in chosen]))

    return Bench(
        photos=len(paths),
        pixels=_time(from_pixels, len(images), seconds, batches),
        files=_time(from_files, len(images), seconds, batches),
    )


def _time(work: Callable[[Sequence[int]], None], count: int, seconds: float, batches: Sequence[int]) -> Timing:
    """Latency and throughput of work on images given by their index."""
    each = _durations(work, count, 1, seconds)
    percentiles = {p: float(np.percentile(each, p)) * 1e3 for p in PERCENTILES}
    rates = {b: b / float(np.median(_durations(work, count, b, seconds))) for b in batches}
    best = max(rates, key=lambda b: rates[b])
    return Timing(latency=percentiles, throughput=rates[best], batch=best)


def _durations(work: Callable[[Sequence[int]], None], count: int, batch: int, seconds: float) -> list[float]:
    """How long each batch took, in seconds, after a warm-up."""
    found: list[float] = []
    turn = 0
    while len(found) < WARM_UP + 3 or sum(found[WARM_UP:]) < seconds:
        chosen = [(turn * batch + i) % count for i in range(batch)]
        started = time.perf_counter()
        work(chosen)
        found.append(time.perf_counter() - started)
        turn += 1
    return found[WARM_UP:]
