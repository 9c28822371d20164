"""Curves for plotting: every point at which they turn, with the thresholds."""

from dataclasses import dataclass

import numpy as np

from invad.metrics.checks import ArrayLike, FloatArray
from invad.metrics.counts import Ranking, check_pixels, count_pixels
from invad.metrics.keys import Float64Array
from invad.metrics.ranking import rank_images


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Points of a curve, from the highest threshold to the lowest; a score counts where it is >= the threshold."""

    x: Float64Array  # (K,) in [0, 1]
    y: Float64Array  # (K,) in [0, 1]
    thresholds: Float64Array  # (K,) infinite where nothing counts, minus infinite where everything does

    def thinned(self, points: int = 1000) -> "Curve":
        """At most so many of the points, both ends among them: enough for a plot, not for an area.

        Example:
            >>> roc_image([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]).thinned(2).y.tolist()
            [0.0, 1.0]
        """
        chosen = np.unique(np.linspace(0, len(self.x) - 1, max(2, points)).round().astype(np.intp))
        return Curve(x=self.x[chosen], y=self.y[chosen], thresholds=self.thresholds[chosen])


def corners(ranking: Ranking, x: FloatArray, x_before: FloatArray, y: FloatArray) -> Curve:
    """A curve that runs level to x_before (J,) and then straight to (x, y), at each distinct score of a positive."""
    across = np.column_stack((x_before, x)).ravel()
    up = np.column_stack((np.append(0.0, y[:-1]), y)).ravel()
    scores = ranking.scores.astype(np.float64)
    thresholds = np.column_stack((np.nextafter(scores, np.inf), scores)).ravel()
    return Curve(
        x=np.concatenate(([0.0], across, [1.0])),
        y=np.concatenate(([0.0], up, [1.0])),
        thresholds=np.concatenate(([np.inf], thresholds, [-np.inf])),
    )


def roc(ranking: Ranking) -> Curve:
    """False positive rate against true positive rate; the area under its points is the AUROC."""
    false, before = ranking.negatives_from / ranking.negatives, ranking.negatives_above / ranking.negatives
    return corners(ranking, false, before, ranking.positives_from / ranking.positives)


def precision_recall(ranking: Ranking) -> Curve:
    """Recall against precision, at each distinct score of a positive; average precision is its sum of steps."""
    predicted = ranking.positives_from + ranking.negatives_from
    return Curve(
        x=np.append(0.0, ranking.positives_from / ranking.positives),
        y=np.append(1.0, ranking.positives_from / predicted),
        thresholds=np.append(np.inf, ranking.scores.astype(np.float64)),
    )


def roc_image(scores: ArrayLike, labels: ArrayLike) -> Curve:
    """ROC curve of the image scores: x false positive rate, y true positive rate.

    Args and raises: as `auroc_image`.

    Example:
        >>> curve = roc_image([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
        >>> curve.x.tolist(), curve.y.tolist()
        ([0.0, 0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.0, 0.5, 0.5, 1.0, 1.0])
    """
    return roc(rank_images(scores, labels))


def pr_image(scores: ArrayLike, labels: ArrayLike) -> Curve:
    """Precision-recall curve of the image scores: x recall, y precision; it starts at (0, 1).

    Args and raises: as `auroc_image`.

    Example:
        >>> pr_image([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]).y.round(4).tolist()
        [1.0, 1.0, 0.6667]
    """
    return precision_recall(rank_images(scores, labels))


def roc_pixel(maps: ArrayLike, masks: ArrayLike) -> Curve:
    """ROC curve of the pixel scores: x false positive rate, y true positive rate.

    Args and raises: as `auroc_pixel`.

    Example:
        >>> roc_pixel(np.array([[[0.1, 0.4], [0.35, 0.8]]]), np.array([[[0, 0], [1, 1]]])).y.tolist()
        [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]
    """
    return roc(check_pixels(count_pixels(maps, masks)).ranking)


def pr_pixel(maps: ArrayLike, masks: ArrayLike) -> Curve:
    """Precision-recall curve of the pixel scores: x recall, y precision; it starts at (0, 1).

    Args and raises: as `auroc_pixel`.

    Example:
        >>> pr_pixel(np.array([[[0.1, 0.4], [0.35, 0.8]]]), np.array([[[0, 0], [1, 1]]])).y.round(4).tolist()
        [1.0, 1.0, 0.6667]
    """
    return precision_recall(check_pixels(count_pixels(maps, masks)).ranking)


def pro(maps: ArrayLike, masks: ArrayLike) -> Curve:
    """Per-region overlap (y) against the false positive rate (x), the whole of the exact curve.

    Args and raises: as `aupro`.

    Example:
        >>> pro(np.array([[[0.1, 0.2, 0.0, 0.9]]]), np.array([[[0, 0, 0, 1]]])).y.tolist()
        [0.0, 0.0, 1.0, 1.0]
    """
    counts = check_pixels(count_pixels(maps, masks))
    ranking = counts.ranking
    false, before = ranking.negatives_from / ranking.negatives, ranking.negatives_above / ranking.negatives
    return corners(ranking, false, before, counts.overlaps())
