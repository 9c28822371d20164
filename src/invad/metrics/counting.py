"""Where every normal pixel stands among the cuts: the distinct scores of the defect pixels and the fixed thresholds.

K ascending cuts make 2 K + 1 slots: slot 2 k holds the pixels between cut k - 1 and cut k, slot 2 k + 1 those at cut k.
A chunk of pixels is first dealt out by the leading bits of their keys, then each part is looked up in a table of its
own, sliced the finer the more cuts lie there. Thus the tables in use stay in a cache, no pixel is sorted, and it does
not matter on what scale the scores are.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt

from invad.errors import MetricError
from invad.metrics import kernels
from invad.metrics.keys import IntArray, to_keys
from invad.metrics.pixels import Source

Given = TypeVar("Given")
Found = TypeVar("Found")

PART_BITS = 11
"""Leading bits that a chunk is dealt out by."""
CHUNK = 1 << 21
"""Pixels dealt out at a time, at least: the more, the longer each part's table is in the cache."""
PIECE = 1 << 18
"""Pixels gathered at a time, at most."""
MOST_PLACED = (1 << 32) - 1
"""Pixels that a slot of uint32 can hold."""
NOTHING = np.zeros(0, np.bool_)


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Cuts, ready to be looked up; the arrays are those of `invad.metrics.kernels`."""

    cuts: Any  # (K,) ascending keys, less the lowest
    ends: Any  # (2,) the lowest and the highest key
    flips: Any  # (2,) the sign bit, and all bits
    shift: Any
    inner: Any
    firsts: IntArray  # (parts,)
    widths: Any  # (parts,)
    starts: npt.NDArray[np.uint32]  # (slices + 1,)
    crowded: npt.NDArray[np.bool_]  # (parts,)

    @property
    def kind(self) -> npt.DTypeLike:
        """The floats that the keys stand for."""
        return f"f{self.cuts.itemsize}"

    @property
    def slots(self) -> int:
        """Number of slots."""
        return 2 * len(self.cuts) + 1

    @property
    def lookup(self) -> tuple[Any, Any, Any, Any, Any]:
        """The arguments that the lookup kernels share."""
        return self.inner, self.cuts, self.firsts, self.widths, self.starts


def make_table(keys: Any) -> Table:
    """The table of ascending, distinct keys (K,), K > 0."""
    kind = keys.dtype.type
    cuts = keys - keys[0]
    shift = max(0, int(cuts[-1]).bit_length() - PART_BITS)
    parts = (int(cuts[-1]) >> shift) + 1
    firsts, widths = np.empty(parts, np.int64), np.empty(parts, keys.dtype)
    starts = np.empty(kernels.choose_slices(cuts, kind(shift), firsts, widths) + 1, np.uint32)
    inner = kind((1 << shift) - 1)
    kernels.start_slices(cuts, kind(shift), inner, firsts, widths, starts)
    crowded = np.empty(parts, np.bool_)
    kernels.find_crowded(firsts, starts, crowded)
    sign = 1 << (8 * keys.itemsize - 1)
    return Table(
        cuts=cuts,
        ends=keys[[0, -1]],
        flips=np.array([sign, 2 * sign - 1], keys.dtype),
        shift=kind(shift),
        inner=inner,
        firsts=firsts,
        widths=widths,
        starts=starts,
        crowded=crowded,
    )


def gather_chunks(table: Table, images: Iterable[Source], outside: IntArray) -> Iterator[tuple[Any, int]]:
    """A buffer filled with keys of normal pixels, and how many, again and again; those outside the cuts are counted."""
    keys, count = np.empty(CHUNK + PIECE, table.cuts.dtype), 0
    for image in images:
        scores, mask = image.load()
        for first in range(0, len(scores), PIECE):
            piece = slice(first, first + PIECE)
            bits = scores[piece].astype(table.kind, copy=False).view(table.cuts.dtype)
            hidden = NOTHING if mask is None else mask[piece]
            count = kernels.gather_keys(bits, hidden, table.ends, table.flips, keys, count, outside)
            if count >= CHUNK:
                yield keys, count
                count = 0
    yield keys, count


def count_slots(table: Table, images: Sequence[Source]) -> Any:
    """Normal pixels in each slot, (2 K + 1,), uint32 where that is enough, else int64."""
    total, placed = None, 0
    slots, outside = np.zeros(table.slots, np.uint32), np.zeros(2, np.int64)  # uint32 takes half the cache
    dealt, parts = np.empty(CHUNK + PIECE, table.cuts.dtype), np.empty(len(table.firsts), np.int64)
    for keys, count in gather_chunks(table, images, outside):
        if placed + count > MOST_PLACED:
            total, placed = slots.astype(np.int64) if total is None else total + slots, 0
            slots[:] = 0
        kernels.deal(keys, count, table.shift, parts, dealt)
        kernels.count_dealt(dealt, parts, *table.lookup, table.crowded, slots)
        placed += count
    if total is None and placed + outside.sum() <= MOST_PLACED:
        slots[[0, -1]] += outside.astype(np.uint32)
        return slots
    total = slots.astype(np.int64) if total is None else total + slots
    total[[0, -1]] += outside
    return total


def count_slots_slowly(table: Table, images: Sequence[Source]) -> Any:
    """As `count_slots`, in three lines of NumPy: for reading and testing."""
    slots = np.zeros(table.slots, np.int64)
    for image in images:
        scores, mask = image.load()
        keys = to_keys((scores if mask is None else scores[~mask]).astype(table.kind))
        cuts = table.cuts + table.ends[0]
        place = np.searchsorted(cuts, keys)
        at = cuts[np.minimum(place, len(cuts) - 1)] == keys
        slots += np.bincount(2 * place + at, minlength=table.slots)
    return slots


def count_in_threads(table: Table, images: Sequence[Source], threads: int) -> Any:
    """As `count_slots`, the images shared out; integers are added, so the number of threads changes nothing."""
    each = max(1, -(-len(images) // threads))
    shares = [images[first : first + each] for first in range(0, len(images), each)]
    found = in_threads(lambda part: count_slots(table, part), shares, threads)
    if len(found) == 1:
        return found[0]
    total = found[0].astype(np.int64)
    for other in found[1:]:
        total += other
    return total


def file_normals(
    table: Table, images: Sequence[Source], ends: IntArray
) -> tuple[npt.NDArray[np.uint16 | np.uint32], IntArray]:
    """The image of each normal pixel, slot after slot, and each image's pixels below and above all cuts, (images, 2).

    Args:
        ends: where each slot but the outer two ends, (2 K - 1,).
    """
    filed: npt.NDArray[Any] = np.empty(ends[-1], np.uint16 if len(images) < 1 << 16 else np.uint32)
    outside, heads = np.zeros((len(images), 2), np.int64), np.append(0, ends[:-1])
    for index, image in enumerate(images):
        for keys, count in gather_chunks(table, [image], outside[index]):
            kernels.file_image(keys, count, table.shift, *table.lookup, index, heads, filed)
    return filed, outside


def in_threads(compute: Callable[[Given], Found], items: Sequence[Given], threads: int) -> list[Found]:
    """The results of all items, in their order; the kernels, OpenCV and NumPy's loops let other threads run."""
    if min(threads, len(items)) < 2:
        return [compute(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(compute, items))


def choose_threads(threads: int | None) -> int:
    """The number of threads asked for; None: Numba's, which is NUMBA_NUM_THREADS or the number of cores.

    Raises:
        MetricError: less than one.
    """
    if threads is not None and threads < 1:
        raise MetricError(f"threads must be 1 or more, or None for all cores, but are {threads}")
    return int(numba.config.NUMBA_NUM_THREADS) if threads is None else threads  # type: ignore[attr-defined]
