"""The fifteen numbers of one class."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from invad.metrics.checks import (
    ArrayLike,
    BoolArray,
    UndefinedMetricError,
    check_consistent,
    check_labels,
    check_protocol,
    check_scores,
)
from invad.metrics.counts import PixelCounts, Ranking, check_pixels, pool, pool_with, rank
from invad.metrics.pixels import ImagePixels, read_pixels
from invad.metrics.ranking import auroc, average_precision, check_images, f1max, ioumax
from invad.metrics.region import aupro_evenly, aupro_exactly
from invad.metrics.results import IMAGE_KEYS, KEYS, MEANS, RANGE_KEYS, ClassResult, Protocol
from invad.metrics.threads import choose_threads, in_threads
from invad.metrics.thresholds import maxima_evenly, range_metrics

Values = dict[str, float | None]
Reasons = dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """What is kept of one image: its pixels' scores, its own score, its label."""

    pixels: ImagePixels
    score: float
    anomalous: bool
    defect: str | None = None
    sample: str | None = None

    def label(self, protocol: Protocol) -> bool:
        """Whether the protocol takes the image to be anomalous; `paper` looks at the mask."""
        return self.anomalous if protocol == "exact" else self.pixels.regions > 0

    @property
    def digest(self) -> tuple[bool, float, bytes]:
        """A key that puts images in one order, however they came."""
        content = hashlib.blake2b(digest_size=16)
        scores, mask = self.pixels.source.load()
        content.update(np.ascontiguousarray(scores).data)
        content.update(b"" if mask is None else np.packbits(mask).data)
        return self.anomalous, self.score, content.digest()


def evaluate_class(
    maps: ArrayLike,
    masks: ArrayLike,
    labels: ArrayLike,
    *,
    scores: ArrayLike | None = None,
    protocol: Protocol = "exact",
    name: str = "",
    threads: int | None = None,
) -> ClassResult:
    """All fifteen numbers of one class, each in [0, 1], or None with the reason in `reasons`.

    Args:
        maps: float16, float32 or float64 (N, H, W), or a sequence of (H, W); higher is more anomalous. A tensor
            (N, H, W) on an accelerator is counted there.
        masks: bool or 0/1, as the maps; True on a defect.
        labels: bool or 0/1 (N,); True where the image is anomalous.
        scores: float (N,), image scores; None takes the largest of each map.
        protocol: `exact`, or `paper` for comparison with published numbers.
        name: the class, as the result will call it.
        threads: None takes NUMBA_NUM_THREADS, or one per core; the numbers do not depend on it.

    Raises:
        MetricError: the arrays do not fit each other, or hold integers, NaN or infinity.

    Cost: two passes over the pixels and a sort of the defect pixels; measured in docs/metrics-speed.md.

    Example:
        >>> import numpy as np
        >>> maps = np.array([[[0.1, 0.2]], [[0.3, 0.9]]], dtype=np.float32)
        >>> result = evaluate_class(maps, maps > 0.8, [False, True])
        >>> result.values["auroc_image"], result.values["aupro"]
        (1.0, 1.0)
    """
    count = choose_threads(threads)
    if on_accelerator(maps):
        return _evaluate_tensors(name, maps, masks, labels, scores, check_protocol(protocol))
    return evaluate_images(name, read_images(maps, masks, labels, scores, count), check_protocol(protocol), count)


def on_accelerator(maps: ArrayLike) -> bool:
    """Whether maps are a torch tensor that is not on the CPU."""
    return hasattr(maps, "detach") and maps.device.type != "cpu"


def _evaluate_tensors(
    name: str, maps: ArrayLike, masks: ArrayLike, labels: ArrayLike, scores: ArrayLike | None, protocol: Protocol
) -> ClassResult:
    """As `evaluate_class`, where the maps are."""
    from invad.metrics.tensors import check_tensors, count_tensors, split_tensors

    checked, truth = check_tensors(maps, masks)
    images = join_images(list(split_tensors(checked, truth)), check_labels(labels, len(checked)), scores)
    counts = pool_with([image.pixels for image in images], lambda keys: count_tensors(checked, truth, keys))
    return describe(name, images, counts, protocol, 1)


