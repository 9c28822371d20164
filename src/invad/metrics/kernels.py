"""The loops over every pixel; the rest of the metrics touches defect pixels only. Compiled once and kept on disk.

Keys are those of `invad.metrics.keys`, less the lowest cut; every integer that meets a key has its type. Tables of
slices: slice s of a part begins with cut starts[s]; part p has its slices from firsts[p] on, each 2 ** widths[p] keys
wide. `inner` marks the bits of a key that follow those of its part.
"""

from typing import Any

import numba
import numpy as np

SLICES_PER_CUT = 2
"""At least; at most twice as many, as a part has a power of two."""
MOST_STEPS = 16
"""Cuts of a slice that are looked at one by one; where a part has slices with more, it is searched by halves."""


@numba.njit(cache=True, nogil=True)
def pack_regions(bits: Any, labels: Any, sizes: Any, defect: Any, of: Any) -> None:
    """Sum up sizes (R + 1,) of the regions, then write each labelled pixel's bits and size of region, both (d,).

    labels (n,): the region of each pixel, 0 for none.
    """
    for label in labels:
        sizes[label] += 1
    count = 0
    for index in range(len(labels)):
        if labels[index]:
            defect[count], of[count] = bits[index], sizes[labels[index]]
            count += 1


@numba.njit(cache=True, nogil=True)
def gather_keys(bits: Any, mask: Any, ends: Any, flips: Any, keys: Any, count: int, outside: Any) -> int:
    """Append the keys of the pixels that lie between the end cuts; count those below and above in outside (2,).

    bits (n,): the pixels' float bits. mask (n,): pixels to leave out; empty for none. ends: lowest and highest key.
    flips: the sign bit, and all bits. Returns the new number of keys; room for n more is needed.
    """
    low, high, sign, ones = ends[0], ends[1], flips[0], flips[1]
    below, above, masked = 0, 0, len(mask) > 0
    for index in range(len(bits)):
        if masked and mask[index]:
            continue
        bit = bits[index]
        key = bit ^ (ones if bit & sign else sign) if bit != sign else sign  # minus zero is zero
        keys[count] = key - low
        count += (key >= low) & (key <= high)
        below += key < low
        above += key > high
    outside[0] += below
    outside[1] += above
    return count


@numba.njit(cache=True, nogil=True)
def deal(keys: Any, count: int, shift: Any, parts: Any, dealt: Any) -> None:
    """Copy the first keys into dealt, ordered by their leading bits; parts[p] becomes the end of part p."""
    parts[:] = 0
    for index in range(count):
        parts[keys[index] >> shift] += 1
    start = 0
    for part in range(len(parts)):
        size = parts[part]
        parts[part] = start
        start += size
    for index in range(count):
        part = keys[index] >> shift
        dealt[parts[part]] = keys[index]
        parts[part] += 1


@numba.njit(cache=True, nogil=True)
def choose_slices(cuts: Any, shift: Any, firsts: Any, widths: Any) -> int:
    """Slice each part the finer, the more cuts lie in it; returns the number of slices."""
    at, slices, whole = 0, 0, np.int64(shift)
    for part in range(len(widths)):
        start = at
        while at < len(cuts) and np.int64(cuts[at] >> shift) == part:
            at += 1
        bits = 0
        while bits < whole and (1 << bits) < SLICES_PER_CUT * (at - start):
            bits += 1
        firsts[part], widths[part] = slices, whole - bits
        slices += 1 << bits
    return slices


@numba.njit(cache=True, nogil=True)
def start_slices(cuts: Any, shift: Any, inner: Any, firsts: Any, widths: Any, starts: Any) -> None:
    """Fill starts (slices + 1,) with the number of cuts before each slice."""
    starts[:] = 0
    for cut in cuts:
        part = cut >> shift
        starts[firsts[part] + np.int64((cut & inner) >> widths[part]) + 1] += 1
    for index in range(1, len(starts)):
        starts[index] += starts[index - 1]


@numba.njit(cache=True, nogil=True)
def find_crowded(firsts: Any, starts: Any, crowded: Any) -> None:
    """Mark the parts in which cuts lie too close together for their slices."""
    for part in range(len(firsts)):
        end = firsts[part + 1] if part + 1 < len(firsts) else len(starts) - 1
        crowded[part] = False
        for place in range(firsts[part], end):
            crowded[part] |= starts[place + 1] - starts[place] > MOST_STEPS


@numba.njit(cache=True, nogil=True)
def _climb(key: Any, first: Any, cuts: Any) -> Any:
    """The slot of a key, cut by cut from the first one on; the highest cut is no lower than the key."""
    while cuts[first] < key:
        first += 1
    return 2 * first + (cuts[first] == key)


@numba.njit(cache=True, nogil=True)
def _halve(key: Any, first: Any, last: Any, cuts: Any) -> Any:
    """The slot of a key, by bisection from the first cut to the last."""
    while first < last:
        middle = (first + last) >> 1
        if cuts[middle] < key:
            first = middle + 1
        else:
            last = middle
    return 2 * first + (cuts[first] == key)


@numba.njit(cache=True, nogil=True)
def count_dealt(
    dealt: Any, parts: Any, inner: Any, cuts: Any, firsts: Any, widths: Any, starts: Any, crowded: Any, slots: Any
) -> None:
    """Count keys that `deal` has put in order in their slots."""
    at = 0
    for part in range(len(parts)):
        first, width = firsts[part], widths[part]
        if crowded[part]:
            for index in range(at, parts[part]):
                place = first + np.int64((dealt[index] & inner) >> width)
                slots[_halve(dealt[index], np.int64(starts[place]), np.int64(starts[place + 1]), cuts)] += 1
        else:
            for index in range(at, parts[part]):
                place = first + np.int64((dealt[index] & inner) >> width)
                slots[_climb(dealt[index], np.int64(starts[place]), cuts)] += 1
        at = parts[part]


@numba.njit(cache=True, nogil=True)
def file_image(
    keys: Any,
    count: int,
    shift: Any,
    inner: Any,
    cuts: Any,
    firsts: Any,
    widths: Any,
    starts: Any,
    image: Any,
    heads: Any,
    filed: Any,
) -> None:
    """Write an image's number into the run of each of its keys' slots; heads[s - 1] is where slot s goes on."""
    for index in range(count):
        key = keys[index]
        place = firsts[key >> shift] + np.int64((key & inner) >> widths[key >> shift])
        slot = _halve(key, np.int64(starts[place]), np.int64(starts[place + 1]), cuts)
        filed[heads[slot - 1]] = image
        heads[slot - 1] += 1


@numba.njit(cache=True, nogil=True)
def weigh_slots(filed: Any, ends: Any, weights: Any, slots: Any) -> None:
    """slots[s] = sum of the weights of the images filed in run s, which ends at ends[s]."""
    at = 0
    for slot in range(len(slots)):
        total = 0
        for index in range(at, ends[slot]):
            total += weights[filed[index]]
        slots[slot] = total
        at = ends[slot]
