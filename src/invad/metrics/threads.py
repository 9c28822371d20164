"""Work shared out among threads; it helps where Numba's kernels or NumPy's loops do it, which let other threads run."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import numba

from invad.errors import MetricError

Given = TypeVar("Given")
Found = TypeVar("Found")


def choose_threads(threads: int | None) -> int:
    """The number of threads asked for; None: Numba's, which is NUMBA_NUM_THREADS or the number of cores.

    Raises:
        MetricError: less than one.
    """
    if threads is not None and threads < 1:
        raise MetricError(f"threads must be 1 or more, or None for all cores, but are {threads}")
    return int(numba.config.NUMBA_NUM_THREADS) if threads is None else threads  # type: ignore[attr-defined]


def drain(waiting: deque[Given]) -> Iterator[Given]:
    """Take items until none is left; several threads may drain one deque, and none waits for a slower one."""
    with suppress(IndexError):
        while True:
            yield waiting.popleft()


def in_threads(compute: Callable[[Given], Found], items: Sequence[Given], threads: int) -> list[Found]:
    """The results of all items, in their order.

    Example:
        >>> in_threads(abs, [-1, 2, -3], threads=2)
        [1, 2, 3]
    """
    workers = min(threads, len(items))
    if workers < 2:
        return [compute(item) for item in items]
    waiting, found = deque(enumerate(items)), dict[int, Found]()

    def work() -> None:
        for index, item in drain(waiting):
            found[index] = compute(item)

    with ThreadPoolExecutor(workers - 1) as pool:
        others = [pool.submit(work) for _ in range(workers - 1)]
        work()
        for other in others:
            other.result()
    return [found[index] for index in range(len(items))]
