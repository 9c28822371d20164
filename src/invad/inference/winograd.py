"""3 x 3 convolutions with a quarter of the multiplications, for a model that is ready, on CPUs.

The result is cut into tiles of 4 x 4 positions, each of which depends on a patch of 6 x 6 positions of x:

    tile = A^T [ (G weight G^T) * (B^T patch B) ] A,

so that 36 products per channel pair give sixteen results, where a sum over the kernel takes 144. The products of one of
the 36 places, over all channels and tiles, are one matrix product, and the weights are transformed once. What is left
are two passes over tiles, which PyTorch has no operation for: `_cut` and `_join`, compiled by Numba.

The polynomials behind it are evaluated at 0, ±1/sqrt(2), ±sqrt(2) and infinity. In float32 the result's error is then
some 1e-6 of its size; at the usual points 0, ±1, ±2 and infinity it is twice that, in an ordinary convolution 2e-7. The
error of a model's map is the same with either.

Reference: Lavin and Gray, arXiv:1509.09308, F(4 x 4, 3 x 3); the points after Barabasz et al., arXiv:1803.10986, who
study their errors; decision 016.
"""

import math
import os
import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

FEWEST_CHANNELS = 64
"""In and out, for which cutting and joining tiles costs less than it saves."""
LANES = 32
"""Channels that are transformed at once: a known number, and a multiple of every processor's vectors."""
NUMBERS_AT_ONCE = 1 << 21
"""Numbers of transformed tiles, in and out, that are held at a time, so that they stay in the processor's cache; where
the transformed weights have more, as many as they have."""

_one_at_a_time = threading.Lock()  # not every threading layer of Numba lets two threads begin parallel work at once
if "NUMBA_THREADING_LAYER_PRIORITY" not in os.environ:  # PyTorch's threads wait for work in a loop, and others for them
    numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]  # type: ignore[attr-defined]


