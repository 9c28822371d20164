"""The log of a training for TensorBoard, an optional extra."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from invad.errors import MissingExtraError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def require_tensorboard() -> None:
    """Refuse to begin without TensorBoard.

    Raises:
        MissingExtraError: it is not installed.
    """
    if find_spec("tensorboard") is None:
        raise MissingExtraError(
            "--tensorboard needs the package tensorboard: pip install 'invad[tracking]'. Every run has its log.jsonl "
            "without it"
        )


def open_board(folder: Path, first_step: int) -> "SummaryWriter":
    """Return a writer of scalars into this folder, which hides what an earlier start logged after `first_step`."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=first_step + 1)
