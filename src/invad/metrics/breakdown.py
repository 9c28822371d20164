"""The same images seen otherwise: samples of several views, and defects by their type."""

from collections.abc import Sequence

import numpy as np

from invad.errors import MetricError
from invad.metrics.checks import ArrayLike, BoolArray, FloatArray, UndefinedMetricError, check_labels, check_scores
from invad.metrics.counts import rank
from invad.metrics.ranking import auroc, average_precision, check_images, f1max
from invad.metrics.results import SAMPLE_TITLES, DefectResult, SampleResult
from invad.records import GOOD


def evaluate_samples(scores: ArrayLike, labels: ArrayLike, samples: Sequence[str]) -> SampleResult:
    """S-AU-ROC, S-AP and S-F1max, as Real-IAD has them.

    Args:
        scores: float (N,), of the images.
        labels: bool or 0/1 (N,), True where the image is anomalous.
        samples: (N,), the object that each image shows. It scores as its highest view does, and is anomalous if any is.

    Raises:
        MetricError: the lengths differ, or the scores are not finite floats.

    Reference: Wang et al., Real-IAD, CVPR 2024, section 4.

    Example:
        >>> evaluate_samples([0.1, 0.9, 0.2, 0.3], [0, 1, 0, 0], ["a", "a", "b", "b"]).values["auroc_sample"]
        1.0
    """
    checked = check_scores(scores)
    highest, any_anomalous = group(checked, check_labels(labels, len(checked)), samples)
    values: dict[str, float | None] = dict.fromkeys(SAMPLE_TITLES)
    reason = None
    try:
        ranking = check_images(rank(highest[any_anomalous], highest[~any_anomalous]))
        found = auroc(ranking), average_precision(ranking), f1max(ranking)
        values.update(zip(SAMPLE_TITLES, found, strict=True))
    except UndefinedMetricError as error:
        reason = str(error).replace("image", "sample")
    return SampleResult(samples=len(highest), anomalous=int(any_anomalous.sum()), values=values, reason=reason)


def group(scores: FloatArray, labels: BoolArray, samples: Sequence[str]) -> tuple[FloatArray, BoolArray]:
    """Score and label of each sample, from those of its images."""
    if len(samples) != len(scores):
        raise MetricError(f"one sample per image is needed: there are {len(scores)} images and {len(samples)} samples")
    names, of = np.unique(np.asarray(samples, dtype=np.str_), return_inverse=True)
    highest = np.full(len(names), -np.inf, scores.dtype)
    np.maximum.at(highest, of, scores)
    return highest, np.bincount(of, weights=labels, minlength=len(names)) > 0


def evaluate_defects(
    scores: ArrayLike, defects: Sequence[str], *, threshold: float | None = None
) -> tuple[DefectResult, ...]:
    """Each type of defect against the good images, in alphabetical order.

    Args:
        scores: float (N,), of the images.
        defects: (N,), the type of defect of each image; `good` for normal ones.
        threshold: the score from which on an image counts as found; None leaves out the recall.

    Raises:
        MetricError: the lengths differ, or the scores are not finite floats.

    Example:
        >>> evaluate_defects([0.1, 0.9, 0.2, 0.3], ["good", "crack", "good", "dent"], threshold=0.5)[1]
        DefectResult(defect='dent', images=1, auroc_image=1.0, recall=0.0)
    """
    checked = check_scores(scores)
    if len(defects) != len(checked):
        raise MetricError(f"one defect per image is needed: there are {len(checked)} images and {len(defects)} defects")
    names = np.asarray(defects, dtype=np.str_)
    good = checked[names == GOOD]
    found = ((str(name), checked[names == name]) for name in np.unique(names) if name != GOOD)
    return tuple(_evaluate_defect(name, own, good, threshold) for name, own in found)


def _evaluate_defect(name: str, own: FloatArray, good: FloatArray, threshold: float | None) -> DefectResult:
    try:
        area = auroc(check_images(rank(own, good)))
    except UndefinedMetricError:
        area = None
    recall = None if threshold is None else float((own.astype(np.float64) >= threshold).mean())
    return DefectResult(defect=name, images=len(own), auroc_image=area, recall=recall)
