"""Which values of an anomaly map pictures show as untouched and as full colour."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Ends = tuple[float, float]
"""Where colours begin, and where they are full."""


@dataclass(frozen=True, slots=True)
class ColourScale:
    """The colour scale of a model's pictures: where colours begin, and where they are full.

    Classes differ in how high the maps of normal images reach, so each has a scale of its own. Images of unknown class
    get the model's.

    Example:
        >>> import dataclasses
        >>> scale = ColourScale.from_classes({"bottle": (0.6, 1.0), "pill": (0.4, 0.6)})
        >>> scale.of("pill"), scale.of("screw")
        ((0.4, 0.6), (0.5, 0.8))
        >>> ColourScale.from_values(dataclasses.asdict(scale)) == scale
        True
    """

    low: float
    high: float
    classes: Mapping[str, Ends] = field(default_factory=dict)

    @classmethod
    def from_classes(cls, classes: Mapping[str, Ends]) -> "ColourScale":
        """Return the scale of a model with these scales of its classes; its own is their mean."""
        low, high = (sum(ends) / len(classes) for ends in zip(*classes.values(), strict=True))
        return cls(low, high, dict(classes))

    def of(self, class_name: str | None) -> Ends:
        """Return where colours begin and end for images of a class; None: not known."""
        return self.classes.get(class_name or "", (self.low, self.high))

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "ColourScale":
        """Return the scale of the fields that a file holds; those of before 2026-11-26 have no classes.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: they are not what `dataclasses.asdict` gives.
        """
        classes = {name: (float(low), float(high)) for name, (low, high) in values.get("classes", {}).items()}
        return cls(float(values["low"]), float(values["high"]), classes)
