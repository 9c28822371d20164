"""Mean and deviation of every channel of features, over many images."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def channel_statistics(pyramids: Iterable[Sequence[Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Return mean and standard deviation (C_i,) of each level's channels, float64 on the CPU, in one pass.

    Args:
        pyramids: features of batches of images, fine to coarse, (B, C_i, h_i, w_i).

    Raises:
        ValueError: there is no image.

    Example:
        >>> [(mean, std)] = channel_statistics([[torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)]])
        >>> mean.item(), std.item()
        (2.0, 1.0)
    """
    counts: list[int] = []
    sums: list[Tensor] = []
    squares: list[Tensor] = []
    for pyramid in pyramids:
        values = [level.cpu().double() for level in pyramid]  # in this order: not every accelerator has float64
        if not counts:
            counts = [0] * len(values)
            sums = [torch.zeros(level.shape[1], dtype=torch.float64) for level in values]
            squares = [torch.zeros_like(total) for total in sums]
        for i, level in enumerate(values):
            counts[i] += level.numel() // level.shape[1]
            sums[i] += level.sum((0, 2, 3))
            squares[i] += level.square().sum((0, 2, 3))
    if not counts:
        raise ValueError("statistics are taken of images, and there was none")
    means = [total / count for total, count in zip(sums, counts, strict=True)]
    return [
        (mean, (square / count - mean.square()).clamp_min(0.0).sqrt())
        for mean, square, count in zip(means, squares, counts, strict=True)
    ]
