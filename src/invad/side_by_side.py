"""Two runs over the same test images in, a page to compare them out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from invad.data import ImageSource, check_masks, content_hash, content_hashes
from invad.data.images import read_image, read_mask
from invad.devices import choose_device
from invad.errors import DataError, RunError, SettingsError
from invad.evaluation import fill, open_test_set
from invad.inference.scorer import plain_scorer
from invad.metrics import Evaluator
from invad.records import Record
from invad.report.gallery import shrink, shrink_mask
from invad.report.side_by_side import Beside, PairClass, PairImage, Side, pick_pairs, write_beside
from invad.reporting import make_maps
from invad.runs import Run, load_model
from invad.saved_evaluation import Request

RESAMPLES = 200


def report_beside(
    first: Path | str,
    second: Path | str,
    *,
    data: Sequence[str] = (),
    views: Sequence[str] = (),
    split: int | None = None,
    resamples: int = RESAMPLES,
    out: Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Path:
    """Score the test images by two runs, compare them in pairs, and write the page; return its path.

    Args:
        first: the folder of a run.
        second: that of another.
        data: data sets as LAYOUT:ROOT; none given: each run's own, which must hold the same test images.
        views: the cameras to use; none given: all.
        split: which split of COCO-AD.
        resamples: of the test images, for the intervals of the differences; at least 1.
        out: the file to write; None: `evaluation/beside-NAME.html` in the folder of the first.
        device: as in `TrainSettings`.
        quiet: show no progress.

    Raises:
        RunError: the runs have not the same test images, or the page cannot be written.
        SettingsError: there is no resample.
        DataError: a data set is not laid out as it should be.
    """
    if resamples < 1:
        raise SettingsError(f"two runs are compared by resampling; expected --bootstrap 1 or more, got {resamples}")
    runs = Run.open(first), Run.open(second)
    request = Request(data=tuple(data), views=tuple(views), split=split)
    test_sets = [
        _by_content(open_test_set(run, request, trained=run.trained_classes()).split("test"), run) for run in runs
    ]
    _require_same(runs, test_sets)
    records = [[record for _, record in found] for found in test_sets]
    evaluators, scores = [], []
    for run, own in zip(runs, records, strict=True):
        evaluator, found = _score(run, own, device, quiet)
        evaluators.append(evaluator)
        scores.append(found)
    names = _names(runs)
    sides = [
        Side(name=name, results=evaluator.compute("exact"), scale=run.scale(), settings=_settings(run))
        for name, evaluator, run in zip(names, evaluators, runs, strict=True)
    ]
    path = out or runs[0].evaluation / f"beside-{runs[1].name}.html"
    content = Beside(
        sides=(sides[0], sides[1]),
        differences=evaluators[0].differences(evaluators[1], resamples),
        classes=_classes(records[0], scores),
        images=tuple(_images(runs, records, scores, sides, device)),
    )
    write_beside(path, content)
    return path


Found = list[tuple[tuple[str, str, str, str], Record]]
"""Test images in the order of what they are: class, type of defect, SHA-256 of image and mask."""


def _by_content(records: Sequence[Record], run: Run) -> Found:
    if not records:
        raise DataError(f"the data of {run.path} holds no test image; expected some to compare runs on")
    check_masks(records)
    hashes = content_hashes([record.image for record in records])
    masks = ["" if record.mask is None else content_hash(record.mask) for record in records]
    keys = [(r.class_name, r.defect, image, mask) for r, image, mask in zip(records, hashes, masks, strict=True)]
    return sorted(zip(keys, records, strict=True), key=lambda found: (found[0], str(found[1].image)))


def _require_same(runs: Sequence[Run], found: Sequence[Found]) -> None:
    """Refuse runs whose test images are not the same, or not taken to be the same."""
    first, second = ([key for key, _ in one] for one in found)
    if first == second:
        return
    alone = [
        [record for key, record in one if key not in other]
        for one, other in ((found[0], set(second)), (found[1], set(first)))
    ]
    shown = "; ".join(
        f"{len(own)} only of {run.path} (the first: {own[0].image})"
        for run, own in zip(runs, alone, strict=True)
        if own
    )
    raise RunError(
        f"{runs[0].path} and {runs[1].path} cannot be compared: expected the same test images, with the same masks, "
        f"and found {len(first)} and {len(second)}{'; ' + shown if shown else ''}. Name what both are to be tried on "
        f"by --data"
    )


def _score(run: Run, records: Sequence[Record], device: str, quiet: bool) -> tuple[Evaluator, NDArray[np.float32]]:
    if not quiet:
        Console(stderr=True).print(f"scoring {len(records)} images by {run.path}", highlight=False, markup=False)
    size, evaluator = run.settings().size, Evaluator()
    scorer = plain_scorer(load_model(run).to(choose_device(device)), size)
    return evaluator, fill(evaluator, scorer, ImageSource(records, size, cache="none"), quiet=quiet)


def _names(runs: Sequence[Run]) -> list[str]:
    """What the page calls the runs."""
    names = [run.name for run in runs]
    return names if names[0] != names[1] else [str(run.path) for run in runs]


def _settings(run: Run) -> dict[str, str]:
    settings = run.settings()
    return {name: str(getattr(settings, name)) for name in settings.__dataclass_fields__}


def _classes(records: Sequence[Record], scores: Sequence[NDArray[np.float32]]) -> tuple[PairClass, ...]:
    names = [record.class_name for record in records]
    found = []
    for name in sorted(set(names)):
        own = [i for i, one in enumerate(names) if one == name]
        defects = tuple(records[i].defect for i in own)
        found.append(PairClass(name=name, defects=defects, scores=(scores[0][own], scores[1][own])))
    return tuple(found)


def _images(
    runs: Sequence[Run],
    records: Sequence[Sequence[Record]],
    scores: Sequence[NDArray[np.float32]],
    sides: Sequence[Side],
    device: str,
) -> list[PairImage]:
    """The images on which the runs differ most, with both maps."""
    classes = [record.class_name for record in records[0]]
    picked = pick_pairs(
        [side.place(found, classes) for side, found in zip(sides, scores, strict=True)],
        classes,
        [record.defect for record in records[0]],
    )
    if not picked:  # the same model twice
        return []
    chosen = [choice.index for choice in picked]
    maps = [
        make_maps(run, load_model(run), [own[i] for i in chosen], device)
        for run, own in zip(runs, records, strict=True)
    ]
    return [
        PairImage(
            class_name=(record := records[0][choice.index]).class_name,
            defect=record.defect,
            label="/".join(record.image.parts[-3:]),
            scores=(float(scores[0][choice.index]), float(scores[1][choice.index])),
            image=shrink(read_image(record.image)),
            maps=(maps[0][at], maps[1][at]),
            mask=None if record.mask is None else shrink_mask(read_mask(record.mask)),
            favours=choice.favours,
        )
        for at, choice in enumerate(picked)
    ]
