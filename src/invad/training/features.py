"""The encoder's features of the training images, computed once where they fit in memory.

The encoder is frozen and images are not augmented, so an image's features are the same in every epoch.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor

from invad.data import ImageSource, batches
from invad.devices import to_device
from invad.model import InvAD

BLOCK = 16
"""Images encoded at a time when all of them are."""
GIB = 1024**3


def feature_batches(
    model: InvAD, source: ImageSource, indices: Sequence[NDArray[np.int64]], stored: Sequence[Tensor] | None
) -> Iterator[list[Tensor]]:
    """Yield the features, fine to coarse, (B, C_i, h_i, w_i), of each batch of images, on the model's device.

    Args:
        model: on its device.
        source: the images.
        indices: of the images of each batch.
        stored: the features of all images (see `store_features`); None: they are computed from the images.
    """
    device = next(model.trained_parameters()).device
    if stored is None:
        for _, images in batches(source, indices):
            yield model.encode(to_device(images, device))
    else:
        for batch in indices:
            chosen = torch.from_numpy(batch).to(device)
            yield [level.index_select(0, chosen) for level in stored]


def store_features(model: InvAD, source: ImageSource, budget: float, *, quiet: bool) -> list[Tensor] | None:
    """Return the features of all images, fine to coarse, (N, C_i, h_i, w_i), or None where they exceed the budget.

    Args:
        model: on its device, where the features are kept.
        source: the images.
        budget: memory for them in GiB.
        quiet: show no progress.
    """
    device = next(model.trained_parameters()).device
    blocks = all_blocks(source)
    stored: list[Tensor] = []
    shown = track(
        batches(source, blocks),
        "encoding",
        total=len(blocks),
        console=Console(stderr=True),
        disable=quiet,
        transient=True,
    )
    for indices, images in shown:
        levels = model.encode(to_device(images, device))
        if not stored:
            if sum(level[0].nbytes for level in levels) * len(source) > budget * GIB:
                return None
            stored = [level.new_empty((len(source), *level.shape[1:])) for level in levels]
        for kept, level in zip(stored, levels, strict=True):
            kept[torch.from_numpy(indices).to(device)] = level
    return stored


def all_blocks(source: ImageSource) -> list[NDArray[np.int64]]:
    """Return the indices of all images in order, in blocks of at most BLOCK and nearly one size."""
    return np.array_split(np.arange(len(source)), -(-len(source) // BLOCK))
