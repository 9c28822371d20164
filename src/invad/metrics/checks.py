"""What may enter a metric: every array is checked here, once, with an error that says what was expected."""

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from invad.errors import MetricError
from invad.metrics.results import PROTOCOLS, Protocol
from invad.metrics.threads import in_threads

FloatArray = npt.NDArray[np.floating[Any]]
BoolArray = npt.NDArray[np.bool_]
ArrayLike = Any
"""A NumPy array, a torch tensor on any device, or a (nested) sequence of numbers."""

FLOATS = ("float16", "float32", "float64")


class UndefinedMetricError(MetricError):
    """The arrays are sound, but the metric has no value on them, for example AUROC without a normal image."""


def to_numpy(values: ArrayLike) -> npt.NDArray[Any]:
    """Values as a NumPy array; tensors are detached and brought to the CPU, bfloat16 is widened to float32."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":
            values = values.float()
        values = values.numpy()
    return np.asarray(values)


def check_maps(maps: ArrayLike) -> FloatArray | list[FloatArray]:
    """Anomaly maps, finite or not: floats (N, H, W), or a list of (H, W) where they came as a sequence.

    Raises:
        MetricError: no map, or a map that is not (H, W), or is empty or of integers.
    """
    images = _images(maps, "maps")
    for index, image in enumerate(images[:1] if isinstance(images, np.ndarray) else images):  # one stands for an array
        if image.dtype.name not in FLOATS:
            raise MetricError(f"maps must be float16, float32 or float64, but map {index} is {image.dtype}: convert it")
        if image.ndim != 2 or image.size == 0:
            raise MetricError(f"maps must be (N, H, W) or a sequence of (H, W), but map {index} is {image.shape}")
    return images


def check_finite(extents: Iterable[tuple[float, float]]) -> None:
    """Refuse maps by their lowest and highest scores: NaN passes through both, and infinity is one of them."""
    _refuse("maps must be finite, but NaN or infinity is in map", (not all(map(isfinite, ends)) for ends in extents))


def check_masks(masks: ArrayLike, maps: FloatArray | list[FloatArray], threads: int = 1) -> BoolArray | list[BoolArray]:
    """Masks of the maps' sizes, True on a defect: (N, H, W), or a list of (H, W) where they came so or were copied.

    Raises:
        MetricError: another number or size than the maps, or values other than 0 and 1.
    """
    images = _images(masks, "masks")
    if len(images) != len(maps):
        raise MetricError(f"one mask per map is needed: there are {len(maps)} maps and {len(images)} masks")
    for index, (mask, scores) in enumerate(zip(images, maps, strict=True)):
        if mask.shape != scores.shape:
            raise MetricError(f"mask {index} is {mask.shape} but its map is {scores.shape}: resize one to the other")
    parts = np.array_split(images, threads) if isinstance(images, np.ndarray) else images
    if any(in_threads(_odd, parts, threads)):
        _refuse("masks must be bool or 0 and 1 (for 0/255 use mask > 127), other values are in mask", map(_odd, images))
    if isinstance(images, np.ndarray) and images.itemsize == 1:
        return images.view(np.bool_)
    return [_as_bool(mask) for mask in images]


def check_labels(labels: ArrayLike, count: int, name: str = "labels") -> BoolArray:
    """Image labels as a bool array (N,), True where anomalous.

    Raises:
        MetricError: another number than the images, or values other than 0 and 1.
    """
    array = to_numpy(labels)
    if array.shape != (count,):
        raise MetricError(f"{name} must be ({count},), one per image, but are {array.shape}")
    if _odd(array):
        raise MetricError(f"{name} must be bool or 0 and 1 (1 where the image is anomalous), but others are there")
    return array.astype(np.bool_, copy=False)


def check_scores(scores: ArrayLike, count: int | None = None) -> FloatArray:
    """Image scores as a finite float array (N,).

    Raises:
        MetricError: another number than the images, integers, NaN or infinity.
    """
    array = to_numpy(scores)
    if array.ndim != 1 or (count is not None and len(array) != count):
        raise MetricError(f"image scores must be ({'N' if count is None else count},), but are {array.shape}")
    if array.dtype.name not in FLOATS:
        raise MetricError(f"image scores must be float16, float32 or float64, but are {array.dtype}: convert them")
    _refuse("image scores must be finite, but NaN or infinity is at", ~np.isfinite(array))
    return array


def check_consistent(labels: BoolArray, marked: Sequence[bool]) -> None:
    """Refuse images that are normal by their label but whose mask marks defect pixels."""
    _refuse(
        "an image labelled normal must have an empty mask, but defect pixels are in mask",
        (not label and any_defect for label, any_defect in zip(labels, marked, strict=True)),
    )


def check_protocol(protocol: str) -> Protocol:
    """The protocol's name.

    Raises:
        MetricError: no protocol is called that.
    """
    for name in PROTOCOLS:
        if name == protocol:
            return name
    raise MetricError(f"the protocol is one of {', '.join(PROTOCOLS)}, not {protocol!r}")


def _images(values: ArrayLike, name: str) -> npt.NDArray[Any] | list[npt.NDArray[Any]]:
    if getattr(values, "ndim", 3) != 3:
        raise MetricError(f"{name} must be (N, H, W) or a sequence of (H, W), but are {tuple(values.shape)}")
    images = to_numpy(values) if hasattr(values, "ndim") else [to_numpy(image) for image in values]
    if len(images) == 0:
        raise MetricError(f"{name} must hold at least one image, but are empty")
    return images


def _as_bool(mask: npt.NDArray[Any]) -> BoolArray:
    """A mask of 0 and 1 as bool, if possible without a copy: bytes are read anew, an empty mask takes no room."""
    if mask.dtype == np.bool_:
        return mask
    if mask.itemsize == 1:
        return mask.view(np.bool_)
    return mask.astype(np.bool_) if mask.any() else np.broadcast_to(np.bool_(False), mask.shape)


def _odd(array: npt.NDArray[Any]) -> bool:
    if array.dtype == np.bool_:
        return False
    if array.dtype == np.uint8:
        return array.size > 0 and bool(array.max() > 1)
    return array.dtype.kind not in "iuf" or not bool(((array == 0) | (array == 1)).all())


def _refuse(message: str, bad: Iterable[Any]) -> None:
    """Raise with the first few indices at which `bad` holds."""
    found = [str(index) for index, value in enumerate(bad) if value]
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise MetricError(f"{message} {', '.join(found[:3])}{more}")
