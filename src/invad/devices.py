"""Which device to compute on, in which precision, and how images get there."""

import platform
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invad.errors import SettingsError
from invad.settings import Precision


def choose_device(name: str) -> torch.device:
    """Return the device of this name; `auto` is the first accelerator there is, else the CPU.

    `auto:2` is the third of several, counted in circles: which one a process takes that shares a machine with others.

    Raises:
        SettingsError: there is no such device on this machine.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    kind, _, number = name.partition(":")
    if kind == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", int(number) % torch.cuda.device_count()) if number else torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return device


def processor_flags() -> tuple[str, ...]:
    """Return the instruction sets of the processor, sorted; none where torch is too old to tell (before 2.10).

    Example:
        >>> isinstance(processor_flags(), tuple)
        True
    """
    ask = getattr(torch.cpu, "get_capabilities", None)
    return tuple(sorted(name for name, has in ask().items() if has is True)) if ask else ()


def processor_name() -> str:
    """Return the processor's model, as its maker calls it; `unknown` where the system does not tell.

    Example:
        >>> processor_name() != ""
        True
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # there is none but on Linux
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (named[0] if named else platform.processor()) or "unknown"


def fastest_precision(device: torch.device) -> Precision:
    """Return the precision that a device is fastest in: bf16 where it has instructions for it, else fp32.

    Example:
        >>> fastest_precision(torch.device("cpu")) in ("fp32", "bf16")
        True
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and any("bf16" in flag for flag in processor_flags()) else "fp32"


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """A context in which a GPU's convolutions give the same bits every time, and fp32 means fp32 and not TF32.

    PyTorch keeps both for the whole process. Threads may be in the context at the same time: the first one in sets them
    and the last one out puts back what it found.
    """
    _exact.enter()
    try:
        yield
    finally:
        _exact.leave()


class _Exact:
    """How many are in the context, and what to put back."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = Lock(), 0, ExitStack()

    def enter(self) -> None:
        with self._lock:
            if not self._inside:
                with ExitStack() as entered:
                    entered.enter_context(
                        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
                    )
                    entered.callback(_set_exact_products())
                    self._before = entered.pop_all()
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._before.close()


_exact = _Exact()


def _set_exact_products() -> Callable[[], None]:
    """Have matrix products in fp32 be exact; return what puts back what the caller had chosen, in either way to."""
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # by the newer way, which the older one does not mix with
        products = torch.backends.cuda.matmul
        chosen: str = products.fp32_precision
        products.fp32_precision = "ieee"
        return lambda: setattr(products, "fp32_precision", chosen)
    torch.set_float32_matmul_precision("highest")
    return lambda: torch.set_float32_matmul_precision(before)


def to_device(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return images (B, H, W, 3) as a uint8 tensor (B, 3, H, W) on the device."""
    return torch.from_numpy(images).to(device, non_blocking=True).permute(0, 3, 1, 2)
