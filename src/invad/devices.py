"""Which device to compute on, and how images get there."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invad.errors import SettingsError


def choose_device(name: str) -> torch.device:
    """Return the device of this name; `auto` is the first accelerator there is, else the CPU.

    Raises:
        SettingsError: there is no such device on this machine.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return device


def to_device(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return images (B, H, W, 3) as a uint8 tensor (B, 3, H, W) on the device."""
    return torch.from_numpy(images).to(device, non_blocking=True).permute(0, 3, 1, 2)
