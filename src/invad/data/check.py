"""A look at a whole data set without training: what would stop a run, or make its numbers wrong."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from invad.data.catalog import PUBLISHED, differences
from invad.data.dataset import DataSet, open_dataset
from invad.data.images import read_image, read_mask, read_size
from invad.data.loading import threads
from invad.data.unused import unread_pictures, unused_images
from invad.errors import DataError, ImageError
from invad.records import Record, Size

SHOWN = 5
"""Files named for each kind of fault."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """What was found."""

    counts: dict[tuple[str, str, str], int]
    """Images by class, split and defect."""
    sizes: dict[Size, int]
    """Images by height and width."""
    errors: tuple[str, ...]
    """What would stop a training or make its numbers wrong."""
    warnings: tuple[str, ...]
    """What is unusual but usable."""


def check_dataset(
    spec: str, classes: Sequence[str] = (), *, views: Sequence[str] = (), split: int | None = None
) -> CheckReport:
    """Read every file of a data set and return what is wrong with it; arguments as `open_dataset`.

    Raises:
        SettingsError: no layout is given and several fit, or the set does not have such views or splits. A set that is
            not laid out as it should be is among the errors.
    """
    try:
        data = open_dataset(spec, classes, views=views, split=split)
    except DataError as error:
        return CheckReport(counts={}, sizes={}, errors=(str(error),), warnings=())
    return check_opened(data, whole=not classes and not views)


def check_opened(data: DataSet, *, whole: bool) -> CheckReport:
    """Read every file of a data set that is opened already and return what is wrong with it.

    Args:
        data: one data set, or several as one.
        whole: nothing of it was left out when it was opened, so that it can be compared with what is published.
    """
    with ThreadPoolExecutor(max_workers=threads()) as pool:
        looks = list(pool.map(_look, data.records))
    faults: dict[str, list[str]] = defaultdict(list)
    for look in looks:
        for kind, what in look.faults:
            faults[kind].append(what)
    for kind, group in _duplicates(data.records, looks).items():
        faults[kind] += group
    faults[UNMASKED] = half_masked(data.records)
    if whole:
        faults[UNUSED], faults[UNREAD] = unused_images(data), unread_pictures(data)
    if whole and len(data.layouts) == 1:
        (layout,) = data.layouts
        kind = INCOMPLETE if layout not in PUBLISHED or PUBLISHED[layout].verified else UNVERIFIED
        faults[kind] = differences(layout, data.root, data.records)
    lines = {kind: f"{len(found)} {kind}: {_first(found)}" for kind, found in faults.items() if found}
    sizes = Counter(look.size for look in looks if look.size)
    if len(sizes) > 1:
        common = max(sizes, key=lambda size: sizes[size])
        odd = [str(r.image) for r, look in zip(data.records, looks) if look.size and look.size != common]
        lines["odd sizes"] = f"{len(odd)} images are not {common[0]} x {common[1]} as the others: {_first(odd)}"
    return CheckReport(
        counts=dict(sorted(Counter((r.class_name, r.split, r.defect) for r in data.records).items())),
        sizes=dict(sizes),
        errors=tuple(text for kind, text in lines.items() if kind in ERRORS),
        warnings=(*data.notices, *(text for kind, text in lines.items() if kind not in ERRORS)),
    )


def check_masks(records: Sequence[Record]) -> None:
    """Refuse test images whose masks would make the numbers wrong; reads headers, and pixels of normal images' masks.

    Raises:
        DataError: a mask has another size than its image, a normal image's mask marks something, or only some of a
            class's defective images have one.
        ImageError: a file is missing, or not an image.
    """
    masked = [record for record in records if record.mask is not None]
    with ThreadPoolExecutor(max_workers=threads()) as pool:
        images = list(pool.map(read_size, [record.image for record in masked]))
        masks = list(pool.map(read_size, [record.mask for record in masked if record.mask is not None]))
        normal = [record for record in masked if not record.anomalous]
        marked = [str(r.mask) for r, mark in zip(normal, pool.map(_marks, normal), strict=True) if mark]
    if marked:
        raise DataError(f"{len(marked)} {MARKED}: {_first(marked)}. Give such images a defect, or another mask")
    wrong = [
        f"{record.mask} is {mask[0]} x {mask[1]}, its image {image[0]} x {image[1]}"
        for record, image, mask in zip(masked, images, masks, strict=True)
        if image != mask
    ]
    if wrong:
        raise DataError(f"{len(wrong)} {MASK_SIZE}: {_first(wrong)}. Draw them again at the size of the image")
    unmasked = half_masked(records)
    if unmasked:
        raise DataError(f"{len(unmasked)} {UNMASKED}: {_first(unmasked)}. Add masks for these, or remove the others")


def _marks(record: Record) -> bool:
    """Whether the mask of a record marks something."""
    return record.mask is not None and bool(read_mask(record.mask).any())


def half_masked(records: Sequence[Record]) -> list[str]:
    """Return the defective images without a mask of classes that have masks for others."""
    masked = {record.class_name for record in records if record.mask is not None}
    return [str(r.image) for r in records if r.anomalous and r.mask is None and r.class_name in masked]


def render(report: CheckReport) -> str:
    """Return the report as text."""
    lines = [f"{'class':<20}{'split':<12}{'defect':<22}images"]
    lines += [f"{name:<20}{split:<12}{defect:<22}{n}" for (name, split, defect), n in report.counts.items()]
    lines.append(f"{'total':<54}{sum(report.counts.values())}")
    lines += [f"error: {text}" for text in report.errors]
    lines += [f"warning: {text}" for text in report.warnings]
    lines.append("no errors" if not report.errors else f"{len(report.errors)} kinds of errors")
    return "\n".join(lines)


UNREADABLE = "files cannot be read"
MASK_SIZE = "masks have another size than their images"
EMPTY_MASK = "masks of defective images are empty"
MARKED = "masks mark something on normal images"
UNUSED = "image files are not used: links to nothing, or where the layout has no images"
UNREAD = "pictures are not used: they are of a kind that is not read (BMP, JPEG, PNG, TIFF and WebP are)"
LEAKED = "test images are training images too"
TWICE = "images are in one split twice"
UNMASKED = "defective images have no mask, though others of their class have"
LOSSY_MASK = "masks are JPEG files, whose compression leaves values above 0 beside the defect"
INCOMPLETE = "things differ from what is published"
UNVERIFIED = "things differ from what is published, which is not verified"
ERRORS = {UNREADABLE, MASK_SIZE, MARKED, LEAKED, UNMASKED, INCOMPLETE}


@dataclass(frozen=True, slots=True)
class _Look:
    size: Size | None
    digest: str
    faults: list[tuple[str, str]]


def _look(record: Record) -> _Look:
    """One image and its mask, read."""
    faults: list[tuple[str, str]] = []
    try:
        image = read_image(record.image)
    except ImageError as error:
        return _Look(None, "", [(UNREADABLE, str(error))])
    size = (image.shape[0], image.shape[1])
    if record.mask is not None:
        try:
            mask = read_mask(record.mask)
            if mask.shape != size:
                faults.append((MASK_SIZE, f"{record.mask} {mask.shape} for {size}"))
            if mask.any() != record.anomalous:
                faults.append((EMPTY_MASK if record.anomalous else MARKED, str(record.mask)))
            if record.mask.suffix.lower() in (".jpg", ".jpeg"):
                faults.append((LOSSY_MASK, str(record.mask)))
        except ImageError as error:
            faults.append((UNREADABLE, str(error)))
    return _Look(size, hashlib.sha256(image.tobytes()).hexdigest(), faults)


def _duplicates(records: Sequence[Record], looks: Sequence[_Look]) -> dict[str, list[str]]:
    """Images with the same pixels, across the splits and within one."""
    by_digest: dict[str, list[Record]] = defaultdict(list)
    for record, look in zip(records, looks, strict=True):
        if look.digest:
            by_digest[look.digest].append(record)
    found: dict[str, list[str]] = defaultdict(list)
    for same in by_digest.values():
        if len(same) > 1:
            kind = LEAKED if len({record.split == "test" for record in same}) > 1 else TWICE
            found[kind].append(" = ".join(str(Path(record.image)) for record in same))
    return found


def _first(found: Sequence[str]) -> str:
    return "; ".join(found[:SHOWN]) + ("; ..." if len(found) > SHOWN else "")
