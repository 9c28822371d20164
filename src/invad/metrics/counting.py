"""Where every normal pixel stands among the cuts: the distinct scores of the defect pixels and the fixed thresholds.

K ascending cuts make 2 K + 1 slots: slot 2 k holds the pixels between cut k - 1 and cut k, slot 2 k + 1 those at cut k.
A chunk of pixels is first dealt out by the leading bits of their keys, then each part is looked up in a table of its
own, sliced the finer the more cuts lie there. Thus the tables in use stay in a cache, no pixel is sorted, and it does
not matter on what scale the scores are.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from invad.metrics import kernels
from invad.metrics.keys import IntArray
from invad.metrics.pixels import Source
from invad.metrics.threads import drain, in_threads

PART_BITS = 11
"""Leading bits that a chunk is dealt out by."""
CHUNK = 1 << 21
"""Pixels dealt out at a time, by and large: the more, the longer each part's table is in the cache."""
PIECE = 1 << 18
"""Pixels gathered at a time, at most."""
MOST_PLACED = (1 << 32) - 1
"""Pixels that slots of uint32 can hold, also when they are summed up."""
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


def gather_chunks(
    table: Table, images: Iterable[Source], outside: IntArray, chunk: int = CHUNK
) -> Iterator[tuple[Any, int]]:
    """A buffer filled with keys of normal pixels, and how many, again and again; those outside the cuts are counted."""
    keys, count = np.empty(chunk + PIECE, table.cuts.dtype), 0
    for image in images:
        scores, mask = image.load()
        for first in range(0, len(scores), PIECE):
            piece = slice(first, first + PIECE)
            bits = scores[piece].astype(table.kind, copy=False).view(table.cuts.dtype)
            hidden = NOTHING if mask is None else mask[piece]
            count = kernels.gather_keys(bits, hidden, table.ends, table.flips, keys, count, outside)
            if count >= chunk:
                yield keys, count
                count = 0
    yield keys, count


def count_slots(table: Table, images: Iterable[Source], chunk: int, slots: Any) -> None:
    """Add the normal pixels to their slots, (2 K + 1,), chunk by chunk."""
    outside = np.zeros(2, np.int64)
    dealt, parts = np.empty(chunk + PIECE, table.cuts.dtype), np.empty(len(table.firsts), np.int64)
    for keys, count in gather_chunks(table, images, outside, chunk):
        kernels.deal(keys, count, table.shift, parts, dealt)
        kernels.count_dealt(dealt, parts, *table.lookup, table.crowded, slots)
    slots[[0, -1]] += outside.astype(slots.dtype)


def count_in_threads(table: Table, images: Sequence[Source], normals: int, threads: int) -> Any:
    """Normal pixels in each slot, (2 K + 1,), uint32 where that holds them all, else int64.

    Threads take image after image, so that none waits for one that is held up. Integers are added, so it makes no
    difference which thread takes which.
    """
    kind = np.uint32 if normals <= MOST_PLACED else np.int64  # uint32 takes half the cache
    waiting, workers = deque(images), max(1, min(threads, len(images)))
    chunk = even_chunk(normals, workers)
    slots = [np.zeros(table.slots, kind) for _ in range(workers)]
    in_threads(lambda own: count_slots(table, drain(waiting), chunk, own), slots, workers)
    for other in slots[1:]:
        np.add(slots[0], other, out=slots[0])
    return slots[0]


def even_chunk(normals: int, workers: int) -> int:
    """The size of a chunk at most `CHUNK` such that all workers have as many, and come to the end together."""
    rounds = max(1, -(-normals // (workers * CHUNK)))
    return max(1, -(-normals // (workers * rounds)))


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
