"""Images of many requests computed together: the same answers, no matter with whom."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from invad.inference import Predictor
from invad.inference.selfcheck import BOUND
from invad.serving.batching import Batcher

Images = NDArray[np.uint8]


class Counting:
    """A scorer that gives each image its mean, and notes the sizes of its batches."""

    size = (2, 2)

    def __init__(self, hold: threading.Event | None = None, fail: Callable[[Images], bool] = lambda images: False):
        self.batches: list[int] = []
        self._hold, self._fail = hold, fail

    def __call__(self, images: Images) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if self._hold is not None:
            self._hold.wait()
        if self._fail(images):
            raise MemoryError("too little")
        self.batches.append(len(images))
        means = images.mean(axis=(1, 2, 3)).astype(np.float32)
        return np.repeat(means, 4).reshape(-1, 2, 2), means


def grey(level: int) -> Images:
    return np.full((2, 2, 3), level, dtype=np.uint8)


def test_images_that_wait_are_computed_together() -> None:
    hold, seen = threading.Event(), list[int]()
    scorer = Counting(hold)
    batcher = Batcher(most=8, wait=0.0, on_batch=seen.append)
    first = batcher.submit(scorer, grey(0))
    rest = [batcher.submit(scorer, grey(level)) for level in range(1, 21)]
    hold.set()
    assert [one.result()[1] for one in (first, *rest)] == list(range(21))
    assert sum(scorer.batches) == 21 and set(scorer.batches[1:-1]) == {8}
    batcher.close()
    assert seen == scorer.batches


def test_models_are_not_mixed() -> None:
    hold = threading.Event()
    old, new = Counting(hold), Counting()
    batcher = Batcher(most=8, wait=0.05)
    jobs = [batcher.submit(scorer, grey(i)) for i, scorer in enumerate([old, old, new, new, old])]
    hold.set()
    assert [job.result()[1] for job in jobs] == list(range(5))
    assert (sum(old.batches), sum(new.batches)) == (3, 2) and new.batches == [2]
    batcher.close()


def test_closing_finishes_what_was_submitted() -> None:
    hold = threading.Event()
    scorer = Counting(hold)
    batcher = Batcher(most=4, wait=0.01)
    jobs = [batcher.submit(scorer, grey(i)) for i in range(10)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    hold.set()
    closing.join()
    assert [job.result(timeout=0)[1] for job in jobs] == list(range(10))


def test_a_batch_that_fails_is_done_one_by_one() -> None:
    scorer = Counting(fail=lambda images: len(images) > 1 or int(images[0, 0, 0, 0]) == 3)
    batcher = Batcher(most=8, wait=0.05)
    jobs = [batcher.submit(scorer, grey(i)) for i in range(6)]
    for i, job in enumerate(jobs):
        if i == 3:
            with pytest.raises(MemoryError):
                job.result()
        else:
            assert job.result()[1] == i
    assert batcher.submit(scorer, grey(9)).result()[1] == 9
    batcher.close()


def test_cancelled_images_are_left_out() -> None:
    hold = threading.Event()
    scorer = Counting(hold)
    batcher = Batcher(most=2, wait=0.0)
    batcher.submit(scorer, grey(0))
    batcher.submit(scorer, grey(1))
    last = [batcher.submit(scorer, grey(i)) for i in range(2, 4)]
    assert last[0].cancel() and last[1].cancel()
    hold.set()
    batcher.close()
    assert sum(scorer.batches) == 2


def test_results_do_not_depend_on_company(predictor: Predictor) -> None:
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (*predictor.size, 3), dtype=np.uint8) for _ in range(24)]
    alone = [predictor.scorer(image[None]) for image in images]
    low, high = min(float(maps.min()) for maps, _ in alone), max(float(maps.max()) for maps, _ in alone)
    batcher = Batcher(most=7, wait=0.01)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda image: batcher.submit(predictor.scorer, image).result(), images))
    batcher.close()
    for (maps, scores), (values, score) in zip(alone, found, strict=True):
        assert np.abs(maps[0].astype(np.float64) - values).max() <= BOUND * (high - low)
        assert abs(float(scores[0]) - score) <= BOUND
