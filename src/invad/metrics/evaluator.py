"""The numbers of a data set whose maps arrive in batches."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from invad.errors import MetricError
from invad.metrics.bootstrap import with_intervals
from invad.metrics.breakdown import evaluate_defects, evaluate_samples
from invad.metrics.checks import ArrayLike, check_protocol
from invad.metrics.classes import Image, evaluate_images, read_images
from invad.metrics.counts import is_defined, pool
from invad.metrics.paired import Differences, paired_differences
from invad.metrics.pixels import Kept, Source
from invad.metrics.results import KEYS, SAMPLE_TITLES, ClassResult, DefectResult, Protocol, Results, SampleResult
from invad.metrics.spool import Spool, Spooled, read_batches
from invad.metrics.sweep import Sweep, sweep_counts
from invad.metrics.threads import choose_threads

MEMORY = 1 << 31
"""Bytes of maps that an evaluator keeps before it goes on in a temporary folder."""


class Evaluator:
    """Collects maps in batches and computes the numbers of a data set; the same to the bit in any order and batching.

    Args:
        spool: a folder to write all maps into, in the format of `invad.metrics.spool`; they stay there, and can be read
            again once `compute` or `finish` was called. None: maps are kept in memory, and from `memory` bytes on in a
            temporary folder, which takes as much room as the maps do.
        memory: bytes of maps to keep in memory.
        threads: None takes NUMBA_NUM_THREADS, or one per core; the numbers do not depend on it.

    Raises:
        MetricError: `spool` holds maps already, or `threads` is less than 1.

    Memory: the maps up to `memory`, and 8 bytes for each defect pixel; `compute` takes some 90 bytes for each defect
    pixel of the largest class, and with bootstrap 2 for each of its normal pixels.

    Example:
        >>> import numpy as np
        >>> evaluator = Evaluator()
        >>> maps = np.array([[[0.1, 0.2]], [[0.3, 0.9]]], dtype=np.float32)
        >>> evaluator.update(maps, maps > 0.8, ["bottle", "bottle"], [False, True])
        >>> evaluator.compute().mean["mad"]
        1.0
    """

    def __init__(self, *, spool: Path | str | None = None, memory: int = MEMORY, threads: int | None = None) -> None:
        self._images: dict[str, list[Image]] = {}
        self._threads = choose_threads(threads)
        self._room = 0 if spool is not None else memory
        self._spool = None if spool is None else Spool(Path(spool))
        self._held: list[Spool] = []  # other evaluators' folders; the temporary ones must last as long as this one

    @classmethod
    def from_maps(cls, folder: Path | str, *, threads: int | None = None) -> "Evaluator":
        """An evaluator of the maps in a folder, which stay there and are read again by `compute`.

        Raises:
            MetricError: the folder holds no maps, or only a part of them, or a batch is damaged.
        """
        evaluator = cls(memory=0, threads=threads)
        for batch in read_batches(Path(folder)):
            scores = None if batch.scores is None else np.array(batch.scores, np.float64)
            found = read_images(batch.maps, batch.masks, batch.labels, scores, evaluator._threads)
            found = _describe(found, batch.defects, batch.samples)
            evaluator._add(map(str, batch.classes), _moved(found, _spooled(batch.path, found)))
        return evaluator

    def update(
        self,
        maps: ArrayLike,
        masks: ArrayLike,
        classes: Sequence[str] | str,
        labels: ArrayLike,
        scores: ArrayLike | None = None,
        *,
        defects: Sequence[str] | None = None,
        samples: Sequence[str] | None = None,
    ) -> None:
        """Add a batch; arguments as for `evaluate_class`, `classes` one name per image or one for all.

        Args:
            defects: (N,), the type of defect of each image, `good` for normal ones: results for each type.
            samples: (N,), the object that each image is a view of: metrics of samples.

        Raises:
            MetricError: the arrays do not fit each other, or a folder cannot be written; nothing of the batch is added.
        """
        images = _describe(read_images(maps, masks, labels, scores, self._threads), defects, samples)
        names = [classes] * len(images) if isinstance(classes, str) else [str(name) for name in classes]
        if len(names) != len(images):
            raise MetricError(f"one class per map is needed: there are {len(images)} maps and {len(names)} classes")
        self._add(names, self._keep(names, images))

    def merge(self, other: "Evaluator") -> None:
        """Add all that another evaluator has collected, for example in another process."""
        for name, images in list(other._images.items()):
            self._images[name] = self._images.get(name, []) + images
        self._held += other._spools()

    def finish(self) -> None:
        """Say in the folder `spool`, and in those of merged evaluators, that all maps are there, as `compute` does too.

        For maps that are only to be read again, by `from_maps`; without it they count as a part. More may follow, and
        are again a part until they are finished.
        """
        for spool in self._spools():
            spool.finish()

    def compute(
        self,
        protocol: Protocol = "exact",
        bootstrap: int = 0,
        seed: int = 0,
        *,
        threshold: float | Mapping[str, float] | None = None,
    ) -> Results:
        """The numbers of every class and their mean.

        Args:
            protocol: `exact`, or `paper` for comparison with published numbers.
            bootstrap: resamples of each class's images for 95 % intervals; 0 for none.
            seed: of the resampling.
            threshold: the image score from which on an image counts as found, for the recall of each type of defect;
                one for all classes, or one for each by its name.

        Raises:
            MetricError: nothing was collected, no protocol is called that, or `bootstrap` or `seed` is negative.

        Cost: that of `evaluate_class` for each class; 200 resamples of 83 maps of 256 x 256 take a few seconds.
        """
        check_protocol(protocol)
        if not self._images:
            raise MetricError("nothing to evaluate: call update with at least one image first")
        if bootstrap < 0 or seed < 0:
            raise MetricError(f"bootstrap and seed must be 0 or more, but are {bootstrap} and {seed}")
        self.finish()
        common = None if isinstance(threshold, Mapping) else threshold
        by_class = threshold if isinstance(threshold, Mapping) else dict.fromkeys(self._images, threshold)
        classes = [self._compute_class(name, protocol, by_class.get(name)) for name in sorted(self._images)]
        results = replace(summarise(classes, protocol), threshold=common)
        return with_intervals(results, self._images, bootstrap, seed, self._threads) if bootstrap else results

    def sweeps(self) -> dict[str, Sweep]:
        """What a threshold does to the pixels of each class, for its curves; without classes that have none.

        Cost: one more pass over the pixels.
        """
        found: dict[str, Sweep] = {}
        for name in sorted(self._images):
            counts = pool([image.pixels for image in self._images[name]], self._threads)
            if is_defined(counts):
                found[name] = sweep_counts(counts)
        return found

    def differences(
        self, other: "Evaluator", resamples: int, *, protocol: Protocol = "exact", seed: int = 0
    ) -> Differences:
        """The 95 % intervals of this evaluator's numbers less another's, which was given the same images in order.

        Args:
            other: what another model made of the same images.
            resamples: how often images are drawn; both are measured on the same ones.
            protocol: as in `compute`.
            seed: of the resampling.

        Raises:
            MetricError: the images are not the same, or there is no resample.
        """
        return paired_differences(
            self._images,
            other._images,
            protocol=check_protocol(protocol),
            resamples=resamples,
            seed=seed,
            threads=self._threads,
        )

    def _compute_class(self, name: str, protocol: Protocol, threshold: float | None) -> ClassResult:
        images = self._images[name]
        result = evaluate_images(name, images, protocol, self._threads)
        return replace(result, samples=_samples(images), defects=_defects(images, threshold))

    def _add(self, names: Iterable[str], images: Iterable[Image]) -> None:
        for name, image in zip(names, images, strict=True):
            self._images.setdefault(name, []).append(image)

    def _keep(self, names: Sequence[str], images: Sequence[Image]) -> list[Image]:
        """The images with pixels of their own, in memory or on disk."""
        needed = sum(_kept(image).nbytes for image in images)
        if needed <= self._room:
            self._room -= needed
            return _moved(images, [_kept(image).copy() for image in images])
        self._room = 0
        self._spool = self._spool or Spool()
        return _moved(images, _spool(self._spool, names, images))

    def _spools(self) -> list[Spool]:
        """The folders that hold its maps."""
        return [*self._held, *([self._spool] if self._spool else [])]

    def __getstate__(self) -> dict[str, Any]:
        if any(spool.temporary for spool in self._spools()):
            raise MetricError("maps in a temporary folder cannot leave their process: give the evaluator a folder")
        return self.__dict__


def _kept(image: Image) -> Kept:
    """The pixels of an image that was just read."""
    assert isinstance(image.pixels.source, Kept)
    return image.pixels.source


def _moved(images: Sequence[Image], sources: Sequence[Source]) -> list[Image]:
    pairs = zip(images, sources, strict=True)
    return [replace(image, pixels=replace(image.pixels, source=source)) for image, source in pairs]


def _spool(spool: Spool, names: Sequence[str], images: Sequence[Image]) -> list[Source]:
    """Write the images in batches of one shape and type each; where they are now."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, image in enumerate(images):
        scores = _kept(image).scores
        groups.setdefault((scores.shape, scores.dtype.str), []).append(index)
    found: dict[int, Source] = {}
    for indices in groups.values():
        chosen = [images[index] for index in indices]
        batch = _write(spool, [names[index] for index in indices], chosen)
        found.update(zip(indices, _spooled(batch, chosen), strict=True))
    return [found[index] for index in range(len(images))]


