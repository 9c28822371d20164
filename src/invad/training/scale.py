"""The colour scale of a run's pictures, from its normal images."""

import numpy as np

from invad.colours import ColourScale
from invad.data import ImageSource
from invad.evaluation import score_images
from invad.model import InvAD

SCALE_IMAGES = 24
"""Training images of each class that the colour scale of maps is taken from."""


def colour_scale(model: InvAD, source: ImageSource) -> ColourScale:
    """Return the scale whose colours begin where the map of a class's normal images peaks (their 95th percentile)."""
    names = np.array([record.class_name for record in source.records])
    peaks = {}
    for name in np.unique(names):
        members = np.flatnonzero(names == name)
        few = members[np.linspace(0, len(members) - 1, num=min(SCALE_IMAGES, len(members))).astype(np.int64)]
        scores = np.concatenate([batch for _, _, batch in score_images(model, source, few)])
        peaks[str(name)] = float(np.quantile(scores, 0.95))
    return ColourScale.from_peaks(peaks)
