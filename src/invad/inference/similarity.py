"""The anomaly map from two pyramids without a tensor of all channels at the finest size.

The published map resizes every level to the finest one before it compares. Bilinear resizing is linear, so the product
of two resized levels comes from products at the level's own size, which are resized themselves. With t the place
between two neighbours a_0 and a_1, and b_0 and b_1,

    ((1 - t) a_0 + t a_1) ((1 - t) b_0 + t b_1)
        = (1 - t) a_0 b_0 + t a_1 b_1 - t (1 - t) (a_1 - a_0) (b_1 - b_0):

the product is resized like the levels, less a share of the product of differences. The same holds for rows and columns.
The last resize and the Gaussian blur are linear too: one matrix on each side does both.

Reference: arXiv:2404.10760, section 3.4; the plain form is `invad.scoring.anomaly_map`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from invad.records import Size
from invad.scoring import SIGMA, blur_matrix, image_score


class MapHead(nn.Module):
    """Features and predictions -> blurred maps and scores, always in float32 or better.

    Args:
        levels: height and width of each level, fine to coarse.
        size: height and width of the map.
        sigma: the blur, in pixels; 0: none.

    Example:
        >>> level = torch.rand(1, 8, 4, 4)
        >>> maps, scores = MapHead([(4, 4)], (16, 16))([level], [level])
        >>> tuple(maps.shape), scores.abs().max().item() < 1e-6
        ((1, 16, 16), True)
    """

    def __init__(self, levels: Sequence[Size], size: Size, *, sigma: float = SIGMA) -> None:
        super().__init__()
        finest = levels[0]
        self.count = len(levels)
        for i, level in enumerate(levels[1:], start=1):
            self._keep(f"rows_{i}", _product_matrix(finest[0], level[0]))  # (h_0, 2 h_i - 1)
            self._keep(f"columns_{i}", _product_matrix(finest[1], level[1]).T)  # (2 w_i - 1, w_0)
        self._keep("rows", _blur(size[0], sigma) @ _resize_matrix(size[0], finest[0]))  # (H, h_0)
        self._keep("columns", (_blur(size[1], sigma) @ _resize_matrix(size[1], finest[1])).T)  # (w_0, W)

    def _keep(self, name: str, matrix: NDArray[np.float64]) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(matrix)))

    def forward(self, features: Sequence[Tensor], predictions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return maps (B, H, W) in [0, 2] and scores (B,), of levels (B, C_i, h_i, w_i), fine to coarse."""
        exact = torch.promote_types(features[0].dtype, torch.float32)
        f, p = ([level.to(exact) for level in levels] for levels in (features, predictions))
        (length_f, square_f), (length_p, square_p) = _length(f[0]), _length(p[0])
        dot = _dot(f[0], p[0]) / (length_f * length_p)  # (B, h_0, w_0)
        for i in range(1, self.count):
            rows, columns = self.get_buffer(f"rows_{i}").to(exact), self.get_buffer(f"columns_{i}").to(exact)
            (unit_f, same_f), (unit_p, same_p) = _unit(f[i]), _unit(p[i])
            steps_f, steps_p = _steps(unit_f), _steps(unit_p)
            dot = dot + rows @ _products(_dot(unit_f, unit_p), steps_f, steps_p) @ columns
            square_f = square_f + rows @ _products(same_f, steps_f, steps_f) @ columns
            square_p = square_p + rows @ _products(same_p, steps_p, steps_p) @ columns
        distance = 1.0 - dot / (square_f * square_p).sqrt().clamp_min(1e-8)
        maps = self.get_buffer("rows").to(exact) @ distance @ self.get_buffer("columns").to(exact)  # (B, H, W)
        return maps, image_score(maps)


def _blur(length: int, sigma: float) -> NDArray[np.float64]:
    return blur_matrix(length, sigma) if sigma > 0 else np.eye(length)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The product over channels at every position, (B, h, w)."""
    return (a * b).sum(dim=1)


def _length(a: Tensor) -> tuple[Tensor, Tensor]:
    """The lengths to divide a level (B, C, h, w) by, never 0, and the squares of what is left: 1, or 0 where a is 0."""
    length = torch.linalg.vector_norm(a, dim=1)
    never_0 = length.clamp_min(1e-12)
    return never_0, (length / never_0).square()


def _unit(a: Tensor) -> tuple[Tensor, Tensor]:
    """A level (B, C, h, w) with vectors of length 1, and their squares (B, h, w)."""
    length, square = _length(a)
    return a / length[:, None], square


def _steps(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The differences of a level (B, C, h, w) to the next column, to the next row, and of the former to the latter."""
    across = a[..., 1:] - a[..., :-1]
    return across, a[..., 1:, :] - a[..., :-1, :], across[..., 1:, :] - across[..., :-1, :]


def _products(same: Tensor, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """The products of two levels (B, h, w), and those of their steps behind and below: (B, 2 h - 1, 2 w - 1)."""
    across, down, both = (_dot(x, y) for x, y in zip(a, b, strict=True))
    return torch.cat([torch.cat([same, across], dim=-1), torch.cat([down, both], dim=-1)], dim=-2)


def _resize_matrix(target: int, source: int) -> NDArray[np.float64]:
    """The (target, source) matrix of bilinear resizing with aligned corners."""
    first, t = _places(target, source)
    matrix = np.zeros((target, source))
    each = np.arange(target)
    np.add.at(matrix, (each, first), 1.0 - t)
    np.add.at(matrix, (each, np.minimum(first + 1, source - 1)), t)
    return matrix


def _product_matrix(target: int, source: int) -> NDArray[np.float64]:
    """The (target, 2 source - 1) matrix from products at positions, and of differences behind them, to resized."""
    first, t = _places(target, source)
    shares = np.zeros((target, source))
    shares[np.arange(target), first] = -t * (1.0 - t)
    return np.hstack([_resize_matrix(target, source), shares[:, : source - 1]])


def _places(target: int, source: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Between which two positions each resized one lies: the first of them, and how far it is from there."""
    if target == 1:
        return np.zeros(1, dtype=np.int64), np.zeros(1)
    place = np.arange(target) * (source - 1) / (target - 1)
    first = np.minimum(np.floor(place).astype(np.int64), max(source - 2, 0))
    return first, place - first
