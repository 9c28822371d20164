"""COCO-AD: COCO 2017 as downloaded, in four splits of normal and anomalous categories.

The 80 categories in ascending order of their ids make four groups of 20. In split k, group k is the anomaly:

    train  the images of train2017 with an annotation, and none of an anomalous category
    test   the images of val2017 with an annotation, anomalous where one is of an anomalous category
    mask   the union of those annotations, polygons and run-length masks of crowds alike

Masks and lists are made once, at the first use or by `invad data coco`, in a folder of the user's cache that depends
on the annotation files; the data set's own folder is only read. No image is decoded, one mask per thread is in memory.

Source: https://cocodataset.org/#download, and arXiv:2404.10760, section 4, for the splits.
"""

import hashlib
import io
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track

from invad.data.cache import user_cache
from invad.data.index import field, inside, listed, read_text
from invad.data.mvtec import nearest
from invad.errors import DataError, SettingsError
from invad.files import write_bytes, write_text
from invad.records import GOOD, Record, Size

FORMAT = 1
"""The version of what is made; part of its folder's name."""
SPLITS = (0, 1, 2, 3)
GROUP = 20
"""Categories that are anomalous in one split."""
IMAGES = (118287, 5000)
"""Images of train2017 and val2017, as published."""
ANOMALOUS = "anomalous"

Annotation = Mapping[str, Any]


def read_coco(root: Path, split: int | None = None) -> tuple[list[Record], list[str]]:
    """Return the records of one split of COCO-AD, by file name, and notices; what it needs is made if it is not there.

    Raises:
        SettingsError: no split is given, or there is none of this number.
        DataError: the annotations are not there or damaged, or images that they name are not there.
    """
    if split not in SPLITS:
        raise SettingsError(f"COCO-AD has four splits, and {split} is none of them; choose one by --split 0, 1, 2 or 3")
    (index,) = build_splits(root, [split])
    content = json.loads(index.read_text(encoding="utf-8"))
    train, test = (_present(root / f"{name}2017", names) for name, names in content["images"].items())
    anomalous = set(content["anomalous"])
    records = [Record(image=path, class_name="coco", split="train") for path in train]
    for path in test:
        mask = _mask_file(index, path.name) if path.name in anomalous else None
        defect = GOOD if mask is None else ANOMALOUS
        records.append(Record(image=path, class_name="coco", split="test", defect=defect, mask=mask))
    return records, _notices(root, tuple(content["counts"]))


def build_splits(root: Path, splits: Sequence[int]) -> list[Path]:
    """Make the lists and masks of these splits, unless they are there; return the splits' lists.

    Cost: see docs/data/coco.md. The annotations of train2017 are read as a stream of (image, category).

    Raises:
        DataError: the annotations are not there or damaged.
        RunError: the cache folder cannot be written.
    """
    files = [root / "annotations" / f"instances_{name}2017.json" for name in ("train", "val")]
    for file in files:
        if not file.is_file():
            raise DataError(
                f"there is no {file}{nearest(file)}; expected COCO 2017 as downloaded, with its annotations"
            )
    folder = work_folder(files)
    indexes = [folder / f"split{split}.json" for split in splits]
    if not all(_whole(index) for index in indexes):
        train, val = _read(files[0], slim=True), _read(files[1], slim=False)
        for split, index in zip(splits, indexes, strict=True):
            _build(train, val, split, index)
    return indexes


def work_folder(files: Sequence[Path]) -> Path:
    """Return the folder for what is made of these annotation files, as they are now."""
    states = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return user_cache() / "coco" / hashlib.sha256(json.dumps([FORMAT, states]).encode()).hexdigest()[:16]


def anomalous_categories(categories: Iterable[int], split: int) -> frozenset[int]:
    """Return the ids of the anomalous categories of a split.

    Raises:
        DataError: there are not 80 categories.

    Example:
        >>> sorted(anomalous_categories(range(1, 81), 1))[:3]
        [21, 22, 23]
    """
    ids = sorted(set(categories))
    if len(ids) != GROUP * len(SPLITS):
        raise DataError(f"the annotations have {len(ids)} categories; expected the 80 of COCO 2017")
    return frozenset(ids[GROUP * split : GROUP * (split + 1)])


def union_mask(annotations: Sequence[Annotation], size: Size) -> NDArray[np.bool_]:
    """Return where any of the annotations of one image is, (H, W).

    Polygons and run-length masks, compressed or not, as pycocotools draws them.
    """
    from pycocotools import mask as coco_mask

    mask = np.zeros(size, dtype=bool)
    for annotation in annotations:
        if annotation.get("segmentation"):
            parts = _compressed(annotation["segmentation"], size)
            mask |= coco_mask.decode(coco_mask.merge(parts)).astype(bool)
    return mask


def _compressed(segmentation: Any, size: Size) -> list[Any]:
    """Polygons, or one run-length mask, as pycocotools' compressed run-length masks."""
    from pycocotools import mask as coco_mask

    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], str):
        return [segmentation]
    found = coco_mask.frPyObjects(segmentation, *size)
    return found if isinstance(found, list) else [found]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Annotations:
    """One annotation file."""

    file: Path
    categories: frozenset[int]
    images: dict[int, tuple[str, Size]]
    """Image id -> file name, height and width; in the order of names."""
    of: dict[int, set[int]]
    """Image id -> the categories of its annotations; only images that have some."""
    whole: dict[int, list[Annotation]]
    """Image id -> its annotations; none of a file that was read without them."""

    def named(self, ids: Iterable[int]) -> list[str]:
        """The file names of these images."""
        return [self.images[i][0] for i in ids]