def _spooled(batch: Path, images: Sequence[Image]) -> list[Source]:
    """Where the images of a batch lie on disk."""
    return [Spooled(batch=batch, index=i, masked=_kept(image).mask is not None) for i, image in enumerate(images)]


def _write(spool: Spool, names: Sequence[str], images: Sequence[Image]) -> Path:
    kept = [_kept(image) for image in images]
    maps = np.stack([one.scores for one in kept])
    masks = np.stack([np.zeros(one.scores.shape, np.bool_) if one.mask is None else one.mask for one in kept])
    defects, samples = [image.defect for image in images], [image.sample for image in images]
    notes: dict[str, list[Any] | None] = {
        "classes": list(names),
        "labels": [image.anomalous for image in images],
        "scores": [image.score for image in images],
        "defects": None if None in defects else list(defects),
        "samples": None if None in samples else list(samples),
    }
    return spool.write(maps, masks, notes)


def _describe(images: list[Image], defects: Sequence[str] | None, samples: Sequence[str] | None) -> list[Image]:
    """The images with the types of their defects and the names of their samples."""
    of_defect, of_sample = _names(defects, len(images), "defect"), _names(samples, len(images), "sample")
    return [replace(one, defect=d, sample=s) for one, d, s in zip(images, of_defect, of_sample, strict=True)]


