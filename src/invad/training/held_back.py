"""Normal images that are not trained on: they say when to stop, and later calibrate decisions."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from invad.model import inversion_loss
from invad.processes import Processes
from invad.records import Record
from invad.settings import TrainSettings, given
from invad.training.features import BLOCK, Features
from invad.training.memory import InPieces

FEWEST = 10
"""A class of fewer images gives none away."""


def hold_back(records: Sequence[Record], share: float, seed: int) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """Return the records to train on and those held back: a share of each class, drawn by the seed, rounded down.

    Example:
        >>> from pathlib import Path
        >>> records = [Record(image=Path(f"{i}.png"), class_name="nut", split="train") for i in range(25)]
        >>> [len(part) for part in hold_back(records, 0.1, seed=42)]
        [23, 2]
    """
    names = np.array([record.class_name for record in records])
    held: set[int] = set()
    for number, name in enumerate(np.unique(names)):
        members = np.flatnonzero(names == name)
        count = int(len(members) * share) if len(members) >= FEWEST else 0
        held.update(np.random.default_rng((seed, number)).choice(members, count, replace=False).tolist())
    kept = tuple(record for i, record in enumerate(records) if i not in held)
    return kept, tuple(record for i, record in enumerate(records) if i in held)


def held_back_loss(trainee: nn.Module, features: Features, count: int, s: TrainSettings, processes: Processes) -> float:
    """Return the mean loss of so many images in eval mode; it does not depend on the number of processes.

    Args:
        trainee: features -> predictions.
        features: of the images held back.
        count: how many there are.
        s: resolved settings, for loss and precision.
        processes: that share the work.
    """
    trainee.eval()
    blocks: list[NDArray[np.int64]] = [np.arange(count)[first : first + BLOCK] for first in range(0, count, BLOCK)]
    sums: dict[int, float] = {}
    pieces = InPieces()
    mine = range(processes.rank, len(blocks), processes.count)
    with torch.no_grad(), processes.failing_together():
        for number, levels in zip(mine, features.batches([blocks[i] for i in mine]), strict=True):
            sums[number] = sum(pieces(partial(_loss_of_all, trainee, levels, s), len(blocks[number])))
    found = {number: value for part in processes.gather(sums) for number, value in part.items()}
    return sum(found[number] for number in range(len(blocks))) / count


def _loss_of_all(trainee: nn.Module, levels: Sequence[Tensor], s: TrainSettings, piece: slice) -> float:
    """The sum of the losses of some images of a block."""
    chosen = [level[piece] for level in levels]
    with torch.autocast(chosen[0].device.type, torch.bfloat16, enabled=s.arithmetic == "bf16"):
        predictions = trainee(chosen)
    return inversion_loss(chosen, predictions, given(s.loss_weight), given(s.loss)).item() * len(chosen[0])
