"""Scores as integers of the same order, so that they can be shifted, sliced and sorted fast.

The bits of a float, read as an integer, already rise with positive scores; flipping all bits of negative scores and the
sign bit of the others puts both in one order. Minus zero takes the key of zero, as the two are one score.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from invad.metrics.checks import FloatArray

Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def to_keys(scores: FloatArray) -> Any:
    """The keys of float32 or float64 scores, uint32 or uint64 of the same shape.

    Example:
        >>> import numpy as np
        >>> to_keys(np.array([-1.0, -0.0, 0.0, 2.0], np.float32)).tolist()
        [1082130431, 2147483648, 2147483648, 3221225472]
    """
    bits = (scores + scores.dtype.type(0)).view(f"u{scores.itemsize}")  # -0.0 + 0.0 is 0.0
    bits ^= _flips(bits)
    return bits


def to_scores(keys: Any) -> FloatArray:
    """The scores of keys: the inverse of `to_keys`, but for the sign of zero."""
    bits = _flips(~keys)
    bits ^= keys
    scores: FloatArray = bits.view(f"f{keys.itemsize}")
    return scores


def _flips(bits: Any) -> Any:
    """All bits where the first one is set, else the first one alone."""
    flips = bits.view(f"i{bits.itemsize}") >> (8 * bits.itemsize - 1)
    flips |= np.iinfo(flips.dtype).min
    return flips.view(bits.dtype)


def keys_from(cuts: Float64Array, kind: npt.DTypeLike) -> Any:
    """The keys of the smallest scores of a kind (float32 or float64) that are >= float64 cuts, (K,)."""
    with np.errstate(over="ignore"):
        narrow = cuts.astype(kind)
    infinity = narrow.dtype.type(np.inf)
    return to_keys(np.where(narrow < cuts, np.nextafter(narrow, infinity), narrow))
