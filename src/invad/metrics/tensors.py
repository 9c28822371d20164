"""Counts of maps that lie on an accelerator, by PyTorch's operations only: the maps stay there.

Regions are found by letting every defect pixel take the largest label of its 3 x 3 neighbours, and then the label of
the pixel that this label names, until nothing changes. Normal pixels are placed among the cuts by `searchsorted`. Only
the defect pixels (1 to 3 %) and the counts come to the CPU, where the rest is the same code; hence the same numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from invad.errors import MetricError
from invad.metrics.checks import BoolArray, FloatArray, to_numpy
from invad.metrics.keys import IntArray, to_scores
from invad.metrics.pixels import ImagePixels

IMAGES = 64
"""Images handled at a time."""
EXACT = {torch.float32: 1 << 24, torch.float64: 1 << 53}
"""Integers that a float holds exactly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """The pixels of one image on a device."""

    scores: Tensor  # (H, W)
    mask: Tensor  # (H, W)

    def load(self) -> tuple[FloatArray, BoolArray | None]:
        """The pixels, brought to the CPU."""
        return to_numpy(self.scores).ravel(), to_numpy(self.mask).ravel()


def _parts(images: Tensor) -> tuple[Tensor, ...]:
    parts: tuple[Tensor, ...] = torch.split(images, IMAGES)
    return parts


def check_tensors(maps: Tensor, masks: Any) -> tuple[Tensor, Tensor]:
    """Maps (N, H, W) as float32 or float64, masks (N, H, W) as bool, on the maps' device.

    Raises:
        MetricError: as `check_maps` and `check_masks` raise it.
    """
    maps, masks = maps.detach(), torch.as_tensor(masks, device=maps.device).detach()
    if not maps.is_floating_point():
        raise MetricError(f"maps must be float16, float32 or float64, but are {maps.dtype}: convert them")
    if maps.ndim != 3 or maps.numel() == 0:
        raise MetricError(f"maps must be (N, H, W) and hold at least one image, but are {tuple(maps.shape)}")
    if masks.shape != maps.shape:
        raise MetricError(f"masks are {tuple(masks.shape)} but maps are {tuple(maps.shape)}: resize one to the other")
    if not all(bool(torch.isfinite(part).all()) for part in _parts(maps)):
        raise MetricError("maps must be finite, but NaN or infinity is in one")
    if masks.dtype != torch.bool and not all(bool(((m == 0) | (m == 1)).all()) for m in _parts(masks)):
        raise MetricError("masks must be bool or 0 and 1 (for 0/255 use mask > 127), other values are in one")
    return maps if maps.dtype == torch.float64 else maps.float(), masks.bool()


def split_tensors(maps: Tensor, masks: Tensor) -> Iterator[ImagePixels]:
    """The pixels of checked maps and masks (N, H, W), image by image."""
    for scores, mask in zip(_parts(maps), _parts(masks), strict=True):
        labels = label_regions(mask)
        flat = labels + torch.arange(len(mask), device=mask.device)[:, None, None] * mask[0].numel()
        chosen = flat[mask]
        sizes = torch.bincount(chosen, minlength=mask.numel() + 1)[chosen]
        numbers = torch.arange(1, mask[0].numel() + 1, device=mask.device).view(mask[0].shape)
        counts = mask.sum((1, 2)).tolist()
        ends = np.cumsum(counts)[:-1]
        columns = zip(
            scores,
            mask,
            np.split(to_numpy(scores[mask]), ends),
            np.split(to_numpy(sizes).astype(np.uint32), ends),
            counts,
            (mask & (labels == numbers)).sum((1, 2)).tolist(),
            scores.amin((1, 2)).tolist(),
            scores.amax((1, 2)).tolist(),
            strict=True,
        )
        for one, where, defect, of, defects, regions, lowest, highest in columns:
            yield ImagePixels(
                source=Held(scores=one, mask=where),
                defect=defect,
                sizes=of,
                normals=one.numel() - defects,
                regions=regions,
                lowest=lowest,
                highest=highest,
            )


def label_regions(masks: Tensor) -> Tensor:
    """Label the 8-connected regions of masks (N, H, W): each pixel gets the largest pixel number of its region.

    Pixels of an image are numbered from 1, row after row; 0 where there is no region.

    Example:
        >>> label_regions(torch.tensor([[[1, 0, 0], [0, 1, 0]], [[0, 0, 1], [1, 0, 1]]], dtype=torch.bool)).tolist()
        [[[5, 0, 0], [0, 5, 0]], [[0, 0, 6], [4, 0, 6]]]
    """
    pixels = masks[0].numel()
    kind = next(kind for kind, most in EXACT.items() if pixels < most)
    labels = torch.arange(1, pixels + 1, device=masks.device, dtype=kind).view(masks[0].shape) * masks
    while True:
        spread = max_pool2d(labels[:, None], 3, stride=1, padding=1)[:, 0] * masks
        named = (spread.flatten(1).long() - 1).clamp_min(0)
        spread = spread.flatten(1).gather(1, named).view(masks.shape) * masks
        if torch.equal(spread, labels):
            return labels.long()
        labels = spread


def count_tensors(maps: Tensor, masks: Tensor, keys: Any) -> IntArray:
    """Normal pixels in each slot of the ascending, distinct keys (K,); (2 K + 1,)."""
    cuts = torch.as_tensor(to_scores(keys), device=maps.device)
    slots = torch.zeros(2 * len(cuts) + 1, dtype=torch.int64, device=maps.device)
    for scores, mask in zip(_parts(maps), _parts(masks), strict=True):
        normal = scores[~mask].to(cuts.dtype)
        place = torch.searchsorted(cuts, normal)
        at = cuts[place.clamp_max(len(cuts) - 1)] == normal
        slots += torch.bincount(2 * place + at, minlength=len(slots))
    found: IntArray = to_numpy(slots)
    return found
