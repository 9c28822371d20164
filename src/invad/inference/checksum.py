"""What tells one model from another."""

import hashlib

import torch

from invad.model import InvAD
from invad.scoring import SIGMA


def model_checksum(model: InvAD) -> str:
    """Return the SHA-256 of all weights and statistics of a model, encoder included, by name; half a second a GiB.

    A blur that is not the published one counts too: thresholds of one say nothing about another.
    """
    digest = hashlib.sha256()
    if model.sigma != SIGMA:
        digest.update(f"sigma {model.sigma!r}\n".encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
