"""Which values of an anomaly map pictures show as untouched and as full colour."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SPAN = 1.5
"""Where a class's colours end, in units of where they begin; defects of bottles and hazelnuts peak at 1.1 to 1.8."""


@dataclass(frozen=True, slots=True)
class ColourScale:
    """The colour scale of a model's pictures: where colours begin, and where they are full.

    Classes differ in how high the maps of normal images reach, so each has a scale of its own. Images of unknown class
    get the model's.

    Example:
        >>> import dataclasses
        >>> scale = ColourScale.from_peaks({"bottle": 0.6, "pill": 0.4})
        >>> scale.of("pill"), scale.of("screw")
        ((0.4, 0.6000000000000001), (0.5, 0.75))
        >>> ColourScale.from_values(dataclasses.asdict(scale)) == scale
        True
    """

    low: float
    high: float
    classes: Mapping[str, float] = field(default_factory=dict)
    """Where the colours of a class begin; they end at SPAN times that."""

    @classmethod
    def from_peaks(cls, peaks: Mapping[str, float]) -> "ColourScale":
        """Return the scale of a model whose normal images' maps reach so high, by class."""
        low = sum(peaks.values()) / len(peaks)
        return cls(low, SPAN * low, dict(peaks))

    def of(self, class_name: str | None) -> tuple[float, float]:
        """Return where colours begin and end for images of a class; None: not known."""
        begin = self.classes.get(class_name or "")
        return (self.low, self.high) if begin is None else (begin, SPAN * begin)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "ColourScale":
        """Return the scale of the fields that a file holds; those of before 2026-11-26 have no classes."""
        return cls(float(values["low"]), float(values["high"]), dict(values.get("classes", {})))
