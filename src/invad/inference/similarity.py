"""The anomaly map from two pyramids without a tensor of all channels at the finest size.

The published map resizes every level to the finest one before it compares. Bilinear resizing is linear, and each
value of a resized level is a mean of four neighbours: so the product of two resized levels is a mean of products of
neighbours, which are computed where the level is small and then resized themselves. With t the place between two rows,

    ((1 - t) a_0 + t a_1) ((1 - t) b_0 + t b_1)
        = (1 - t)^2 a_0 b_0 + t^2 a_1 b_1 + t (1 - t) (a_0 b_1 + a_1 b_0),

and the same again for columns. The last resize and the Gaussian blur are linear too: one matrix on each side does both.

Reference: arXiv:2404.10760, section 3.4; the plain form is `invad.scoring.anomaly_map`.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
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
            self._keep(f"rows_{i}", _product_matrix(finest[0], level[0]))  # (h_0, 2 h_i)
            self._keep(f"columns_{i}", _product_matrix(finest[1], level[1]).T)  # (2 w_i, w_0)
        self._keep("rows", _blur(size[0], sigma) @ _resize_matrix(size[0], finest[0]))  # (H, h_0)
        self._keep("columns", (_blur(size[1], sigma) @ _resize_matrix(size[1], finest[1])).T)  # (w_0, W)

    def _keep(self, name: str, matrix: NDArray[np.float64]) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(matrix)))

    def forward(self, features: Sequence[Tensor], predictions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return maps (B, H, W) in [0, 2] and scores (B,), of levels (B, C_i, h_i, w_i), fine to coarse."""
        exact = torch.promote_types(features[0].dtype, torch.float32)
        f = [F.normalize(level.to(exact), dim=1) for level in features]
        p = [F.normalize(level.to(exact), dim=1) for level in predictions]
        dot, square_f, square_p = _dot(f[0], p[0]), _dot(f[0], f[0]), _dot(p[0], p[0])  # (B, h_0, w_0)
        for i in range(1, self.count):
            rows, columns = self.get_buffer(f"rows_{i}").to(exact), self.get_buffer(f"columns_{i}").to(exact)
            dot = dot + rows @ _neighbours(f[i], p[i]) @ columns
            square_f = square_f + rows @ _neighbours_square(f[i]) @ columns
            square_p = square_p + rows @ _neighbours_square(p[i]) @ columns
        distance = 1.0 - dot / (square_f * square_p).sqrt().clamp_min(1e-8)
        maps = self.get_buffer("rows").to(exact) @ distance @ self.get_buffer("columns").to(exact)  # (B, H, W)
        return maps, image_score(maps)


def _blur(length: int, sigma: float) -> NDArray[np.float64]:
    return blur_matrix(length, sigma) if sigma > 0 else np.eye(length)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The product over channels at every position, (B, h, w)."""
    return (a * b).sum(dim=1)


def _neighbours(a: Tensor, b: Tensor) -> Tensor:
    """Products of a and b (B, C, h, w) at every position and between neighbours, in the order of `_blocks`."""
    up, down, left, right = slice(None, -1), slice(1, None), slice(None, -1), slice(1, None)
    return _blocks(
        _dot(a, b),
        _dot(a[..., left], b[..., right]) + _dot(a[..., right], b[..., left]),
        _dot(a[..., up, :], b[..., down, :]) + _dot(a[..., down, :], b[..., up, :]),
        _dot(a[..., up, left], b[..., down, right])
        + _dot(a[..., down, right], b[..., up, left])
        + _dot(a[..., up, right], b[..., down, left])
        + _dot(a[..., down, left], b[..., up, right]),
    )


def _neighbours_square(a: Tensor) -> Tensor:
    """`_neighbours` of a with itself, where half of the products are equal."""
    return _blocks(
        _dot(a, a),
        2.0 * _dot(a[..., :-1], a[..., 1:]),
        2.0 * _dot(a[..., :-1, :], a[..., 1:, :]),
        2.0 * (_dot(a[..., :-1, :-1], a[..., 1:, 1:]) + _dot(a[..., :-1, 1:], a[..., 1:, :-1])),
    )


def _blocks(same: Tensor, beside: Tensor, below: Tensor, across: Tensor) -> Tensor:
    """[[same, beside], [below, across]] as (B, 2 h, 2 w), zeros where there is no neighbour."""
    top = torch.cat([same, F.pad(beside, (0, 1))], dim=-1)
    bottom = torch.cat([F.pad(below, (0, 0, 0, 1)), F.pad(across, (0, 1, 0, 1))], dim=-1)
    return torch.cat([top, bottom], dim=-2)


def _resize_matrix(target: int, source: int) -> NDArray[np.float64]:
    """The (target, source) matrix of bilinear resizing with aligned corners."""
    first, t = _places(target, source)
    matrix = np.zeros((target, source))
    each = np.arange(target)
    np.add.at(matrix, (each, first), 1.0 - t)
    np.add.at(matrix, (each, np.minimum(first + 1, source - 1)), t)
    return matrix


def _product_matrix(target: int, source: int) -> NDArray[np.float64]:
    """The (target, 2 source) matrix from products of positions with themselves, and with the next one, to resized."""
    first, t = _places(target, source)
    following = np.minimum(first + 1, source - 1)
    matrix = np.zeros((target, 2 * source))
    each = np.arange(target)
    np.add.at(matrix, (each, first), (1.0 - t) ** 2)
    np.add.at(matrix, (each, following), t**2)
    np.add.at(matrix, (each, source + first), t * (1.0 - t))
    return matrix


def _places(target: int, source: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Between which two positions each resized one lies: the first of them, and how far it is from there."""
    if target == 1:
        return np.zeros(1, dtype=np.int64), np.zeros(1)
    place = np.arange(target) * (source - 1) / (target - 1)
    first = np.minimum(np.floor(place).astype(np.int64), max(source - 2, 0))
    return first, place - first
