"""The colour scale that all pictures of a run share, from its normal images."""

import numpy as np

from invad.data import ImageSource
from invad.evaluation import score_images
from invad.model import InvAD

SCALE_IMAGES = 24
"""Training images of each class that the colour scale of maps is taken from."""
SCALE_SPAN = 1.5
"""Where the colour scale ends, in units of where it starts; defects of bottles and hazelnuts peak at 1.1 to 1.8."""


def colour_scale(model: InvAD, source: ImageSource) -> tuple[float, float]:
    """Return the map values to show as untouched and as full colour.

    The scale starts where a normal image's map peaks, and ends at SCALE_SPAN times that. Classes differ in their peaks;
    the mean of theirs lets the defects of quiet classes be seen too.
    """
    names = np.array([record.class_name for record in source.records])
    peaks = []
    for name in np.unique(names):
        members = np.flatnonzero(names == name)
        few = members[np.linspace(0, len(members) - 1, num=min(SCALE_IMAGES, len(members))).astype(np.int64)]
        scores = np.concatenate([batch for _, _, batch in score_images(model, source, few)])
        peaks.append(np.quantile(scores, 0.95))
    low = float(np.mean(peaks))
    return low, SCALE_SPAN * low
