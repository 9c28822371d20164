"""Images and masks of records, at one size, decoded ahead by threads, which Pillow lets run side by side."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from invad.data.cache import Cache, DiskCache, Kind, MemoryCache, default_cache_dir
from invad.data.images import read_image, read_mask
from invad.data.resizing import resize_image, resize_mask
from invad.errors import ImageError
from invad.presets import CACHE_MEMORY
from invad.records import Record, Size

Loaded = TypeVar("Loaded")

AHEAD = 2
"""Batches decoded ahead of the one in use, at least; and one for each thread."""


class ImageSource:
    """The images of records at one size, each decoded once where there is a cache.

    Args:
        records: which images.
        size: height and width to resize them to.
        cache: where decoded images are kept.
        cache_memory: GiB that those in memory may take; images beyond it are decoded whenever they are asked for.
        cache_dir: the folder of the disk cache; None: the user's cache directory.
        skip_unreadable: decode everything now and leave out images that cannot be read, or whose masks cannot, instead
            of stopping at them later; `skipped` has for each the file that cannot be read.
    """

    def __init__(
        self,
        records: Sequence[Record],
        size: Size,
        *,
        cache: Kind = "memory",
        cache_memory: float = CACHE_MEMORY,
        cache_dir: Path | None = None,
        skip_unreadable: bool = False,
    ) -> None:
        self.size = size
        self._cache = _open_cache(cache, cache_memory, cache_dir)
        unreadable = _unreadable(records) if skip_unreadable else [None] * len(records)
        self.records = tuple(record for record, path in zip(records, unreadable, strict=True) if path is None)
        self.skipped = tuple(sorted(path for path in unreadable if path is not None))
        if not self.records:
            raise ImageError(f"none of {len(records)} images can be read; the first: {records[0].image}")

    def __len__(self) -> int:
        return len(self.records)

    @property
    def kept(self) -> int:
        """How many of the images are kept once they are decoded."""
        return self._cache.fits(self.size, len(self)) if self._cache else 0

    def forget(self) -> None:
        """Keep no decoded image from now on, where something made of them is kept in their place."""
        self._cache = None

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return one image, uint8 RGB (H, W, 3)."""
        path = self.records[index].image
        image = self._cache.get(index, path, self.size) if self._cache else None
        if image is None:
            image = resize_image(read_image(path), self.size)
            if self._cache:
                self._cache.put(index, path, self.size, image)
        return image

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Return one mask, bool (H, W); all False for a record without one."""
        path = self.records[index].mask
        return np.zeros(self.size, dtype=bool) if path is None else resize_mask(read_mask(path), self.size)

    def images(self, indices: Iterable[int]) -> NDArray[np.uint8]:
        """Return several images, uint8 RGB (B, H, W, 3)."""
        return np.stack([self.image(int(index)) for index in indices])


def batches(
    source: ImageSource, indices: Sequence[NDArray[np.int64]]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """Yield each batch's indices (B,) and images (B, H, W, 3), in order, decoded ahead.

    An image that cannot be read raises its ImageError at its place in the order; nothing is retried.
    """
    return load_ahead(source.images, indices)


def load_ahead(
    load: Callable[[NDArray[np.int64]], Loaded], indices: Sequence[NDArray[np.int64]]
) -> Iterator[tuple[NDArray[np.int64], Loaded]]:
    """Yield each batch's indices (B,) and what `load` makes of them, in order, made ahead by threads.

    Threads, not processes: none can die and leave the others waiting, and what one raises comes out at its place.
    """
    with ThreadPoolExecutor(max_workers=threads(), thread_name_prefix="decode") as pool:
        waiting: deque[tuple[NDArray[np.int64], Future[Loaded]]] = deque()
        try:
            for batch in indices:
                waiting.append((batch, pool.submit(load, batch)))
                if len(waiting) == read_ahead():
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def read_ahead() -> int:
    """Return how many batches are in memory at a time: those made ahead, and the one in use.

    Example:
        >>> read_ahead() > AHEAD
        True
    """
    return max(AHEAD, threads()) + 1


def threads() -> int:
    """Return how many threads read files: as many as there are cores, at most eight."""
    return min(8, os.cpu_count() or 1)


def _open_cache(kind: Kind, memory: float, folder: Path | None) -> Cache | None:
    if kind == "none":
        return None
    return MemoryCache(memory * 1024**3) if kind == "memory" else DiskCache(folder or default_cache_dir())


def _unreadable(records: Sequence[Record]) -> list[Path | None]:
    """Of each record the file that cannot be read: its image, its mask, or None of both."""
    with ThreadPoolExecutor(max_workers=threads()) as pool:
        return list(pool.map(_unreadable_file, records))


def _unreadable_file(record: Record) -> Path | None:
    try:
        read_image(record.image)
    except ImageError:
        return record.image
    try:
        if record.mask is not None:
            read_mask(record.mask)
    except ImageError:
        return record.mask
    return None
