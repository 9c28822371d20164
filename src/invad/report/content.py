"""What a report is made of: everything that the page shows, before any of it is drawn."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from invad.colours import ColourScale
from invad.metrics import Results, Sweep
from invad.report.examples import Kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What was trained and evaluated, and how; every text as it shall be read."""

    title: str
    model: str
    encoder: str
    data: str
    trained: str
    """When the training ended."""
    evaluated: str
    """When the numbers were made."""
    settings: Mapping[str, str]
    """Name -> value of every setting of the training."""
    versions: Mapping[str, str]
    """Name -> version of what the run depends on, and its machine, as they were then."""
    evaluated_with: Mapping[str, str]
    """The same of the evaluation, where it differs."""
    seeds_and_hashes: Mapping[str, str]
    """Name -> what the run's chance and its numbers come from."""
    commands: tuple[str, ...]
    """What makes the run and its numbers again."""
    notes: tuple[str, ...] = ()
    """Sentences that a reader of the numbers must know."""
    images: Mapping[str, tuple[int, int]] | None = None
    """Class -> images trained on and held back; None where the run does not know."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataCheck:
    """What a look at the training data found."""

    said: str
    """What was looked at, and the verdict."""
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """A threshold and where it comes from."""

    name: str
    """Short, for a button."""
    value: float
    """A score counts from here on."""
    origin: str
    """A sentence's end: `the threshold that ...`."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClassContent:
    """All test images of one class."""

    name: str
    defects: tuple[str, ...]
    """The type of defect of each, `good` for none."""
    scores: NDArray[np.float32]
    """(N,)."""
    cuts: tuple[Cut, ...]
    """Thresholds of images; the page starts at the first. None where there are no two labels and no calibration."""
    pixel_cut: Cut | None
    """From where on a pixel is drawn as defective."""
    sweep: Sweep | None
    """What a threshold does to the pixels; None where that is not defined."""
    notes: tuple[str, ...] = ()
    """Sentences that a reader of its numbers must know."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Example:
    """One image of the gallery."""

    class_name: str
    defect: str
    label: str
    """The name to find the file by."""
    score: float
    image: NDArray[np.uint8]
    """RGB, (H, W, 3)."""
    anomaly_map: NDArray[np.float32]
    """(h, w)."""
    mask: NDArray[np.bool_] | None
    """The drawn defect, (h', w'); None for a good image, or where nobody drew one."""
    kind: Kind


@dataclass(frozen=True, kw_only=True, slots=True)
class LearningCurve:
    """Losses over epochs."""

    learnt: tuple[tuple[float, float], ...]
    smoothed: tuple[tuple[float, float], ...]
    """The running mean of `learnt`; empty where so few losses need none."""
    held_back: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """The published row of the same model and data."""

    values: Mapping[str, float]
    """Key -> number, times 100."""
    classes: int
    """Of how many classes it is the mean."""
    notes: tuple[str, ...] = ()
    """What else differs, a sentence each."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Content:
    """A whole report."""

    facts: Facts
    results: tuple[Results, ...]
    """One for each protocol, at least one; the headline numbers are those of the first."""
    published: Published | None
    classes: tuple[ClassContent, ...]
    examples: tuple[Example, ...]
    scale: ColourScale
    """Of all heatmaps."""
    curve: LearningCurve
    check: DataCheck
