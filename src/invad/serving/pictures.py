"""Maps as PNG files."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LARGEST = 2.0
"""The largest value that a map can have."""


def map_png(values: NDArray[np.float32], scale: tuple[float, float]) -> bytes:
    """Return a map (H, W) as a PNG in 8-bit grey, the scale's low end as 0 and its high end as 255.

    Example:
        >>> data = map_png(np.array([[0.1, 0.3, 0.9]], dtype=np.float32), (0.1, 0.5))
        >>> np.asarray(Image.open(io.BytesIO(data))).tolist()
        [[0, 128, 255]]
    """
    low, high = scale
    level = np.clip((values.astype(np.float64) - low) / (high - low), 0.0, 1.0)
    return png(np.rint(level * 255).astype(np.uint8))


def values_png(values: NDArray[np.float32]) -> bytes:
    """Return a map (H, W) of values in [0, 2] as an RGB PNG that loses nothing to speak of: 1 / 65535 at most.

    Red is the high byte and green the low byte of 65535 / 2 times the value: browsers read 8 bits of a grey PNG only.

    Example:
        >>> data = values_png(np.array([[0.0, 1.0, 2.0]], dtype=np.float32))
        >>> np.asarray(Image.open(io.BytesIO(data))).tolist()
        [[[0, 0, 0], [128, 0, 0], [255, 255, 0]]]
    """
    level = np.rint(np.clip(values.astype(np.float64) / LARGEST, 0.0, 1.0) * 65535).astype(np.uint16)
    return png(np.stack([level >> 8, level & 255, np.zeros_like(level)], axis=2).astype(np.uint8))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return grey (H, W) or RGB (H, W, 3) pixels as a PNG, packed fast rather than tight."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=3)
    return file.getvalue()
