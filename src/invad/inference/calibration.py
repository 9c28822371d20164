"""A calibration: thresholds of a model, what they promise, and the normal scores that they come from.

It lies in the run folder as `calibration.json`, and rides in an exported model as the same text.
"""

import dataclasses
import json
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from invad.errors import RunError, SettingsError, command
from invad.inference.thresholds import CONFIDENCE, Threshold

FILE = "calibration.json"
"""Its name in a run folder."""
NAME = "invad-calibration"
FORMAT = 2
"""The version of the file; in the first one, `notices` held what is in `places` now."""
UNKNOWN = ""
"""The class of images whose class is not known."""
UNKNOWN_NAME = "unknown"
"""What it is called where a class needs a name, as in the manifest of what people marked."""
Method = Literal["false-alarms", "f1-max", "recall"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Thresholds of a model, and the scores that they come from.

    Example:
        >>> from invad.inference.thresholds import from_normal
        >>> scores = (0.1, 0.2, 0.3)
        >>> calibration = Calibration(
        ...     method="false-alarms", wanted=0.25, overall=from_normal(scores, 0.25), scores={"nut": scores},
        ...     images="held back", model="0" * 64,
        ... )
        >>> calibration.share_below(0.25)
        0.6666666666666666
        >>> Calibration.from_json(calibration.to_json()) == calibration
        True
    """

    method: Method
    """`false-alarms`: from normal images alone; `f1-max` and `recall`: from labelled ones."""
    wanted: float | None
    """The false-alarm rate or the recall that was asked for; None for `f1-max`."""
    regions: float | None = None
    """The share of normal images that was wanted to have a region; None: regions begin at the image's threshold."""
    confidence: float = CONFIDENCE
    """How often the intervals hold the truth."""
    overall: Threshold
    """For images of unknown class, from all images together."""
    classes: dict[str, Threshold] = field(default_factory=dict)
    """For images of known class; a class with too few images has none and takes the overall one."""
    scores: dict[str, tuple[float, ...]]
    """The scores of the normal images by class, sorted; under the empty name those of unknown class."""
    images: str
    """Where the images came from: the names of folders, whose places are in `places`."""
    test_images: int = 0
    """How many of them are test images of the run: with any, an evaluation on those is no longer independent."""
    model: str
    """The checksum of the model (see `model_checksum`)."""
    notices: tuple[str, ...] = ()
    """What is unusual, a sentence each; none names a place of this machine."""
    places: tuple[str, ...] = ()
    """Where on this machine that is, a sentence each, which stays here when the model leaves."""

    def threshold(self, class_name: str | None = None) -> Threshold:
        """Return the threshold for a class: its own, or the overall one where it has none or is not known."""
        return self.classes.get(class_name or UNKNOWN, self.overall)

    def reference(self, class_name: str | None = None) -> tuple[float, ...]:
        """Return the normal scores that belong to `threshold(class_name)`, sorted."""
        if class_name in self.classes:
            return self.scores[class_name]
        return tuple(sorted(score for scores in self.scores.values() for score in scores))

    def share_below(self, score: float, class_name: str | None = None) -> float:
        """Return the share of `reference(class_name)` that lies below a score, in [0, 1]."""
        return share_below(self.reference(class_name), score)

    def require_class(self, class_name: str) -> None:
        """Refuse a class of which there were no calibration images.

        Raises:
            SettingsError: there were none.
        """
        if class_name not in self.scores or class_name == UNKNOWN:
            known = ", ".join(sorted(name for name in self.scores if name)) or "no class by its name"
            raise SettingsError(f"the calibration knows no class {class_name!r}; it knows {known}")

    def to_json(self) -> str:
        """Return it as text, every score to its last bit."""
        return json.dumps({"format": NAME, "version": FORMAT, **dataclasses.asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, origin: str = FILE) -> "Calibration":
        """Return what `to_json` wrote.

        Raises:
            RunError: the text is damaged, no calibration, or of another version.
        """
        try:
            values = json.loads(text)
            found = values.pop("format"), values.pop("version")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{origin} is no calibration, or damaged ({error}); {REMEDY}") from error
        if found not in ((NAME, 1), (NAME, FORMAT)):
            raise RunError(
                f"{origin} has format {found[0]!r} {found[1]!r}; this version of invad reads {NAME!r} {FORMAT!r}"
            )
        try:
            return _from_values(values if found == (NAME, FORMAT) else _from_first(values))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise RunError(f"{origin} is damaged ({error}); {REMEDY}") from error


REMEDY = "calibrate again with `invad calibrate MODEL --overwrite`"


def share_below(reference: tuple[float, ...], score: float) -> float:
    """Return the share of sorted scores that lie below a score, in [0, 1].

    Example:
        >>> share_below((0.1, 0.2, 0.2, 0.4), 0.2)
        0.25
    """
    return bisect_left(reference, score) / len(reference)


def read_calibration(folder: Path, model: str) -> Calibration | None:
    """Return the calibration in a run folder, or None where there is none.

    Args:
        folder: the run's.
        model: the checksum of the model that it is to be used with.

    Raises:
        RunError: the file is damaged, or belongs to another model.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    calibration = Calibration.from_json(text, str(path))
    if calibration.model != model:
        raise RunError(f"{path} belongs to another model than the one in this folder (trained on since?); {REMEDY}")
    return calibration


def ridden_calibration(decision: Mapping[str, Any], model: str, origin: str) -> Calibration:
    """Return the calibration that rides in an exported file.

    Args:
        decision: what rides there.
        model: the checksum of the file's model.
        origin: the file's name, for messages.

    Raises:
        RunError: it is damaged, or belongs to another model.
    """
    calibration = Calibration.from_json(json.dumps(decision), origin)
    if calibration.model != model:
        raise RunError(
            f"the calibration in {origin} belongs to another model than the file; take one from the file's own scores: "
            f"{command('calibrate', origin, '--normal', 'FOLDER', '--overwrite')}"
        )
    return calibration


def without_places(calibration: Calibration) -> Calibration:
    """Return a calibration that may leave this machine.

    Example:
        >>> from invad.inference.thresholds import from_normal
        >>> scores = (0.1, 0.2)
        >>> found = without_places(Calibration(
        ...     method="false-alarms", wanted=0.5, overall=from_normal(scores, 0.5), scores={"": scores},
        ...     images="good", model="",
        ...     notices=("1 images cannot be read and were left out",),
        ...     places=("images: /home/ann/good", "cannot be read: /home/ann/good/1.png"),
        ... ))
        >>> found.images, found.notices, found.places
        ('good', ('1 images cannot be read and were left out',), ())
    """
    return dataclasses.replace(calibration, places=())


def _from_first(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a file of the first version: whole paths of its images, and notices that may name others."""
    images, notices = values["images"], values["notices"]
    places = [text for text in notices if "/" in text or "\\" in text]
    return {
        **values,
        "images": ", ".join(Path(place).name for place in images.split(", ")),
        "notices": [text for text in notices if text not in places],
        "places": [f"images: {images}", *places],
    }


def _from_values(values: dict[str, Any]) -> Calibration:
    scores = {str(name): tuple(float(score) for score in found) for name, found in values.pop("scores").items()}
    if not any(scores.values()) or any(list(found) != sorted(found) for found in scores.values()):
        raise ValueError("its scores are missing or not sorted")
    classes = {str(name): _threshold(one) for name, one in values.pop("classes").items()}
    if not all(scores.get(name) for name in classes):
        raise ValueError("a class has a threshold and no scores")
    return Calibration(
        overall=_threshold(values.pop("overall")),
        classes=classes,
        scores=scores,
        notices=tuple(values.pop("notices")),
        places=tuple(values.pop("places")),
        **values,
    )


def _threshold(values: Mapping[str, Any]) -> Threshold:
    """A threshold whose numbers are numbers."""
    found: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in values.items()}
    threshold = Threshold(**found)
    if not all(isinstance(value, int | float) and isfinite(value) for value in (threshold.image, threshold.pixel)):
        raise ValueError("a threshold is not a number")
    return threshold
