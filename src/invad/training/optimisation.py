"""The optimiser, as published.

Adam, learning rate 1e-3 for every 8 images of a batch, betas (0, 0.99), gradients clipped at a global norm of 5.

Reference: arXiv:2404.10760, section 5.1.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

BETAS = (0.0, 0.99)
EPSILON = 1e-8


def make_optimiser(parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Adam:
    """Return Adam as published, over these parameters; in one pass over them where the device can."""
    parameters = list(parameters)
    fused = parameters[0].device.type in ("cpu", "cuda")
    return torch.optim.Adam(parameters, lr=learning_rate, betas=BETAS, eps=EPSILON, fused=fused)


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> Tensor:
    """Scale all gradients together so that their global norm is at most `largest`; return the norm before that."""
    return nn.utils.clip_grad_norm_(parameters, largest)