def _names(given: Sequence[str] | None, count: int, what: str) -> Sequence[str | None]:
    if given is None:
        return [None] * count
    if len(given) != count:
        raise MetricError(f"one {what} per map is needed: there are {count} maps and {len(given)} {what}s")
    return [str(name) for name in given]


def _samples(images: Sequence[Image]) -> SampleResult | None:
    """The metrics of samples, if every image names one."""
    names = [name for image in images if (name := image.sample) is not None]
    if len(names) < len(images):
        return None
    scores = np.array([image.score for image in images], np.float64)
    return evaluate_samples(scores, np.array([image.anomalous for image in images]), names)


def _defects(images: Sequence[Image], threshold: float | None) -> tuple[DefectResult, ...]:
    """The results of each type of defect, if every image names one."""
    names = [name for image in images if (name := image.defect) is not None]
    if len(names) < len(images):
        return ()
    return evaluate_defects(np.array([image.score for image in images], np.float64), names, threshold=threshold)


def summarise(classes: Sequence[ClassResult], protocol: Protocol) -> Results:
    """The classes in alphabetical order and their unweighted mean, which skips undefined values and says how many."""
    ordered = tuple(sorted(classes, key=lambda result: result.name))
    defined = {key: [value for c in ordered if (value := c.values[key]) is not None] for key in KEYS}
    return Results(
        protocol=protocol,
        classes=ordered,
        mean={key: _mean(found) for key, found in defined.items()},
        skipped={key: len(ordered) - len(found) for key, found in defined.items()},
        warnings=tuple(
            _empty_warning(result, protocol) for result in ordered if _some_masks_are_empty(result, protocol)
        ),
        sample_mean=_sample_mean([one.samples.values for one in ordered if one.samples]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _sample_mean(classes: Sequence[dict[str, float | None]]) -> dict[str, float | None] | None:
    if not classes:
        return None
    return {key: _mean([value for one in classes if (value := one[key]) is not None]) for key in SAMPLE_TITLES}


def _some_masks_are_empty(result: ClassResult, protocol: Protocol) -> bool:
    """Whether that needs saying: where all are empty, the metrics that need masks say so already."""
    return result.empty_masks > 0 and (protocol == "paper" or result.empty_masks < result.anomalous)


def _empty_warning(result: ClassResult, protocol: Protocol) -> str:
    """Says that masks mark nothing, and what the protocol makes of it."""
    count = "1 anomalous image has" if result.empty_masks == 1 else f"{result.empty_masks} anomalous images have"
    habit = "; the protocol paper takes such an image to be normal" if protocol == "paper" else ""
    return f"{result.name}: {count} an empty mask (lost by resizing, or never drawn), which adds no region{habit}"
