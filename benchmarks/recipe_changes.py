"""Changes of the training that were tried for the recipe `aligned` and are no options of the software.

Each makes a context in which a run of the loss `cosine` trains otherwise; what it saves is an ordinary run.
docs/recipes.md has what they bring.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from invad.model import invad
from invad.model.neck import Neck

DROPPED = 0.2
"""The share of what the neck has merged that is dropped, as in Dinomaly (arXiv:2405.14325)."""


def hard_of_batch() -> AbstractContextManager[object]:
    """As in the loss `hard-cosine`, with the share taken of the positions of all images together, as in Dinomaly."""

    def compare(prediction: Tensor, feature: Tensor) -> Tensor:
        distance = 1.0 - F.cosine_similarity(prediction, feature, dim=1)
        easy = distance < torch.quantile(distance.detach(), 1.0 - invad.HARD_SHARE)
        return torch.where(easy, invad.EASY_WEIGHT * distance, distance).mean()

    return patch.dict(invad._DISTANCES, cosine=compare)


def squares() -> AbstractContextManager[object]:
    """A position counts as much as its distance is large: the mean square of the distances over their mean."""

    def compare(prediction: Tensor, feature: Tensor) -> Tensor:
        distance = 1.0 - F.cosine_similarity(prediction, feature, dim=1)
        return (distance * distance.detach()).mean() / distance.detach().mean()

    return patch.dict(invad._DISTANCES, cosine=compare)


def dropout() -> AbstractContextManager[object]:
    """A part of what the neck has merged is dropped at random, so that the decoder cannot copy."""
    unchanged = Neck.forward

    def forward(neck: Neck, features: Sequence[Tensor]) -> list[Tensor]:
        drop = neck.merge.register_forward_hook(lambda merge, _, x: F.dropout(x, DROPPED, merge.training))
        try:
            return unchanged(neck, features)
        finally:
            drop.remove()

    return patch.object(Neck, "forward", forward)


CHANGES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "hard-of-batch": hard_of_batch,
    "squares": squares,
    "dropout": dropout,
}
