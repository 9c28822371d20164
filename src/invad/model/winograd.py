"""3 x 3 convolutions with 4/9 of the multiplications, for large ones on CPUs.

The result is cut into tiles of 2 x 2 positions, each of which depends on 4 x 4 positions of x:

    tile = A^T [ (G weight G^T) * (B^T patch B) ] A,

so that 16 products per channel pair give four results, where a sum over the kernel takes 36. The products of one of the
16 places, over all channels and tiles, are one matrix product. B and A are applied as additions, along one axis after
the other; G G^T is one small matrix.

In fp32 the result is as exact as an ordinary convolution's, which adds more numbers up. In bf16 it is rounded more
often: the error is some 0.7 % of the result's size instead of 0.2 %.

Reference: Lavin and Gray, arXiv:1509.09308, F(2 x 2, 3 x 3); decision 016.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

FEWEST_CHANNELS = 256
"""In and out, for which transforming tiles costs less than it saves."""
LEAST_WORK = 1 << 30
"""Positions of a batch, times channels in, times channels out, for which transforming the weights does, too."""
TILES_AT_ONCE = 1 << 23
"""Numbers of transformed tiles, in and out, that are held at a time, so that they stay in the processor's cache; where
the kernel has more, as many as it has."""

Along = Tensor | Sequence[Tensor]
"""What lies along one axis of a tile: the first index is the place in it."""


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the 3 x 3 convolution of x, padded to keep its size, by whichever way is faster.

    Args:
        x: (B, C_in, h, w).
        weight: (C_out, C_in, 3, 3).
        bias: (C_out,).

    Returns:
        (B, C_out, h, w). Under autocast it has autocast's precision, like that of `torch.nn.functional.conv2d`.

    Example:
        >>> convolve(torch.rand(2, 8, 4, 4), torch.rand(8, 8, 3, 3), torch.zeros(8)).shape
        torch.Size([2, 8, 4, 4])
    """
    dtype = x.dtype
    if torch.is_autocast_enabled("cpu") and dtype != torch.float64:
        dtype = torch.get_autocast_dtype("cpu")
    if torch.compiler.is_compiling() or not pays(x, weight, dtype):  # an exported graph has any batch
        return F.conv2d(x, weight, bias, padding=1)
    with torch.autocast("cpu", enabled=False):
        return _Winograd.apply(x.to(dtype), weight.to(dtype), bias.to(dtype))  # type: ignore[no-any-return]


