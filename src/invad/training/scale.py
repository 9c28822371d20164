"""The colour scale of a run's pictures, from its normal images."""

import numpy as np
from numpy.typing import NDArray

from invad.colours import ColourScale, Ends
from invad.data import ImageSource
from invad.evaluation import score_images
from invad.inference.scorer import plain_scorer
from invad.model import InvAD

SCALE_IMAGES = 24
"""Training images of each class that the colour scale of maps is taken from."""


def colour_scale(model: InvAD, source: ImageSource) -> ColourScale:
    """Return the scale of each class by the maps of some of its normal images.

    It is the same whatever unit or offset the maps have: those of raw and of standardised features differ in both.
    """
    scorer = plain_scorer(model, source.size)
    names = np.array([record.class_name for record in source.records])
    scales: dict[str, Ends] = {}
    for name in np.unique(names):
        members = np.flatnonzero(names == name)
        few = members[np.linspace(0, len(members) - 1, num=min(SCALE_IMAGES, len(members))).astype(np.int64)]
        maps, peaks = zip(*((maps, peaks) for _, maps, peaks in score_images(scorer, source, few)), strict=True)
        scales[str(name)] = scale_of_normal(np.concatenate(maps), np.concatenate(peaks))
    return ColourScale.from_classes(scales)


def scale_of_normal(maps: NDArray[np.float32], peaks: NDArray[np.float32]) -> Ends:
    """Return where colours begin and end, by maps (N, H, W) of normal images and their maxima (N,).

    They begin at the peak that three of four normal images stay below, and are full as far above it as it is above the
    median of all pixels. The highest peaks of normal images say less: one soiled part among them would hide defects.

    Example:
        >>> maps = np.array([[[0.1, 0.2, 0.4]], [[0.2, 0.2, 0.6]]])
        >>> low, high = scale_of_normal(maps, maps.max(axis=(1, 2)))
        >>> round(low, 2), round(high, 2)
        (0.55, 0.9)
    """
    low = float(np.quantile(peaks, 0.75))
    return low, 2 * low - float(np.median(maps))
