"""Metrics that depend on the order of the scores alone: AUROC, average precision, F1-max and IoU-max.

Each takes a `Ranking`, which holds for every distinct score of a positive how many positives and negatives reach it.
Thresholds between two such scores admit more negatives and no positive, so no maximum lies there and no step of
the precision-recall curve.
"""

from collections.abc import Iterator
from math import fsum

import numpy as np

from invad.metrics.checks import ArrayLike, UndefinedMetricError, check_labels, check_protocol, check_scores
from invad.metrics.counts import Ranking, blocks, check_pixels, count_pixels, rank
from invad.metrics.keys import IntArray
from invad.metrics.results import Protocol
from invad.metrics.thresholds import maxima_evenly


def auroc(ranking: Ranking) -> float:
    """Share of the (positive, negative) pairs in the right order, ties counted half, in [0, 1]."""
    doubled = 0
    for at, block in _steps(ranking):
        below = 2 * ranking.negatives - ranking.negatives_from[block] - ranking.negatives_above[block]
        doubled += int((at * below).sum())
    return doubled / (2 * ranking.positives * ranking.negatives)


def average_precision(ranking: Ranking) -> float:
    """Sum over the thresholds of precision times the step in recall, in [0, 1]."""
    sums = []
    for at, block in _steps(ranking):
        hits = ranking.positives_from[block]
        sums.append(float(np.sum(at * (hits / np.maximum(hits + ranking.negatives_from[block], 1)))))
    return min(1.0, fsum(sums) / ranking.positives)


def f1max(ranking: Ranking) -> float:
    """Largest F1 = 2 TP / (2 TP + FP + FN) over the thresholds, in [0, 1]."""
    found = []
    for block in blocks(len(ranking.scores)):
        hits = ranking.positives_from[block]
        found.append(np.max(2 * hits / (hits + ranking.negatives_from[block] + ranking.positives)))
    return float(max(found))


def ioumax(ranking: Ranking) -> float:
    """Largest IoU = TP / (TP + FP + FN) over the thresholds, in [0, 1]."""
    found = []
    for block in blocks(len(ranking.scores)):
        hits = ranking.positives_from[block]
        found.append(np.max(hits / (ranking.positives + ranking.negatives_from[block])))
    return float(max(found))


def _steps(ranking: Ranking) -> Iterator[tuple[IntArray, slice]]:
    """The positives at the thresholds of each block, and the block."""
    before = 0
    for block in blocks(len(ranking.scores)):
        hits = ranking.positives_from[block]
        yield np.diff(hits, prepend=before), block
        before = int(hits[-1])


def check_images(ranking: Ranking) -> Ranking:
    """The ranking of a class's images, if its image metrics are defined; else raises UndefinedMetricError."""
    if ranking.positives == 0:
        raise UndefinedMetricError("no image is anomalous")
    if ranking.negatives == 0:
        raise UndefinedMetricError("no image is normal")
    if ranking.constant:
        raise UndefinedMetricError("every image has the same score")
    return ranking


def rank_images(scores: ArrayLike, labels: ArrayLike) -> Ranking:
    """Ranking of checked image scores (N,) by their labels (N,); raises as the checks do."""
    checked = check_scores(scores)
    anomalous = check_labels(labels, len(checked))
    return check_images(rank(checked[anomalous], checked[~anomalous]))


def auroc_image(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve of the image scores, in [0, 1].

    Args:
        scores: float (N,), higher is more anomalous.
        labels: bool or 0/1 (N,), True where the image is anomalous.

    Raises:
        MetricError: shapes differ, or scores are integers, NaN or infinite.
        UndefinedMetricError: (a MetricError) one of the two labels is missing, or all scores are the same.

    Reference: Fawcett, An introduction to ROC analysis, 2006; equals scikit-learn's roc_auc_score.

    Example:
        >>> auroc_image([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
        0.75
    """
    return auroc(rank_images(scores, labels))


def ap_image(scores: ArrayLike, labels: ArrayLike) -> float:
    """Average precision of the image scores, in [0, 1]; the step sum, not a trapezoid.

    Args and raises: as `auroc_image`.

    Reference: scikit-learn's average_precision_score.

    Example:
        >>> round(ap_image([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]), 4)
        0.8333
    """
    return average_precision(rank_images(scores, labels))


def f1max_image(scores: ArrayLike, labels: ArrayLike) -> float:
    """Largest F1 of the image scores over every distinct score as threshold, in [0, 1].

    Args and raises: as `auroc_image`.

    Reference: van Rijsbergen, Information Retrieval, 1979, chapter 7.

    Example:
        >>> f1max_image([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
        0.8
    """
    return f1max(rank_images(scores, labels))


def auroc_pixel(maps: ArrayLike, masks: ArrayLike) -> float:
    """Area under the ROC curve of the pixel scores, in [0, 1].

    Args:
        maps: float16, float32 or float64 (N, H, W), or a sequence of (H, W).
        masks: bool or 0/1, as the maps; True on a defect.

    Raises:
        MetricError: shapes differ, or maps are integers, NaN or infinite.
        UndefinedMetricError: (a MetricError) no pixel is a defect, or none is normal, or all have one score.

    Reference: as `auroc_image`, over all pixels of all images.

    Example:
        >>> import numpy as np
        >>> auroc_pixel(np.array([[[0.1, 0.4], [0.35, 0.8]]]), np.array([[[0, 0], [1, 1]]]))
        0.75
    """
    return auroc(check_pixels(count_pixels(maps, masks)).ranking)


def ap_pixel(maps: ArrayLike, masks: ArrayLike) -> float:
    """Average precision of the pixel scores, in [0, 1]; the step sum, not a trapezoid.

    Args and raises: as `auroc_pixel`.

    Reference: scikit-learn's average_precision_score, over all pixels of all images.

    Example:
        >>> import numpy as np
        >>> round(ap_pixel(np.array([[[0.1, 0.4], [0.35, 0.8]]]), np.array([[[0, 0], [1, 1]]])), 4)
        0.8333
    """
    return average_precision(check_pixels(count_pixels(maps, masks)).ranking)


def f1max_pixel(maps: ArrayLike, masks: ArrayLike, *, protocol: Protocol = "exact") -> float:
    """Largest F1 of the pixel scores, in [0, 1].

    Args and raises: as `auroc_pixel`.
        protocol: `exact` tries every distinct score; `paper` 21 evenly spaced thresholds of the normalised scores.

    Reference: as `f1max_image`, over all pixels of all images.

    Example:
        >>> import numpy as np
        >>> f1max_pixel(np.array([[[0.1, 0.4], [0.35, 0.8]]]), np.array([[[0, 0], [1, 1]]]))
        0.8
    """
    paper = check_protocol(protocol) == "paper"
    counts = check_pixels(count_pixels(maps, masks))
    return maxima_evenly(counts)[0] if paper else f1max(counts.ranking)


def iou_max(maps: ArrayLike, masks: ArrayLike, *, protocol: Protocol = "exact") -> float:
    """Largest intersection over union of the defect pixels, in [0, 1].

    Args and raises: as `f1max_pixel`.

    Reference: Jaccard, The distribution of the flora in the alpine zone, 1912, over all pixels of all images.

    Example:
        >>> import numpy as np
        >>> round(iou_max(np.array([[[0.1, 0.4], [0.35, 0.8]]]), np.array([[[0, 0], [1, 1]]])), 4)
        0.6667
    """
    paper = check_protocol(protocol) == "paper"
    counts = check_pixels(count_pixels(maps, masks))
    return maxima_evenly(counts)[1] if paper else ioumax(counts.ranking)