def pays(x: Tensor, weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether a 3 x 3 convolution of x (B, C_in, h, w) by a weight (C_out, C_in, 3, 3) is faster this way.

    A processor that multiplies whole matrices of bf16 is taken to be too fast for the additions to pay.
    """
    batch, c_in, height, width = x.shape
    c_out = weight.shape[0]
    if x.device.type != "cpu" or height % 2 or width % 2 or min(c_in, c_out) < FEWEST_CHANNELS:
        return False
    return batch * height * width * c_in * c_out >= LEAST_WORK and not (dtype == torch.bfloat16 and _may_have_amx())


@cache
def _may_have_amx() -> bool:
    from invad.devices import processor_flags  # which imports the settings, and they the model

    flags = processor_flags()
    return not flags or any("amx" in flag for flag in flags)


class _Winograd(torch.autograd.Function):
    """The convolution and its gradients, each of them 16 matrix products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        kernel = kernel_tiles(weight)
        ctx.save_for_backward(x, kernel)
        return _convolved(x, kernel, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, kernel = ctx.saved_tensors
        x, gradient = _framed(x), gradient.permute(0, 2, 3, 1).contiguous()
        towards_x = torch.zeros_like(x)
        exact = torch.promote_types(kernel.dtype, torch.float32)
        towards_kernel: Tensor | None = None
        for images, rows in _blocks(gradient.shape, kernel):
            of_result = result_tiles_adjoint(gradient[images, rows])  # (16, T, C_out)
            input_tiles_adjoint(of_result @ kernel, towards_x[images, _with_frame(rows)])
            part = of_result.transpose(1, 2) @ input_tiles(x[images, _with_frame(rows)])  # (16, C_out, C_in)
            towards_kernel = part if towards_kernel is None else towards_kernel.to(exact).add_(part)
        assert towards_kernel is not None
        towards_weight = kernel_tiles_adjoint(towards_kernel.to(kernel.dtype))
        return towards_x[:, 1:-1, 1:-1].permute(0, 3, 1, 2), towards_weight, gradient.sum(dim=(0, 1, 2))


def _convolved(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """The convolution of x (B, C_in, h, w) by a transformed kernel (16, C_out, C_in)."""
    batch, _, height, width = x.shape
    result = x.new_empty(batch, height, width, kernel.shape[1])
    x = _framed(x)
    for images, rows in _blocks(result.shape, kernel):
        products = input_tiles(x[images, _with_frame(rows)]) @ kernel.transpose(1, 2)  # (16, T, C_out)
        products[5] += bias  # which A adds to all four results
        result_tiles(products, result[images, rows])
    return result.permute(0, 3, 1, 2)


def _framed(x: Tensor) -> Tensor:
    """(B, C, h, w) as (B, h + 2, w + 2, C), with zeros around each image."""
    return F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).contiguous()


def _with_frame(rows: slice) -> slice:
    """The rows of a framed image that these rows of the result depend on."""
    return slice(rows.start, rows.stop + 2)


def _blocks(shape: Sequence[int], kernel: Tensor) -> Iterator[tuple[slice, slice]]:
    """Images and rows of a result (B, h, w, C_out): whole images, or rows of one, whose tiles are held at a time."""
    batch, height, width, _ = shape
    numbers_of_two_rows = 8 * width * (kernel.shape[1] + kernel.shape[2])
    twos = max(1, max(TILES_AT_ONCE, kernel.numel()) // numbers_of_two_rows)
    images, rows = max(1, twos // (height // 2)), min(2 * twos, height)
    for first in range(0, batch, images):
        for row in range(0, height, rows):
            yield slice(first, min(first + images, batch)), slice(row, min(row + rows, height))


def input_tiles(x: Tensor) -> Tensor:
    """B^T patch B of every tile: framed x (B, h + 2, w + 2, C) -> (16, B * h/2 * w/2, C)."""
    batch, height, width, channels = x.shape
    height, width = height - 2, width - 2
    rows = x.new_empty(4, batch, height // 2, width + 2, channels)
    _input([x[:, i : i + height : 2] for i in range(4)], rows)
    tiles = x.new_empty(4, 4, batch, height // 2, width // 2, channels)
    _input([rows[:, :, :, i : i + width : 2] for i in range(4)], tiles.transpose(0, 1))
    return tiles.view(16, -1, channels)


def input_tiles_adjoint(tiles: Tensor, out: Tensor) -> None:
    """Add the gradient of the tiles, (16, B * h/2 * w/2, C), to that of framed x, (B, h + 2, w + 2, C)."""
    batch, height, width, channels = out.shape
    height, width = height - 2, width - 2
    tiles = tiles.view(4, 4, batch, height // 2, width // 2, channels)
    rows = tiles.new_zeros(4, batch, height // 2, width + 2, channels)
    _input_adjoint(tiles.transpose(0, 1), [rows[:, :, :, i : i + width : 2] for i in range(4)])
    _input_adjoint(rows, [out[:, i : i + height : 2] for i in range(4)])


def result_tiles(products: Tensor, out: Tensor) -> None:
    """Write A^T products A of every tile: (16, B * h/2 * w/2, C) -> (B, h, w, C)."""
    batch, height, width, channels = out.shape
    products = products.view(4, 4, batch, height // 2, width // 2, channels)
    results = out.view(batch, height // 2, 2, width // 2, 2, channels)
    for i, row in enumerate(_result(products)):
        for j, result in enumerate(_result(row)):
            results[:, :, i, :, j] = result


def result_tiles_adjoint(result: Tensor) -> Tensor:
    """The gradient of the products, (16, B * h/2 * w/2, C), from that of the result, (B, h, w, C)."""
    batch, height, width, channels = result.shape
    result = result.view(batch, height // 2, 2, width // 2, 2, channels)
    products = result.new_empty(4, 4, batch, height // 2, width // 2, channels)
    for i, row in enumerate(_result_adjoint(result[:, :, 0], result[:, :, 1])):
        for j, product in enumerate(_result_adjoint(row[..., 0, :], row[..., 1, :])):
            products[i, j] = product
    return products.view(16, -1, channels)


def kernel_tiles(weight: Tensor) -> Tensor:
    """G weight G^T: (C_out, C_in, 3, 3) -> (16, C_out, C_in)."""
    c_out, c_in = weight.shape[:2]
    places = weight.permute(2, 3, 0, 1).reshape(9, c_out * c_in)
    return (_kernel_matrix(weight) @ places).view(16, c_out, c_in)


def kernel_tiles_adjoint(kernel: Tensor) -> Tensor:
    """The gradient of the weight, (C_out, C_in, 3, 3), from that of the kernel, (16, C_out, C_in)."""
    _, c_out, c_in = kernel.shape
    places = _kernel_matrix(kernel).T @ kernel.view(16, c_out * c_in)
    return places.view(3, 3, c_out, c_in).permute(2, 3, 0, 1)


def _kernel_matrix(like: Tensor) -> Tensor:
    """G's Kronecker product with itself, (16, 9); bf16 holds it exactly."""
    g = like.new_tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]])
    return torch.kron(g, g)


def _input(d: Along, out: Along) -> None:
    """Write B^T d along one axis."""
    torch.sub(d[0], d[2], out=out[0])
    torch.add(d[1], d[2], out=out[1])
    torch.sub(d[2], d[1], out=out[2])
    torch.sub(d[3], d[1], out=out[3])


def _input_adjoint(v: Along, out: Along) -> None:
    """Add B v along one axis to what overlaps."""
    out[0].add_(v[0])
    out[1].add_(v[1] - v[2]).sub_(v[3])
    out[2].add_(v[1] + v[2]).sub_(v[0])
    out[3].add_(v[3])


def _result(m: Along) -> tuple[Tensor, Tensor]:
    """A^T m along one axis."""
    return m[0] + m[1] + m[2], m[1] - m[2] + m[3]


def _result_adjoint(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A y along one axis."""
    return first, first + second, first - second, second
