"""People's own images: class folders as MVTec AD lays them out, folders of normal images alone, or a manifest.

Normal images alone lie in a folder for each class, or in one folder that is the only class.

A manifest is a CSV file with a header, or JSON lines, with the columns `image`, and where they are known `mask`,
`class`, `defect`, `split` and `label` (0 or `normal`, 1 or `anomalous`). An image without `label` and `defect` is a
normal one; an image with a mask must have one of them. Paths are relative to the manifest and stay under it. The index
files `meta.json` that the published toolbox writes are manifests too.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from invad.data.index import field, inside, read_json, read_text
from invad.data.mvtec import ALSO_GOOD, by_name, folder_name, is_class, list_images, nearest, read_class_folders
from invad.errors import DataError
from invad.records import GOOD, Record, Split

COLUMNS = ("image", "mask", "class", "defect", "split", "label")
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
NO_PARTS = (
    "abnormal", "anomalies", "anomalous", "anomaly", "bad", "defect", "defective", "defects", "ground_truth", "ko",
    "mask", "masks", "ng", "nok",
)  # fmt: skip
"""How people call folders of defective images and of masks, in lower case."""
META = "meta.json"
NORMAL, ANOMALOUS = ("0", "normal", GOOD), ("1", "anomalous", "anomaly", "defect")


def read_folder(root: Path) -> tuple[list[Record], list[str]]:
    """Return records and notices of a folder or a manifest.

    Raises:
        DataError: the root does not exist, holds no image, or is not laid out in one of these ways.
    """
    if root.is_file():
        return read_manifest(root)
    if not root.is_dir():
        raise DataError(f"the folder {root} does not exist{nearest(root)}")
    if list_images(root):
        return _read_flat(root)
    if is_class(root):
        return read_class_folders(root)
    plain = [path for path in by_name(root) if path.is_dir() and not is_class(path) and list_images(path)]
    if any(is_class(path) for path in by_name(root)):
        records, notices = read_class_folders(root)
        return records, notices + [f"{path} holds images, but no `train/{GOOD}`: they are not used" for path in plain]
    if (root / META).is_file():
        return read_meta(root / META)
    return _read_normal(root, plain) if plain else read_class_folders(root)  # which says what was expected


def _read_flat(root: Path) -> tuple[list[Record], list[str]]:
    """A folder of images, which must be all there is.

    Raises:
        DataError: there are folders beside the images that other layouts have.
    """
    if any((root / name).is_dir() for name in ("train", "test")):
        raise DataError(f"{root} holds both images and folders `train` or `test`; expected one or the other")
    if classes := [path.name for path in by_name(root) if is_class(path) or list_images(path)]:
        raise DataError(
            f"{root} holds both images ({list_images(root)[0].name}, say) and folders of classes or images "
            f"({', '.join(classes[:3])}); expected one or the other"
        )
    return _read_normal(root, [root])


def _read_normal(root: Path, folders: Sequence[Path]) -> tuple[list[Record], list[str]]:
    """Folders that hold the normal training images of a class each, and nothing else.

    Raises:
        DataError: by its name, a folder or one beside it holds defects or masks.
    """
    if folder_name(root) in ("test", "ground_truth") and is_class(root.absolute().parent):
        raise DataError(
            f"{root} is a part of a class; expected the class's folder, {root.absolute().parent}, or its root"
        )
    if meant := [path.name for path in folders if path != root and path.name.casefold() in (*ALSO_GOOD, *NO_PARTS)]:
        raise DataError(
            f"{root} holds a folder {meant[0]!r} of images. If these folders show one part, its normal images belong "
            f"into PART/train/{GOOD}/, defective ones into PART/test/DEFECT/ and masks into PART/ground_truth/DEFECT/; "
            f"if each of them is a part, rename {meant[0]!r}"
        )
    records = [
        Record(image=path, class_name=folder_name(folder), split="train")
        for folder in folders
        for path in list_images(folder)
    ]
    counts = Counter(record.class_name for record in records)
    each = ", ".join(f"{count} of {name}" for name, count in counts.items())
    return records, [f"all images of {root} are taken as normal training images: {each}"]


def read_manifest(path: Path) -> tuple[list[Record], list[str]]:
    """Return the records of a manifest (`.csv`, JSON lines, or `.json`, see `read_meta`) in its order, and notices.

    Raises:
        DataError: a line lacks an image, has an unknown split or label, a mask without a label, or a path that leaves
            the manifest's folder.
    """
    if path.suffix.lower() == ".json":
        return read_meta(path)
    rows = _read_rows(path)
    if not rows:
        raise DataError(f"{path} names no image; expected a line for each, with a column `image`")
    unread = sorted({str(column) for _, row in rows for column in row} - set(COLUMNS))
    notices = [f"{path}: the columns {', '.join(unread)} are not read; known ones: {', '.join(COLUMNS)}"]
    return [_record(path, f"{path}, line {line}", row) for line, row in rows], notices if unread else []


def read_meta(path: Path) -> tuple[list[Record], list[str]]:
    """Return the records of an index file of the published toolbox, in its order; its paths are relative to it.

    It holds {`train` | `validation` | `test`: {class: [entry]}}, an entry being {`img_path`, `mask_path`, `cls_name`,
    `specie_name`, `anomaly`}.

    Raises:
        DataError: it holds something else, or a path that leaves its folder.
    """
    content = read_json(path)
    splits = [split for split in SPLITS if isinstance(content, dict) and split in content]
    if not splits or len(splits) < len(content):
        raise DataError(f"{path} is no index file: expected an object with {', '.join(SPLITS)} and nothing else")
    records = [
        _meta_record(path, f"{path}, {split} {name} {number}", split, item)
        for split in splits
        for name in field(content, split, dict, str(path))
        for number, item in enumerate(field(content[split], name, list, f"{path}, {split}"))
    ]
    if not records:
        raise DataError(f"{path} names no image")
    return records, []


def _meta_record(path: Path, where: str, split: Split, item: Mapping[str, Any]) -> Record:
    anomaly, specie, mask = field(item, "anomaly", int, where), item.get("specie_name"), item.get("mask_path")
    kind = str(specie) if specie and specie != GOOD else "anomalous"
    return Record(
        image=inside(path.parent, field(item, "img_path", str, where), where),
        mask=inside(path.parent, str(mask), where) if mask and anomaly else None,
        class_name=field(item, "cls_name", str, where),
        defect=kind if anomaly else GOOD,
        split=split,
    )


def _read_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Every entry with the number of its last line."""
    try:
        text = read_text(path)
        if path.suffix.lower() == ".csv":
            reader = csv.DictReader(io.StringIO(text, newline=""))
            return [(reader.line_num, row) for row in reader]
        rows = [(number, json.loads(line)) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is neither a .csv file nor JSON lines: {error}") from error
    except csv.Error as error:
        raise DataError(f"{path} is not a table that can be read: {error}") from error
    if not all(isinstance(row, dict) for _, row in rows):
        raise DataError(f'{path} is not JSON lines: expected an object such as {{"image": "a.png"}} on each line')
    return rows


def _record(manifest: Path, where: str, row: Mapping[str, Any]) -> Record:
    """The record of one entry; `where` names it in errors."""
    split = str(row.get("split") or "train")
    if split not in SPLITS:
        raise DataError(f"{where}: unknown split {split!r}; expected one of {', '.join(SPLITS)}")
    if not row.get("image"):
        raise DataError(f"{where}: no image; expected a column `image` with a path")
    return Record(
        image=inside(manifest.parent, str(row["image"]), where),
        mask=inside(manifest.parent, str(row["mask"]), where) if row.get("mask") else None,
        class_name=manifest.stem if row.get("class") in (None, "") else str(row["class"]),
        defect=_defect(where, row),
        split=split,
    )


def _defect(where: str, row: Mapping[str, Any]) -> str:
    """The type of defect, from the columns `defect` and `label`, which must not contradict each other."""
    defect = "" if row.get("defect") in (None, "") else str(row["defect"])
    label = str(row["label"]).strip().lower() if row.get("label") not in (None, "") else ""
    if label and label not in NORMAL + ANOMALOUS:
        raise DataError(f"{where}: unknown label {label!r}; expected 0 or normal, 1 or anomalous")
    if defect and label and (defect == GOOD) != (label in NORMAL):
        raise DataError(f"{where}: label {label!r} contradicts defect {defect!r}")
    if row.get("mask") and not defect and not label:
        raise DataError(
            f"{where}: a mask, but no label and no defect; expected label 1 for an anomalous image, or label 0 for a "
            f"normal one, whose mask is empty"
        )
    return defect or ("anomalous" if label in ANOMALOUS else GOOD)
