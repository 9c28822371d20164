"""What is said of one image: its score, how rare that is among normal ones, and where it is not normal."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from invad.errors import ImageError, SettingsError
from invad.inference.calibration import Calibration, share_below
from invad.inference.regions import Region, find_regions
from invad.records import Size


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What a model says of one image."""

    score: float
    """How far the image is from normal, in [0, 2]: the map's largest value."""
    map: NDArray[np.float32]
    """The same for every pixel of the model's input, (H, W)."""
    anomalous: bool | None
    """Whether the score reaches the threshold; None where no threshold is known."""
    share_below: float | None = None
    """Share of the normal calibration images whose score is lower, in [0, 1]; None where there is no calibration."""
    regions: tuple[Region, ...] = ()
    """Where the map reaches the pixel threshold, the highest peak first; none where no threshold is known."""


class Decider:
    """Maps and scores -> decisions, by a given threshold or a calibration.

    Args:
        threshold: overrides those of the calibration, for images and pixels; None: they hold.
        calibration: None: there is none; without a threshold too, nothing is decided.
        class_name: the class of images whose class is not told; None: not known.

    Raises:
        SettingsError: the threshold is no number, the calibration does not know the class, or there is none to know it.
    """

    def __init__(self, threshold: float | None, calibration: Calibration | None, class_name: str | None) -> None:
        if threshold is not None and not math.isfinite(threshold):
            raise SettingsError(f"a threshold is a number that scores reach or do not, not {threshold}")
        if class_name is not None:
            if calibration is None:
                raise SettingsError(f"class {class_name!r} chooses thresholds of a calibration, and there is none")
            calibration.require_class(class_name)
        self._threshold = threshold
        self._calibration = calibration
        self._class_name = class_name
        self._references: dict[str | None, tuple[float, ...]] = {}

    def __call__(self, values: NDArray[np.float32], score: float, size: Size, class_name: str | None) -> Prediction:
        """Return the prediction for a map (H, W) and score of an image that had this height and width.

        Raises:
            ImageError: the score is no number, which is below no threshold and above none.
        """
        if not math.isfinite(score):
            raise ImageError(f"the model gives an image of {size[1]} x {size[0]} pixels the score {score}")
        name = class_name or self._class_name
        image = pixel = self._threshold
        below = None
        if self._calibration is not None:
            below = share_below(self._reference(self._calibration, name), score)
            if self._threshold is None:
                chosen = self._calibration.threshold(name)
                image, pixel = chosen.image, chosen.pixel
        return Prediction(
            score=score,
            map=values,
            anomalous=None if image is None else score >= image,
            share_below=below,
            regions=() if pixel is None else find_regions(values, pixel, size),
        )

    def _reference(self, calibration: Calibration, name: str | None) -> tuple[float, ...]:
        """The normal scores of a class, sorted only once."""
        key = name if name in calibration.classes else None
        if key not in self._references:
            self._references[key] = calibration.reference(key)
        return self._references[key]