def _read(file: Path, *, slim: bool) -> _Annotations:
    """An annotation file; `slim` drops all but the category of each annotation while the file is parsed."""
    try:
        content = json.loads(read_text(file), object_hook=_slim if slim else None)
    except ValueError as error:
        raise DataError(f"{file} is not JSON: {error}. Fetch it again") from error
    images, categories, annotations = (
        field(content, name, list, str(file)) for name in ("images", "categories", "annotations")
    )
    try:
        named = sorted((i["file_name"], i["id"], (i["height"], i["width"])) for i in images)
        of, whole = defaultdict(set), defaultdict(list)
        for item in annotations:
            image, category = item if slim else (item["image_id"], item["category_id"])
            of[image].add(category)
            if not slim:
                whole[image].append(item)
        ids = frozenset(category["id"] for category in categories)
        known = {i: (name, size) for name, i, size in named}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file} is not an instances file of COCO: {error!r} where an entry was expected") from error
    for name, _, _ in named:
        inside(file.parent, name, str(file))
    unknown = sorted(set(of) - set(known))
    if unknown:
        raise DataError(f"{file} annotates images that it does not list: {listed(unknown)}. Fetch it again")
    return _Annotations(file=file, categories=ids, images=known, of=dict(of), whole=dict(whole))


def _slim(item: dict[str, Any]) -> Any:
    """An annotation as its image and category, so that no polygon outlives its parsing; all else as it is."""
    if "image_id" not in item or "category_id" not in item:
        return item
    return item["image_id"], item["category_id"]


def _build(train: _Annotations, val: _Annotations, split: int, index: Path) -> None:
    """The masks of a split, then its list: a folder without the list is made again."""
    wanted = anomalous_categories(val.categories, split)
    if train.categories != val.categories:
        raise DataError(f"{train.file} and {val.file} have other categories; fetch both again")
    chosen = {i: [a for a in val.whole[i] if a["category_id"] in wanted] for i in val.of}
    anomalous = [i for i in val.images if chosen.get(i)]
    _write_masks(val, chosen, anomalous, index)
    normal = [i for i in train.images if i in train.of and not train.of[i] & wanted]
    content = {
        "format": FORMAT,
        "counts": [len(train.images), len(val.images)],
        "images": {"train": train.named(normal), "val": val.named(i for i in val.images if i in val.of)},
        "anomalous": val.named(anomalous),
    }
    write_text(index, json.dumps(content) + "\n")


def _write_masks(
    val: _Annotations, chosen: Mapping[int, Sequence[Annotation]], images: Sequence[int], index: Path
) -> None:
    """The masks of these images, side by side; what waits is given up where one fails or a person stops it."""
    console = Console(stderr=True)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        made = pool.map(partial(_write_mask, val, chosen, index), images)
        bar = track(
            made, f"{index.stem} masks ", len(images), console=console, transient=True, disable=not console.is_terminal
        )
        try:
            for _ in bar:
                pass
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _write_mask(val: _Annotations, chosen: Mapping[int, Sequence[Annotation]], index: Path, image: int) -> None:
    name, size = val.images[image]
    path = _mask_file(index, name)
    if path.is_file():
        return
    try:
        mask = union_mask(chosen[image], size)
    except Exception as error:  # pycocotools raises bare Exceptions
        raise DataError(f"{val.file}: the segmentations of image {image} cannot be drawn: {error!r}") from error
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def _mask_file(index: Path, name: str) -> Path:
    return index.with_suffix("") / f"{Path(name).stem}.png"


def _whole(index: Path) -> bool:
    """Whether a split's list and all its masks are there."""
    if not index.is_file():
        return False
    wanted = {_mask_file(index, name) for name in json.loads(index.read_text(encoding="utf-8"))["anomalous"]}
    folder = index.with_suffix("")
    return not wanted or (folder.is_dir() and wanted <= set(folder.iterdir()))


def _present(folder: Path, names: Sequence[str]) -> list[Path]:
    """The images of a list in their folder; none where there is no such folder."""
    if not folder.is_dir():
        return []
    there = {path.name for path in folder.iterdir()}
    missing = [name for name in names if name not in there]
    if missing:
        raise DataError(
            f"{len(missing)} images that the annotations name are not in {folder}: {listed(missing)}. Unpack it again"
        )
    return [folder / name for name in names]


def _notices(root: Path, counts: tuple[int, ...]) -> list[str]:
    absent = [folder for folder in (root / "train2017", root / "val2017") if not folder.is_dir()]
    notices = [f"there is no {folder}: its images are left out" for folder in absent]
    if counts != IMAGES:
        found, published = (f"{train} train and {val} val images" for train, val in (counts, IMAGES))
        notices.append(f"{root}: the annotations list {found}; COCO 2017 has {published}")
    return notices
