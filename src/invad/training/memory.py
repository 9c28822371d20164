"""What happens where memory runs out: less at a time, and in the end a sentence on what to choose."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invad.devices import to_device
from invad.errors import RunError
from invad.model import InvAD

Made = TypeVar("Made")

ONE_IMAGE = "memory does not hold the work on a single image; choose a smaller --image-size, --encoder or --model"


class InPieces:
    """Work on images that do not depend on each other: all at once, and half as many at a time once memory runs out.

    Example:
        >>> InPieces()(lambda piece: list(range(5))[piece], 5)
        [[0, 1, 2, 3, 4]]
    """

    def __init__(self) -> None:
        self.most: int | None = None
        """Images at a time, from now on; None: memory has not run out."""

    def __call__(self, work: Callable[[slice], Made], count: int) -> list[Made]:
        """Return what `work` makes of so many images, of one piece after the other.

        Raises:
            RunError: memory does not hold the work on a single image.
        """
        done: list[Made] = []
        first = 0
        while first < count:
            last = min(count, first + (self.most or count))
            try:
                done.append(work(slice(first, last)))
            except torch.OutOfMemoryError as error:
                if last - first == 1:
                    raise RunError(ONE_IMAGE) from error
                self.most = (last - first) // 2
            else:
                first = last
                continue
            release()  # not before the error is gone, which holds what was computed
        return done


def encode(model: InvAD, images: NDArray[np.uint8], device: torch.device, pieces: InPieces) -> list[Tensor]:
    """Return the features of images (B, H, W, 3), fine to coarse, (B, C_i, h_i, w_i), on a device.

    Raises:
        RunError: memory does not hold the work on a single image.
    """
    found = pieces(lambda piece: model.encode(to_device(images[piece], device)), len(images))
    return found[0] if len(found) == 1 else [torch.cat(level) for level in zip(*found, strict=True)]


def release() -> None:
    """Give back what an accelerator's memory holds for nobody."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def memory_errors() -> Iterator[None]:
    """A context that says what to do where memory runs out and nothing can be tried again.

    Several processes wait for each other in a step, so that none of them can take it in parts by itself.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RunError(
            f"memory ran out ({str(error).splitlines()[0]}). Start a new run whose batches are computed in parts "
            f"(--accumulate 2, or more), with a smaller --batch-size, or with less --feature-memory"
        ) from error
