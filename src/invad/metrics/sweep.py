"""What a threshold does, as few rows: the rates from which ROC, precision-recall and PRO curves are drawn.

The exact curves (`invad.metrics.curves`) have a point for each distinct score of a defect pixel, often millions. Rows
are left out in two steps, each of which may cost half of `TOLERANCES`: first those between which no rate leaves a cell
of that width, in one pass; then those that lie on a straight line through the rest (Ramer, Douglas and Peucker). A line
drawn through what stays is nowhere further from the exact one than the tolerances.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from invad.metrics.checks import ArrayLike, BoolArray
from invad.metrics.counts import PixelCounts, Ranking, blocks, check_pixels, count_pixels
from invad.metrics.keys import Float64Array
from invad.metrics.ranking import rank_images

TOLERANCES = np.array([1 / 2000, 1 / 500, 1 / 500, 1 / 500])
"""Of false positive rate, recall, precision and overlap: less than a pixel where a curve's axes are drawn up to 500
pixels long. The first is finer because PRO is drawn up to a false positive rate of 0.3."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """Rates at thresholds from above the highest score, where nothing counts, to the lowest, where everything does."""

    thresholds: Float64Array  # (K,) descending; a score counts where it is >= the threshold
    false_positive_rate: Float64Array  # (K,)
    recall: Float64Array  # (K,) the true positive rate
    precision: Float64Array  # (K,) 1 where nothing counts
    overlap: Float64Array | None  # (K,) the share of each region that counts, mean over the regions; None for images
    best: float
    """The threshold with the highest F1; of several, the highest."""


def sweep_images(scores: ArrayLike, labels: ArrayLike) -> Sweep:
    """The rates of images, without thinning.

    Args and raises: as `auroc_image`.

    Example:
        >>> sweep = sweep_images([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
        >>> sweep.best, sweep.recall.tolist()
        (0.35, [0.0, 0.0, 0.5, 0.5, 1.0, 1.0])
    """
    ranking = rank_images(scores, labels)
    return _join([_rows(ranking, None, block) for block in blocks(len(ranking.scores))], ranking, None)


def sweep_pixels(maps: ArrayLike, masks: ArrayLike) -> Sweep:
    """The rates of pixels and regions, thinned.

    Args and raises: as `auroc_pixel`.

    Example:
        >>> import numpy as np
        >>> sweep_pixels(np.array([[[0.1, 0.2, 0.0, 0.9]]]), np.array([[[0, 0, 0, 1]]])).best
        0.9
    """
    return sweep_counts(count_pixels(maps, masks))


def sweep_counts(counts: PixelCounts) -> Sweep:
    """The rates of a class from its counts; raises UndefinedMetricError where they are not defined."""
    check_pixels(counts)
    ranking = counts.ranking
    kept = [*_thinned(_rows(ranking, counts, block) for block in blocks(len(ranking.scores))), _fixed_rows(counts)]
    return _join(kept, ranking, counts)


def f1max_threshold(ranking: Ranking) -> float:
    """The threshold with the highest F1; of several, the highest."""
    found = [
        (float(f1[at := int(np.argmax(f1))]), float(ranking.scores[block][at]))
        for block in blocks(len(ranking.scores))
        if len(f1 := _f1(ranking, block))
    ]
    return max(found)[1]


def _f1(ranking: Ranking, block: slice) -> Float64Array:
    hits = ranking.positives_from[block]
    f1: Float64Array = 2 * hits / (hits + ranking.negatives_from[block] + ranking.positives)
    return f1


Rows = Float64Array
"""(K, 5): threshold, false positive rate, recall, precision, overlap."""


def _rows(ranking: Ranking, counts: PixelCounts | None, block: slice) -> Rows:
    """Two rows for each score of a positive in the block: just above it, and at it."""
    scores = ranking.scores[block].astype(np.float64)
    hits, overlap = ranking.positives_from[block], _overlaps(ranking, counts, block)
    if block.start:
        one = slice(block.start - 1, block.start)
        start, level = ranking.positives_from[one], _overlaps(ranking, counts, one)
    else:
        start, level = np.zeros(1, np.int64), np.zeros(1)
    above = _table(
        np.nextafter(scores, np.inf),
        ranking.negatives_above[block],
        np.append(start, hits[:-1]),
        np.append(level, overlap[:-1]),
        ranking,
    )
    at = _table(scores, ranking.negatives_from[block], hits, overlap, ranking)
    return np.stack((above, at), axis=1).reshape(-1, 5)


def _overlaps(ranking: Ranking, counts: PixelCounts | None, block: slice) -> Float64Array:
    """The overlap of regions; of images, which have none, 0."""
    return np.zeros(len(ranking.scores[block])) if counts is None else counts.overlaps(block)


def _fixed_rows(counts: PixelCounts) -> Rows:
    """Rows at the fixed cuts, which lie where no defect pixel does, too."""
    cuts = counts.fixed.cuts.astype(np.float64)
    hits, alarms, overlap = counts.at(cuts)
    return _table(cuts, alarms, hits, overlap, counts.ranking)


def _table(
    thresholds: Float64Array,
    alarms: npt.NDArray[np.int64],
    hits: npt.NDArray[np.int64],
    overlap: Float64Array,
    ranking: Ranking,
) -> Rows:
    predicted = hits + alarms
    precision = np.where(predicted > 0, hits / np.maximum(predicted, 1), 1.0)
    columns = (thresholds, alarms / ranking.negatives, hits / ranking.positives, precision, np.minimum(overlap, 1.0))
    return np.column_stack(columns)


def _thinned(parts: Iterator[Rows]) -> Iterator[Rows]:
    """The first and last row of each run of rows whose rates stay in one cell."""
    for rows in parts:
        cells = np.floor(rows[:, 1:] / (TOLERANCES / 2))
        moved: BoolArray = (cells[1:] != cells[:-1]).any(axis=1)
        yield rows[np.append(True, moved) | np.append(moved, True)]


def _corners(rows: Rows) -> BoolArray:
    """Which rows are not on the line between those that stay, the ends always among them; (K,)."""
    stay = np.zeros(len(rows), np.bool_)
    stay[[0, -1]] = True
    waiting = [(0, len(rows) - 1)]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        part = rows[first : last + 1]
        span = part[0, 0] - part[-1, 0]
        share = (part[0, 0] - part[:, :1]) / span if span > 0 else np.zeros((len(part), 1))
        line = part[0, 1:] + share * (part[-1, 1:] - part[0, 1:])
        away = (np.abs(part[:, 1:] - line) / (TOLERANCES / 2)).max(axis=1)
        furthest = int(np.argmax(away))
        if away[furthest] > 1:
            stay[first + furthest] = True
            waiting += [(first, first + furthest), (first + furthest, last)]
    return stay


def _join(parts: list[Rows], ranking: Ranking, counts: PixelCounts | None) -> Sweep:
    """All rows from the highest threshold to the lowest, with one at each end."""
    rows = np.concatenate(parts)
    if counts is not None:  # images' lowest and highest scores may be those of negatives, whose rows come by these ends
        ends = np.array([(np.nextafter(counts.highest, np.inf), 0, 0, 1, 0), (counts.lowest, 1, 1, np.nan, 1)])
    else:
        ends = np.array([(np.inf, 0, 0, 1, 0), (-np.inf, 1, 1, np.nan, 0)])
    ends[1, 3] = ranking.positives / (ranking.positives + ranking.negatives)
    rows = np.concatenate((rows, ends))
    order = np.lexsort((rows[:, 1], rows[:, 2], -rows[:, 0]))
    rows = rows[order]
    rows = rows[np.append(True, (rows[1:] != rows[:-1]).any(axis=1))]
    if counts is not None:
        rows = rows[_corners(rows)]
    return Sweep(
        thresholds=rows[:, 0],
        false_positive_rate=rows[:, 1],
        recall=rows[:, 2],
        precision=rows[:, 3],
        overlap=None if counts is None else rows[:, 4],
        best=f1max_threshold(ranking),
    )
