"""Work ahead: in order, within bounds, exceptions at their place."""

import threading
from collections.abc import Iterator
from itertools import count, islice

import pytest

from invad.inference.ahead import map_ahead


def test_order_and_bound_on_an_endless_iterable() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for i in count():
            taken += 1
            yield i

    for seen, value in enumerate(islice(map_ahead(lambda x: 2 * x, items(), ahead=5), 1000), start=1):
        assert value == 2 * (seen - 1)
        assert taken <= seen + 5


def test_an_exception_comes_at_its_place() -> None:
    results = map_ahead(lambda x: 1 // (3 - x), range(10), ahead=4)
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_work_goes_on_while_the_caller_is_busy() -> None:
    ready = threading.Event()
    results = map_ahead(lambda x: ready.set() if x == 1 else None, range(5), ahead=2)
    next(results)  # the first result; the second one's work does not wait for being asked for
    assert ready.wait(timeout=60)
