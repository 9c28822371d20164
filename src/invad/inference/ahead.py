"""Work done ahead by threads, in order and within bounds."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from invad.data.loading import threads

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(work: Callable[[T], R], items: Iterable[T], *, ahead: int) -> Iterator[R]:
    """Yield `work(item)` for each item, in order, computed by threads while the caller is busy with those before.

    At most `ahead` results wait, and no more items are taken from the iterable than that; so it may be endless. An
    exception is raised at its place in the order.

    Example:
        >>> list(map_ahead(lambda x: x * x, range(5), ahead=2))
        [0, 1, 4, 9, 16]
    """
    with ThreadPoolExecutor(max_workers=threads(), thread_name_prefix="ahead") as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
