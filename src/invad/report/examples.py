"""Which few images show what a model can do and where it fails."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from invad.errors import MetricError
from invad.records import GOOD

Kind = Literal["miss", "alarm", "typical", "clear"]
"""`miss`: a defective image with a low score; `alarm`: a good one with a high score; `typical`: the median of its type;
`clear`: the defective image with the highest score."""
MISSES, ALARMS = 2, 3
"""How many of a type of defect with the lowest scores, and how many good ones with the highest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One image that is worth a look."""

    index: int
    kind: Kind


def pick_examples(scores: ArrayLike, classes: Sequence[str], defects: Sequence[str]) -> list[Choice]:
    """Return up to four images of each type of defect of each class, no image twice.

    Classes come in alphabetical order; in each the good images first, then the types in alphabetical order. Among
    equal scores the first image is taken, so that the choice is the same every time.

    Args:
        scores: image scores, (N,).
        classes: the class of each image, N of them.
        defects: the type of defect of each image, `good` for none.

    Raises:
        MetricError: the three do not have the same length, or a score is NaN or infinite.

    Example:
        >>> found = pick_examples([0.1, 0.2, 0.9, 0.5, 0.7], ["nut"] * 5, ["good", "good", "dent", "dent", "dent"])
        >>> [(choice.index, choice.kind) for choice in found]
        [(1, 'alarm'), (0, 'alarm'), (3, 'miss'), (4, 'miss'), (2, 'clear')]
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not len(values) == len(classes) == len(defects):
        raise MetricError(
            f"expected a score, a class and a type of defect for every image; got {values.shape}, {len(classes)} and "
            f"{len(defects)} of them"
        )
    if not np.isfinite(values).all():
        raise MetricError(f"expected finite scores; image {int(np.argmin(np.isfinite(values)))} has another")
    types: dict[tuple[str, bool, str], list[int]] = {}
    for index, (class_name, defect) in enumerate(zip(classes, defects, strict=True)):
        types.setdefault((class_name, defect != GOOD, defect), []).append(index)
    picked: list[Choice] = []
    for (_, bad, _), own in sorted(types.items()):
        picked += _of_type(np.array(own), values[own], good=not bad)
    return picked


def _of_type(indices: NDArray[np.intp], scores: NDArray[np.float64], *, good: bool) -> Iterator[Choice]:
    """The examples of one type, from what matters most."""
    ascending = indices[np.argsort(scores, kind="stable")]
    descending = indices[np.argsort(-scores, kind="stable")]
    wanted: list[tuple[int, Kind]] = [(int(i), "alarm") for i in descending[:ALARMS]]
    if not good:
        wanted = [(int(i), "miss") for i in ascending[:MISSES]]
    wanted.append((int(ascending[len(ascending) // 2]), "typical"))
    if not good:
        wanted.append((int(descending[0]), "clear"))
    seen: set[int] = set()
    for index, kind in wanted:
        if index not in seen:
            seen.add(index)
            yield Choice(index=index, kind=kind)
