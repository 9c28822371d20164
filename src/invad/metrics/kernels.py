"""The loops over every pixel; the rest of the metrics touches defect pixels only. Compiled once and kept on disk.

Keys are those of `invad.metrics.keys`, less the lowest cut; every integer that meets a key has its type. Tables of
slices: slice s of a part begins with cut starts[s]; part p has its slices from firsts[p] on, each 2 ** widths[p] keys
wide. `inner` marks the bits of a key that follow those of its part.
"""

from typing import Any

import numba
import numpy as np

DIGIT_BITS = 11
DIGITS = 1 << DIGIT_BITS
"""Values of a digit by which `sort_digits` sorts."""
SLICES_PER_CUT = 2
"""At least; at most twice as many, as a part has a power of two."""
MOST_STEPS = 16
"""Cuts of a slice that are looked at one by one; where a part has slices with more, it is searched by halves."""


@numba.njit(cache=True, nogil=True)
def count_marked(masks: Any, counts: Any) -> None:
    """Count the marked pixels of each mask; (n, H, W) -> (n,)."""
    for image in range(len(masks)):
        count = 0
        for row in masks[image]:
            for marked in row:
                count += marked
        counts[image] = count


@numba.njit(cache=True, nogil=True)
def split_regions(scores: Any, masks: Any, counts: Any, runs: Any, defect: Any, sizes: Any, regions: Any) -> None:
    """Write each marked pixel's score and the size of its 8-connected region, (d,), and the regions of images, (n,).

    scores, masks: (n, H, W). counts (n,): marked pixels. runs (5, m): room for the runs of marked pixels in the rows of
    an image, of which there are as many as marked pixels at most.
    """
    rows, starts, ends, parents, areas = runs
    at = 0
    for image in range(len(masks)):
        count = _find_runs(masks[image], rows, starts, ends) if counts[image] else 0
        _join_runs(rows[:count], starts, ends, parents)
        regions[image] = 0
        for run in range(count):
            parents[run] = parents[parents[run]]  # now the first run of its region, as the parent came before
            areas[run] = 0
            areas[parents[run]] += ends[run] - starts[run]
            regions[image] += parents[run] == run
        for run in range(count):
            for column in range(starts[run], ends[run]):
                defect[at], sizes[at] = scores[image, rows[run], column], areas[parents[run]]
                at += 1


@numba.njit(cache=True, nogil=True)
def _find_runs(mask: Any, rows: Any, starts: Any, ends: Any) -> int:
    """Write the row of each run of marked pixels, its first column and the one after its last; returns their number."""
    count = 0
    for row in range(mask.shape[0]):
        inside = False
        for column in range(mask.shape[1]):
            if mask[row, column] != inside:
                inside = not inside
                if inside:
                    rows[count], starts[count] = row, column
                else:
                    ends[count] = column
                    count += 1
        if inside:
            ends[count] = mask.shape[1]
            count += 1
    return count


@numba.njit(cache=True, nogil=True)
def _join_runs(rows: Any, starts: Any, ends: Any, parents: Any) -> None:
    """Link the runs that touch, at corners too: parents[r] is an earlier run of the same region, or r if none is."""
    above = 0  # the first run of the row above that ends far enough to the right
    for run in range(len(rows)):
        parents[run] = run
        while rows[above] < rows[run] - 1 or (rows[above] < rows[run] and ends[above] < starts[run]):
            above += 1
        other = above
        while rows[other] < rows[run] and starts[other] <= ends[run]:
            one, two = _first(run, parents), _first(other, parents)
            parents[max(one, two)] = min(one, two)
            other += 1


@numba.njit(cache=True, nogil=True)
def _first(run: Any, parents: Any) -> Any:
    """The first run of a region as far as it is known; the way there becomes shorter for the next."""
    while parents[run] != run:
        parents[run] = parents[parents[run]]
        run = parents[run]
    return run


@numba.njit(cache=True, nogil=True)
def sort_digits(values: Any, spare: Any, heads: Any) -> Any:
    """Sort uint64 values (n,) digit by digit, from the lowest; returns the one of values and spare that holds them.

    heads (DIGITS,): room. A digit that all values share takes no time.
    """
    varies = np.uint64(0)
    for value in values:
        varies |= value ^ values[0]
    last = np.uint64(DIGITS - 1)
    for place in range(0, 64, DIGIT_BITS):
        shift = np.uint64(place)
        if (varies >> shift) & last:
            heads[:] = 0
            for value in values:
                heads[(value >> shift) & last] += 1
            start = 0
            for digit in range(len(heads)):
                size = heads[digit]
                heads[digit] = start
                start += size
            for value in values:
                digit = (value >> shift) & last
                spare[heads[digit]] = value
                heads[digit] += 1
            values, spare = spare, values
    return values


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