def read_images(
    maps: ArrayLike, masks: ArrayLike, labels: ArrayLike, scores: ArrayLike | None, threads: int = 1
) -> list[Image]:
    """The images of a batch, checked together; they hold on to the arrays. Raises MetricError."""
    pixels = read_pixels(maps, masks, threads)
    return join_images(pixels, check_labels(labels, len(pixels)), scores)


def join_images(pixels: Sequence[ImagePixels], labels: BoolArray, scores: ArrayLike | None) -> list[Image]:
    """The images of a batch; their scores are the largest of their maps where there are none."""
    check_consistent(labels, [one.regions > 0 for one in pixels])
    own = [one.highest for one in pixels] if scores is None else check_scores(scores, len(pixels)).tolist()
    return [Image(pixels=p, score=s, anomalous=a) for p, s, a in zip(pixels, own, labels.tolist(), strict=True)]


def evaluate_images(name: str, images: Sequence[Image], protocol: Protocol, threads: int) -> ClassResult:
    """The fifteen numbers of the images of one class."""
    counts = pool([image.pixels for image in images], threads)
    return describe(name, images, counts, protocol, threads)


def describe(name: str, images: Sequence[Image], counts: PixelCounts, protocol: Protocol, threads: int) -> ClassResult:
    """The fifteen numbers of a class from its images' scores and labels and its pixels' counts."""
    labels = np.array([image.label(protocol) for image in images])
    scores = np.array([image.score for image in images])
    values, reasons = all_values(rank(scores[labels], scores[~labels]), counts, protocol, threads)
    return ClassResult(
        name=name,
        images=len(images),
        anomalous=int(labels.sum()),
        values=values,
        reasons=reasons,
        empty_masks=sum(image.anomalous and image.pixels.regions == 0 for image in images),
    )


def all_values(ranking: Ranking, counts: PixelCounts, protocol: Protocol, threads: int = 1) -> tuple[Values, Reasons]:
    """The fifteen numbers from the ranking of the images and the counts of the pixels, and why some are None."""
    groups: dict[tuple[str, ...], Callable[[], tuple[float, ...]]] = {
        IMAGE_KEYS: lambda: _of_images(check_images(ranking)),
        ("aupro",): lambda: _of_regions(check_pixels(counts), protocol),
        ("auroc_pixel", "ap_pixel"): lambda: _of_pixels(check_pixels(counts)),
        ("f1max_pixel", "iou_max"): lambda: _maxima(check_pixels(counts), protocol),
        RANGE_KEYS: lambda: range_metrics(check_pixels(counts), protocol),
    }
    values: Values = dict.fromkeys(KEYS)
    reasons: Reasons = {}
    for keys, found in zip(groups, in_threads(_try, list(groups.values()), threads), strict=True):
        if isinstance(found, str):
            reasons.update(dict.fromkeys(keys, found))
        else:
            values.update(zip(keys, found, strict=True))
    _put_means(values, reasons)
    return values, reasons


def _try(compute: Callable[[], tuple[float, ...]]) -> tuple[float, ...] | str:
    """What is computed, or why it is undefined."""
    try:
        return compute()
    except UndefinedMetricError as error:
        return str(error)


def _of_images(ranking: Ranking) -> tuple[float, float, float]:
    return auroc(ranking), average_precision(ranking), f1max(ranking)


def _of_regions(counts: PixelCounts, protocol: Protocol) -> tuple[float]:
    return (aupro_exactly(counts) if protocol == "exact" else aupro_evenly(counts),)


def _of_pixels(counts: PixelCounts) -> tuple[float, float]:
    ranking = counts.ranking
    return auroc(ranking), average_precision(ranking)


def _maxima(counts: PixelCounts, protocol: Protocol) -> tuple[float, float]:
    if protocol == "paper":
        return maxima_evenly(counts)
    ranking = counts.ranking
    return f1max(ranking), ioumax(ranking)


def _put_means(values: Values, reasons: Reasons) -> None:
    """Add the means of the parts, or the first part that is missing as the reason."""
    for key, parts in MEANS.items():
        found = [value for part in parts if (value := values[part]) is not None]
        if len(found) == len(parts):
            values[key] = math.fsum(found) / len(parts)
        else:
            missing = next(part for part in parts if values[part] is None)
            reasons[key] = f"{missing} is undefined: {reasons[missing]}"
