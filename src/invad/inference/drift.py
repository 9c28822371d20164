"""Whether new scores still look like those that the thresholds were calibrated on.

Two tests, both on ranks alone, so that they hold for any distribution of scores. With N normal calibration scores and m
new ones from the same source:

- **tail**: the new scores above the highest 5 % of the calibration's follow a beta-binomial distribution, exactly;
  too many of them means more alarms than promised, or images that are not normal.
- **shape**: the two-sample test of Kolmogorov and Smirnov, for everything else that moved: light, focus, a camera.

Each may be wrong once in 2,000 windows, so together they warn falsely in at most one window of 1,000. That holds for
images that are independent of each other; where neighbours on a line are alike, a warning comes easier. Both tests are
exact for any number of scores, but a few photos are often of one part or one moment; so fewer than ten are not tested.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from invad.errors import SettingsError
from invad.inference.calibration import Calibration
from invad.inference.thresholds import above, alarm_ranks

FALSE_WARNINGS = 0.001
"""The chance of a warning for a window of images like those calibrated on."""
TAIL = 0.05
"""The share of the highest calibration scores that counts as the tail."""
WINDOW = 500
"""Scores that are tested together."""
FEWEST = 10
"""Scores that are too few to test."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """What the tests say of one window of scores."""

    scores: int
    in_tail: int
    """Scores above the calibration's tail."""
    expected: float
    """How many of them are expected there."""
    tail: float
    """The chance of so many or more."""
    shape: float
    """The chance of a distance between the distributions as large as theirs."""

    @property
    def warns(self) -> bool:
        """Whether one of the tests fails."""
        return min(self.tail, self.shape) < FALSE_WARNINGS / 2

    def text(self) -> str:
        """Say it in a sentence."""
        return (
            f"the scores of {self.scores} images are not like those calibrated on: {self.in_tail} lie in the highest "
            f"{TAIL:.0%} of those, where {self.expected:.1f} are expected (chance of so many: {self.tail:.2g}; of "
            f"such a difference in shape: {self.shape:.2g})"
        )


def compare(reference: Sequence[float], scores: Sequence[float]) -> Drift:
    """Compare new scores (m,) with sorted calibration scores (N,).

    Example:
        >>> reference = [i / 100 for i in range(100)]
        >>> compare(reference, [0.1, 0.3, 0.5, 0.7] * 10).warns, compare(reference, [0.9] * 40).warns
        (False, True)
    """
    import numpy as np
    from scipy.stats import betabinom, ks_2samp

    known = np.asarray(reference, dtype=np.float64)
    ranks = alarm_ranks(len(known), TAIL)
    cut = above(known, TAIL)
    in_tail = sum(score >= cut for score in scores)
    chance = betabinom(len(scores), ranks, len(known) + 1 - ranks)
    return Drift(
        scores=len(scores),
        in_tail=in_tail,
        expected=float(chance.mean()),
        tail=float(chance.sf(in_tail - 1)),
        shape=float(ks_2samp(known, scores).pvalue),
    )


class DriftWatch:
    """Collects the scores of a stream, and tests them a window at a time, those of each class by themselves.

    A class is compared with its own calibration scores, however few they are: folders are read one after another, and a
    window of one class is never like all classes together.

    Args:
        calibration: whose scores the new ones are compared with.
        class_name: the class of images whose class is not told; None: not known.
        window: how many scores are tested together; fewer say sooner what many say more surely.

    Raises:
        SettingsError: the window is too small to test.

    Example:
        >>> predictor = invad.load("runs/parts")  # doctest: +SKIP
        >>> watch = DriftWatch(predictor.calibration)  # doctest: +SKIP
        >>> drift = watch.add(predictor("new.jpg").score)  # doctest: +SKIP
    """

    def __init__(self, calibration: Calibration, class_name: str | None = None, *, window: int = WINDOW) -> None:
        if window < FEWEST:
            raise SettingsError(f"a window needs {FEWEST} scores or more, not {window}")
        self._calibration = calibration
        self._class_name = class_name
        self._window = window
        self._windows: dict[str | None, list[float]] = {}
        self._references: dict[str | None, tuple[float, ...]] = {}
        self.tested = 0
        """Windows tested so far."""

    def add(self, score: float, class_name: str | None = None) -> Drift | None:
        """Take one score; return what the tests say where it fills a window."""
        name = class_name or self._class_name
        key = name if name in self._calibration.scores else None
        window = self._windows.setdefault(key, [])
        window.append(score)
        if len(window) < self._window:
            return None
        return self._test(key)

    def rest(self) -> Iterator[Drift]:
        """Yield what the tests say of the windows that are not full, but for those that are too small."""
        for key, window in self._windows.items():
            if len(window) >= FEWEST:
                yield self._test(key)

    def _test(self, key: str | None) -> Drift:
        if key not in self._references:
            scores = self._calibration.scores
            self._references[key] = scores[key] if key in scores else self._calibration.reference()
        self.tested += 1
        found = compare(self._references[key], self._windows[key])
        self._windows[key] = []
        return found
