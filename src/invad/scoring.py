"""Features and predictions -> anomaly map -> image score, on the model's device, without a copy to the host.

Reference: arXiv:2404.10760, section 3.4.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from invad.records import Size

SIGMA = 4.0
"""The map's blur, in pixels."""
TRUNCATE = 4.0
"""Where the blur's kernel ends, in sigmas."""


def raw_map(features: Sequence[Tensor], predictions: Sequence[Tensor], size: Size) -> Tensor:
    """Return 1 - cosine similarity of features and predictions at every pixel, in [0, 2], (B, H, W), before the blur.

    Each level is L2-normalised over its channels and resized to the finest one; the cosine is that of the levels'
    concatenation. It is summed level by level, so that the concatenation never exists.

    Args:
        features: the encoder's, fine to coarse, (B, C_i, h_i, w_i).
        predictions: the decoder's, in the same order and shapes; they may be in another precision.
        size: height and width of the map.

    Example:
        >>> level = torch.rand(1, 8, 4, 4)
        >>> raw_map([level], [level], (16, 16)).abs().max().item() < 1e-6
        True
    """
    finest = features[0].shape[-2:]
    zero = features[0].new_zeros(())
    dot, square_f, square_p = zero, zero, zero
    for feature, prediction in zip(features, predictions, strict=True):
        f = _resize(F.normalize(feature, dim=1), finest)  # (B, C_i, h_0, w_0)
        p = _resize(F.normalize(prediction.to(feature.dtype), dim=1), finest)
        dot = dot + (f * p).sum(dim=1, keepdim=True)  # (B, 1, h_0, w_0)
        square_f = square_f + (f * f).sum(dim=1, keepdim=True)
        square_p = square_p + (p * p).sum(dim=1, keepdim=True)
    cosine = dot / (square_f * square_p).sqrt().clamp_min(1e-8)
    return _resize(1.0 - cosine, size)[:, 0]


def anomaly_map(
    features: Sequence[Tensor], predictions: Sequence[Tensor], size: Size, *, sigma: float = SIGMA
) -> Tensor:
    """Return the blurred map (B, H, W) in [0, 2]; arguments as `raw_map`, sigma in pixels (0: no blur)."""
    result = raw_map(features, predictions, size)
    return gaussian_blur(result, sigma) if sigma > 0 else result


def image_score(maps: Tensor) -> Tensor:
    """Return the largest value of each map, (B,), from maps (B, H, W)."""
    return maps.flatten(1).amax(dim=1)


def gaussian_blur(maps: Tensor, sigma: float = SIGMA) -> Tensor:
    """Return the maps (B, H, W) blurred as `scipy.ndimage.gaussian_filter` does by default.

    The kernel is truncated at 4 sigma and the edges are reflected (`d c b a | a b c d | d c b a`). A separable filter
    with fixed edges is a matrix on each side of the image, which needs no padding and takes any size.

    Example:
        >>> gaussian_blur(torch.ones(1, 8, 8)).allclose(torch.ones(1, 8, 8))
        True
    """
    rows = torch.as_tensor(blur_matrix(maps.shape[-2], sigma), dtype=maps.dtype, device=maps.device)  # (H, H)
    columns = torch.as_tensor(blur_matrix(maps.shape[-1], sigma), dtype=maps.dtype, device=maps.device)  # (W, W)
    return rows @ maps @ columns.T


@lru_cache(maxsize=16)
def blur_matrix(length: int, sigma: float) -> NDArray[np.float64]:
    """Return the (length, length) matrix that blurs a line of pixels with reflected edges; sigma in pixels.

    Example:
        >>> bool(np.allclose(blur_matrix(8, 4.0).sum(axis=1), 1.0))
        True
    """
    radius = int(TRUNCATE * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    source = (np.arange(length)[:, None] + offsets) % (2 * length)  # reflection repeats with period 2 * length
    source = np.where(source < length, source, 2 * length - 1 - source)
    matrix = np.zeros((length, length))
    np.add.at(matrix, (np.arange(length)[:, None], source), kernel)
    return matrix


def _resize(x: Tensor, size: Size | torch.Size) -> Tensor:
    """Bilinear, corners aligned; (B, C, h, w) -> (B, C, *size)."""
    if x.shape[-2:] == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)
