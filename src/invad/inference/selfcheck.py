"""Does an exported model say what its run says? Asked at every export, on real images where there are any."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from invad.errors import ModelFileError
from invad.inference.graph import resize
from invad.inference.inputs import spread
from invad.inference.scorer import Scorer, Scores

Scoring = Callable[[NDArray[np.uint8]], Scores]
TINY = float(np.finfo(np.float32).tiny)
BOUND = 1e-4
"""The largest difference of an fp32 map or score that is rounding, as a share of the maps' range."""
COMPARED = 8
"""Images whose maps are compared."""
OF_OTHER_SIZES = 2
"""How many of them are compared at each other size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """Images that are scored in one call, and what is wanted of them."""

    images: NDArray[np.uint8]
    """(B, h, w, 3), of any size."""
    maps: NDArray[np.float32]
    """(B, H, W)."""
    scores: NDArray[np.float32]
    """(B,)."""

    @classmethod
    def of(cls, reference: Scoring, images: NDArray[np.uint8]) -> "Case":
        """Return images (B, h, w, 3) with what the reference says of them."""
        maps, scores = reference(images)
        return cls(images=images, maps=maps, scores=scores)


@dataclass(frozen=True, kw_only=True, slots=True)
class Differences:
    """The largest differences of a scorer from what is wanted of it; NaN where there are values that are no numbers."""

    map: float
    """Of a map's value, as a share of the range of all wanted maps."""
    score: float
    """Of an image's score, as the same share: a score is a map's maximum."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """What a lower precision costs, in points of 100."""

    measure: str
    """`image AUROC`, or `agreement` where there are no labels."""
    images: str
    """Which images it was measured on."""
    before: float
    after: float

    @property
    def drop(self) -> float:
        """How much is lost; below 0 where the lower precision happens to do better, NaN where a score is no number."""
        return self.before - self.after


def cases(reference: Scorer, images: Sequence[NDArray[np.uint8]]) -> list[Case]:
    """Return all that an exported model is compared on: images alone, all at once, and some at two other sizes.

    A graph resizes by matrix products of whole numbers, a run as Pillow does, which may be a grey level off. Of images
    of another size the reference is therefore given what `resize` makes of them in PyTorch: the graph must get the same
    pixels, and rounding stays the only difference. (It does up to some 3,600 pixels a side of the model's input, at
    three times its size; there float32 no longer holds the sums.)

    Args:
        reference: the run's; it is asked once for each image.
        images: of the model's input size, (H, W, 3) each, at least one.
    """
    some = spread(images, COMPARED)
    chosen = np.stack([*some, some[0][::-1]] if len(some) == 1 else some)  # at least two, to be taken at once
    alone = [Case.of(reference, image[None]) for image in chosen]
    together = Case(
        images=chosen,
        maps=np.concatenate([case.maps for case in alone]),
        scores=np.concatenate([case.scores for case in alone]),
    )
    resized = (
        replace(Case.of(reference, _as_the_graph_resizes(images, reference.size)), images=images)
        for images in other_sizes(chosen[:OF_OTHER_SIZES])
    )
    return [*alone, together, *resized]


def other_sizes(images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return images (B, H, W, 3) cut to be smaller, and laid side by side and cut to be larger; neither keeps H : W.

    Example:
        >>> smaller, larger = other_sizes(np.zeros((2, 60, 60, 3), dtype=np.uint8))
        >>> smaller.shape, larger.shape
        ((2, 40, 45, 3), (2, 168, 155, 3))
    """
    height, width = images.shape[1:3]
    tiles = np.concatenate([images, images[:, :, ::-1], images], axis=2)  # mirrored, so that no edge is a seam
    tiles = np.concatenate([tiles, tiles[:, ::-1], tiles], axis=1)
    return (
        np.ascontiguousarray(images[:, : height - height // 3, : width - width // 4]),
        np.ascontiguousarray(tiles[:, : 3 * height - height // 5, : 3 * width - 5 * width // 12]),
    )


def _as_the_graph_resizes(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    planes = resize(torch.from_numpy(images).permute(0, 3, 1, 2), size)  # (B, 3, H, W)
    return planes.permute(0, 2, 3, 1).to(torch.uint8).contiguous().numpy()


def compare(wanted: Sequence[Case], scorer: Scoring) -> Differences:
    """Return the largest differences of a scorer from what is wanted of it.

    Example:
        >>> def zeros(images):
        ...     return np.zeros((len(images), 2, 2), np.float32), np.zeros(len(images), np.float32)
        >>> def ones(images):
        ...     return np.eye(2, dtype=np.float32)[None], np.ones(len(images), np.float32)
        >>> compare([Case.of(ones, np.zeros((1, 4, 4, 3), np.uint8))], zeros)
        Differences(map=1.0, score=1.0)
    """
    found = [scorer(case.images) for case in wanted]
    of_map = np.max([_largest(case.maps, maps) for case, (maps, _) in zip(wanted, found, strict=True)])
    of_score = np.max([_largest(case.scores, scores) for case, (_, scores) in zip(wanted, found, strict=True)])
    low, high = np.min([case.maps.min() for case in wanted]), np.max([case.maps.max() for case in wanted])
    extent = np.maximum(float(high) - float(low), TINY)  # NumPy's: unlike Python's, they do not pass over NaN
    return Differences(map=float(of_map / extent), score=float(of_score / extent))


def _largest(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """The largest difference; infinite where the shapes differ, NaN where a value is no number."""
    if wanted.shape != found.shape:
        return math.inf
    with np.errstate(invalid="ignore"):  # infinity less infinity is NaN, as it should be
        return float(np.abs(wanted.astype(np.float64) - found).max())


def require_same(found: Differences, origin: str) -> None:
    """Refuse an fp32 model that does not score as its run does.

    Args:
        found: its differences.
        origin: the images they were found on.

    Raises:
        ModelFileError: a map or a score differs by more than rounding, or is no number.
    """
    if not (found.map <= BOUND and found.score <= BOUND):  # NaN is refused too
        raise ModelFileError(
            f"the exported model's maps differ from the run's by {found.map:.2g} of their range, its scores by "
            f"{found.score:.2g} (bound: {BOUND:g}), on {origin}; no file is written. A fault of invad or the runtime: "
            f"please report it"
        )


def require_worth(found: Differences, loss: Loss, precision: str, max_drop: float) -> None:
    """Refuse a model of a lower precision that costs too much.

    Args:
        found: its differences.
        loss: what it costs.
        precision: its name.
        max_drop: the most that it may cost, in points.

    Raises:
        ModelFileError: it costs more, or gives maps or scores that are no numbers.
    """
    if not np.isfinite([found.map, found.score, loss.drop]).all():
        raise ModelFileError(
            f"in {precision} the model gives maps or scores that are no numbers; no file is written. Choose a higher "
            f"--precision"
        )
    if not loss.drop <= max_drop:  # a bound that is NaN allows nothing
        raise ModelFileError(
            f"{precision} costs {loss.drop:.2f} points of {loss.measure} ({loss.before:.2f} to {loss.after:.2f}, on "
            f"{loss.images}), more than {max_drop:g}; no file is written. Choose a higher --precision, or allow it: "
            f"--max-drop POINTS"
        )


def measure_loss(
    reference: Scorer,
    scorer: Scorer,
    images: Sequence[NDArray[np.uint8]],
    labels: Sequence[tuple[str, bool]],
    origin: str,
) -> Loss:
    """Return what the scorer loses against the reference: image AUROC where there are labels, else agreement.

    Args:
        reference: the run's.
        scorer: the exported one.
        images: (H, W, 3) each.
        labels: the class of each, and whether it is anomalous; empty: not known. The AUROC is the mean of the classes.
        origin: what the images are.
    """
    before, after = (scores_of(one, images) for one in (reference, scorer))
    measure, points = "agreement" if not labels else "image AUROC", (math.nan, math.nan)
    if np.isfinite(before).all() and np.isfinite(after).all():
        points = (
            (_mean_auroc(before, labels), _mean_auroc(after, labels))
            if labels
            else (100.0, 100.0 * agreement(before, after))
        )
    return Loss(measure=measure, images=origin, before=points[0], after=points[1])


def _mean_auroc(scores: NDArray[np.float32], labels: Sequence[tuple[str, bool]]) -> float:
    """The mean over the classes of the image AUROC, in points."""
    from invad.metrics import auroc_image

    names = np.array([name for name, _ in labels])
    anomalous = np.array([label for _, label in labels])
    return 100.0 * float(np.mean([auroc_image(scores[names == n], anomalous[names == n]) for n in np.unique(names)]))


def scores_of(scorer: Scorer, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return the score of each image (H, W, 3), (N,)."""
    return np.concatenate([scorer(image[None])[1] for image in images])


def agreement(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """Return the share of images that two sets of scores (N,) decide alike, in [0, 1].

    It is the mean over as many thresholds as there are images: the scores `before` themselves.

    Example:
        >>> scores = np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32)
        >>> agreement(scores, scores)
        1.0
        >>> agreement(scores, np.array([0.1, 0.2, 0.3, 0.1], dtype=np.float32))  # one of four crosses three of four
        0.8125
    """
    alike = (before[:, None] >= before[None, :]) == (after[:, None] >= before[None, :])
    return float(alike.mean())
