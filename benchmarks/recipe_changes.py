"""Changes of the training that were tried for the recipe `aligned` and are no options of the software.

Each makes a context in which a run of the loss `cosine` trains otherwise; what it saves is an ordinary run.
docs/recipes.md has what they bring.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from invad.model import invad


def hard_of_batch() -> AbstractContextManager[object]:
    """As in the loss `hard-cosine`, with the share taken of the positions of all images together, as in Dinomaly
    (arXiv:2405.14325).
    """

    def compare(prediction: Tensor, feature: Tensor) -> Tensor:
        distance = 1.0 - F.cosine_similarity(prediction, feature, dim=1)
        easy = distance < torch.quantile(distance.detach(), 1.0 - invad.HARD_SHARE)
        return torch.where(easy, invad.EASY_WEIGHT * distance, distance).mean()

    return patch.dict(invad._DISTANCES, cosine=compare)


CHANGES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "hard-of-batch": hard_of_batch,
}