class WinogradConv(nn.Module):
    """A 3 x 3 convolution for inference on a CPU, whose weights are transformed once.

    Args:
        layer: a convolution that `fits`. The transformed weights are four times as large as its own.

    Example:
        >>> layer = nn.Conv2d(64, 96, 3, padding=1)
        >>> with torch.inference_mode():
        ...     WinogradConv.fits(layer), tuple(WinogradConv(layer)(torch.zeros(1, 64, 10, 6)).shape)
        (True, (1, 96, 10, 6))
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        weight = layer.weight.detach()
        self.kernel: Tensor
        self.bias: Tensor
        self.register_buffer("kernel", _on_large_pages(transform_weight(weight)))
        self.register_buffer("bias", weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach())

    @staticmethod
    def fits(layer: nn.Module) -> bool:
        """Whether a layer is a 3 x 3 convolution that keeps the size, of enough channels, in float32 or float64."""
        return (
            type(layer) is nn.Conv2d
            and (layer.kernel_size, layer.stride, layer.padding) == ((3, 3), (1, 1), (1, 1))
            and (layer.dilation, layer.groups, layer.padding_mode) == ((1, 1), 1, "zeros")
            and all(count >= FEWEST_CHANNELS and count % LANES == 0 for count in layer.weight.shape[:2])
            and layer.weight.dtype in (torch.float32, torch.float64)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, h, w) to (B, C_out, h, w); without gradients."""
        x = x.permute(0, 2, 3, 1).contiguous()  # (B, h, w, C_in)
        batch, height, width, c_in = x.shape
        c_out = len(self.bias)
        result = x.new_empty(batch, height, width, c_out)
        down, across = -(-height // 4), -(-width // 4)
        numbers = max(NUMBERS_AT_ONCE, self.kernel.numel())
        at_once = max(1, numbers // (36 * across * (c_in + c_out)))  # rows of tiles
        for row in range(0, batch * down, at_once):
            count = across * min(at_once, batch * down - row)
            tiles, products = _room.of(x, (36, count, c_in), (36, count, c_out))
            _in_parallel(_cut, _lanes(x), _lanes(tiles), row)
            torch.bmm(tiles, self.kernel, out=products)
            _in_parallel(_join, _lanes(products), _lanes(self.bias), _lanes(result), row)
        return result.permute(0, 3, 1, 2)


def transform_weight(weight: Tensor) -> Tensor:
    """Return G weight G^T, (36, C_in, C_out), of a weight (C_out, C_in, 3, 3); computed in float64.

    Example:
        >>> tuple(transform_weight(torch.zeros(8, 4, 3, 3)).shape)
        (36, 4, 8)
    """
    c_out, c_in = weight.shape[:2]
    points = np.sqrt([0.0, 0.5, 0.5, 2.0, 2.0]) * [1, 1, -1, 1, -1]
    rows = [[1.0, p, p * p] / np.prod(p - np.delete(points, i)) for i, p in enumerate(points)]
    g = torch.from_numpy(np.array([*rows, [0.0, 0.0, 1.0]]))
    places = weight.double().permute(2, 3, 1, 0).reshape(9, c_in * c_out)
    return (torch.kron(g, g) @ places).view(36, c_in, c_out).to(weight.dtype)


class _Room(threading.local):
    """Room for tiles and products, which each thread keeps: fresh memory would cost as much as the work done in it."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, np.dtype[Any]], NDArray[np.floating]] = {}

    def of(self, like: Tensor, *shapes: tuple[int, int, int]) -> list[Tensor]:
        """Tensors of these shapes, whatever they hold."""
        found = []
        for place, shape in enumerate(shapes):
            count, key = math.prod(shape), (place, like.numpy().dtype)
            if key not in self._kept or self._kept[key].size < count:
                self._kept[key] = np.empty(count, like.numpy().dtype)
            found.append(torch.from_numpy(self._kept[key][:count]).view(shape))
        return found


_room = _Room()


def _on_large_pages(x: Tensor) -> Tensor:
    """A copy in memory of NumPy's, which asks for large pages, as PyTorch does not: it is read once for every image."""
    return torch.from_numpy(x.numpy().copy())


def _lanes(x: Tensor) -> NDArray[np.floating]:
    """(..., C) as (..., C / LANES, LANES)."""
    array: NDArray[np.floating] = x.view(*x.shape[:-1], -1, LANES).numpy()
    return array


def _in_parallel(kernel: Callable[..., None], *args: NDArray[np.floating] | int) -> None:
    """Run a kernel with as many threads as PyTorch has, and leave PyTorch as many."""
    with _one_at_a_time:
        threads = torch.get_num_threads()
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
        if torch.get_num_threads() != threads:  # starting its threads, Numba tells OpenMP, and so PyTorch, their number
            torch.set_num_threads(threads)
        kernel(*args)


@numba.njit(cache=True, nogil=True, parallel=True, fastmath={"contract"}, error_model="numpy")
def _cut(x: NDArray[np.floating], tiles: NDArray[np.floating], row: int) -> None:  # pragma: no cover - compiled
    """Write B^T patch B of rows of tiles, from a row on: x (B, h, w, C / LANES, LANES), tiles (36, T, ., .)."""
    _, height, width, blocks, _ = x.shape
    down, across = (height + 3) // 4, (width + 3) // 4
    number = x.dtype.type
    root, half_root, two, half = number(2.0**0.5), number(0.5**0.5), number(2.0), number(0.5)
    two_and_half, zero = number(2.5), number(0.0)
    for at in numba.prange(tiles.shape[1] // across):
        image, top = (row + at) // down, 4 * ((row + at) % down) - 1
        patch, half_way = np.empty((6, 6, LANES), x.dtype), np.empty((6, 6, LANES), x.dtype)
        for column in range(across):
            tile, left = at * across + column, 4 * column - 1
            for block in range(blocks):
                for i in range(6):
                    for j in range(6):
                        if 0 <= top + i < height and 0 <= left + j < width:
                            for c in range(LANES):
                                patch[i, j, c] = x[image, top + i, left + j, block, c]
                        else:
                            for c in range(LANES):
                                patch[i, j, c] = zero
                for i in range(6):
                    for c in range(LANES):
                        a1, a2, a3, a4 = patch[i, 1, c], patch[i, 2, c], patch[i, 3, c], patch[i, 4, c]
                        even, odd = a4 - two * a2, half_root * a3 - root * a1
                        far_even, far_odd = a4 - half * a2, root * a3 - half_root * a1
                        half_way[i, 0, c] = patch[i, 0, c] - two_and_half * a2 + a4
                        half_way[i, 1, c] = even + odd
                        half_way[i, 2, c] = even - odd
                        half_way[i, 3, c] = far_even + far_odd
                        half_way[i, 4, c] = far_even - far_odd
                        half_way[i, 5, c] = a1 - two_and_half * a3 + patch[i, 5, c]
                for j in range(6):
                    for c in range(LANES):
                        a1, a2, a3, a4 = half_way[1, j, c], half_way[2, j, c], half_way[3, j, c], half_way[4, j, c]
                        even, odd = a4 - two * a2, half_root * a3 - root * a1
                        far_even, far_odd = a4 - half * a2, root * a3 - half_root * a1
                        tiles[j, tile, block, c] = half_way[0, j, c] - two_and_half * a2 + a4
                        tiles[6 + j, tile, block, c] = even + odd
                        tiles[12 + j, tile, block, c] = even - odd
                        tiles[18 + j, tile, block, c] = far_even + far_odd
                        tiles[24 + j, tile, block, c] = far_even - far_odd
                        tiles[30 + j, tile, block, c] = a1 - two_and_half * a3 + half_way[5, j, c]


@numba.njit(cache=True, nogil=True, parallel=True, fastmath={"contract"}, error_model="numpy")
def _join(
    products: NDArray[np.floating], bias: NDArray[np.floating], result: NDArray[np.floating], row: int
) -> None:  # pragma: no cover - compiled
    """Write A^T products A + bias of rows of tiles, from a row on: products (36, T, ., .), result (B, h, w, ., .)."""
    _, height, width, blocks, _ = result.shape
    down, across = (height + 3) // 4, (width + 3) // 4
    number = result.dtype.type
    root, half_root, two, half = number(2.0**0.5), number(0.5**0.5), number(2.0), number(0.5)
    two_roots, quarter_root = number(2.0 * 2.0**0.5), number(0.5 * 0.5**0.5)
    for at in numba.prange(products.shape[1] // across):
        image, top = (row + at) // down, 4 * ((row + at) % down)
        half_way, values = np.empty((4, 6, LANES), result.dtype), np.empty((4, LANES), result.dtype)
        for column in range(across):
            tile, left = at * across + column, 4 * column
            for block in range(blocks):
                for j in range(6):
                    for c in range(LANES):
                        a1, a2 = products[6 + j, tile, block, c], products[12 + j, tile, block, c]
                        a3, a4 = products[18 + j, tile, block, c], products[24 + j, tile, block, c]
                        even, odd, far_even, far_odd = a1 + a2, a1 - a2, a3 + a4, a3 - a4
                        last = products[30 + j, tile, block, c]
                        half_way[0, j, c] = products[j, tile, block, c] + even + far_even
                        half_way[1, j, c] = half_root * odd + root * far_odd
                        half_way[2, j, c] = half * even + two * far_even
                        half_way[3, j, c] = quarter_root * odd + two_roots * far_odd + last
                for i in range(min(4, height - top)):
                    for c in range(LANES):
                        a1, a2, a3, a4 = half_way[i, 1, c], half_way[i, 2, c], half_way[i, 3, c], half_way[i, 4, c]
                        even, odd, far_even, far_odd = a1 + a2, a1 - a2, a3 + a4, a3 - a4
                        shift = bias[block, c]
                        values[0, c] = half_way[i, 0, c] + even + far_even + shift
                        values[1, c] = half_root * odd + root * far_odd + shift
                        values[2, c] = half * even + two * far_even + shift
                        values[3, c] = quarter_root * odd + two_roots * far_odd + half_way[i, 5, c] + shift
                    for j in range(min(4, width - left)):
                        for c in range(LANES):
                            result[image, top + i, left + j, block, c] = values[j, c]
