"""The optimiser, as published.

Adam, learning rate 1e-3 for every 8 images of a batch, betas (0, 0.99), gradients clipped at a global norm of 5.

Reference: arXiv:2404.10760, section 5.1.
"""

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor, nn

BETAS = (0.0, 0.99)
EPSILON = 1e-8


def make_optimiser(parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Adam:
    """Return Adam as published, over these parameters; in one pass over them where the device can.

    On an NVIDIA GPU it can be recorded (see `invad.training.gpu_steps`), and its learning rate is a tensor there.
    """
    parameters = list(parameters)
    device = parameters[0].device
    on_gpu, fused = device.type == "cuda", device.type in ("cpu", "cuda")
    if on_gpu:  # the first steps of those that are recorded are not yet
        warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")
    rate = torch.tensor(learning_rate, device=device) if on_gpu else learning_rate
    return torch.optim.Adam(parameters, lr=rate, betas=BETAS, eps=EPSILON, fused=fused, capturable=on_gpu)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> Tensor:
    """Scale all gradients together so that their global norm is at most `largest`; return the norm before that."""
    return nn.utils.clip_grad_norm_(parameters, largest)
