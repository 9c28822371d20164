"""Real-IAD: realiad_jsons/CLASS.json names images under realiad_256/, realiad_512/, realiad_1024/ or realiad_raw/.

The files CLASS.json may also lie in `realiad_jsons/realiad_jsons/`, or beside the class folders. Each image is one of
five views of a sample: `_C1_` ... `_C5_` in its name, and the folder `S0001` that it lies in.

Source: https://realiad4ad.github.io/Real-IAD/
"""

import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from invad.data.index import field, inside, listed, read_json, require_files
from invad.data.mvtec import by_name, nearest
from invad.errors import DataError, SettingsError
from invad.records import GOOD, Record, Split

CLASSES = (
    "audiojack", "bottle_cap", "button_battery", "end_cap", "eraser", "fire_hood", "mint", "mounts", "pcb",
    "phone_battery", "plastic_nut", "plastic_plug", "porcelain_doll", "regulator", "rolled_strip_base",
    "sim_card_set", "switch", "tape", "terminalblock", "toothbrush", "toy", "toy_brick", "transistor1", "u_block",
    "usb", "usb_adaptor", "vcpill", "wooden_beads", "woodstick", "zipper",
)  # fmt: skip
RESOLUTIONS = ("realiad_256", "realiad_512", "realiad_1024", "realiad_raw")
JSONS = "realiad_jsons"
VIEWS = ("C1", "C2", "C3", "C4", "C5")
SPLITS: tuple[Split, ...] = ("train", "test")
VIEW = re.compile(r"_(C[1-5])_")


def read_realiad(root: Path) -> tuple[list[Record], list[str]]:
    """Return records, in the order of the JSON files, and notices. Classes whose folder is not there are left out.

    Args:
        root: the folder that holds `realiad_jsons` and the images of one resolution, or those images' own folder.

    Raises:
        SettingsError: there are several resolutions.
        DataError: there are no images or no JSON files, or a file is not as published.
    """
    images = image_folder(root)
    indexes = _indexes(root, images)
    records: list[Record] = []
    absent, notices = [], []
    for index in indexes:
        found, said = _class(index, images)
        records += found
        notices += said
        if not found:
            absent.append(index.stem)
    if not records:
        raise DataError(f"{images} holds none of the class folders that {indexes[0].parent} names: {listed(absent)}")
    stems = {index.stem for index in indexes}
    unnamed = [
        path.name for path in by_name(images) if path.is_dir() and path.name in CLASSES and path.name not in stems
    ]
    if unnamed:
        notices.append(f"the classes {', '.join(unnamed)} have no JSON file in {indexes[0].parent} and are not used")
    return records, notices


def image_folder(root: Path) -> Path:
    """Return the folder of the images, of one resolution.

    Raises:
        SettingsError: there are several.
        DataError: the root does not exist.
    """
    if not root.is_dir():
        raise DataError(f"the folder {root} does not exist{nearest(root)}")
    found = [root / name for name in RESOLUTIONS if (root / name).is_dir()]
    if len(found) > 1:
        raise SettingsError(
            f"{root} holds several resolutions; say which: {' or '.join(f'realiad:{path}' for path in found)}"
        )
    return found[0] if found else root


def _indexes(root: Path, images: Path) -> list[Path]:
    """The JSON files of the first folder that holds some."""
    bases = dict.fromkeys((root, images.absolute().parent))
    folders = [folder for base in bases for folder in (base / JSONS, base / JSONS / JSONS)]
    for folder in folders:
        found = [path for path in by_name(folder) if path.suffix.lower() == ".json"] if folder.is_dir() else []
        if found:
            return found
    beside = [path for path in by_name(images) if path.suffix.lower() == ".json" and (images / path.stem).is_dir()]
    if not beside:
        raise DataError(
            f"no CLASS.json for {images}; expected some in {folders[0]}, in {folders[1]}, or beside the class folders"
        )
    return beside


def _class(index: Path, images: Path) -> tuple[list[Record], list[str]]:
    """The records of one class; none where its folder is not there."""
    content = read_json(index)
    meta = field(content, "meta", dict, str(index))
    prefix, normal = (field(meta, name, str, f"{index}, meta") for name in ("prefix", "normal_class"))
    if not inside(images, posixpath.join(prefix, "x"), f"{index}, prefix").parent.is_dir():
        return [], []
    rows = [
        (split, f"{index}, {split} {number}", item)
        for split in SPLITS
        for number, item in enumerate(field(content, split, list, str(index)))
    ]
    records = [_record(images, prefix, normal, split, where, item) for split, where, item in rows]
    require_files([path for r in records for path in (r.image, r.mask) if path], index)
    return records, [*_unmasked(index, records), *_masked(index, normal, [item for _, _, item in rows])]


def _record(images: Path, prefix: str, normal: str, split: Split, where: str, item: Mapping[str, Any]) -> Record:
    name, kind = field(item, "image_path", str, where), field(item, "anomaly_class", str, where)
    mask = item.get("mask_path") if kind != normal else None
    views = VIEW.findall(posixpath.basename(name))
    if not views:
        raise DataError(f"{where}: {name!r} names no view; expected one of {', '.join(VIEWS)} as in NAME_C1_TIME.jpg")
    return Record(
        image=inside(images, posixpath.join(prefix, name), where),
        class_name=field(item, "category", str, where),
        split=split,
        defect=GOOD if kind == normal else kind,
        mask=inside(images, posixpath.join(prefix, str(mask)), where) if mask else None,
        view=views[-1],
        sample=posixpath.join(prefix, posixpath.dirname(name.replace("\\", "/"))),
    )


def _unmasked(index: Path, records: Sequence[Record]) -> list[str]:
    names = [record.image.name for record in records if record.anomalous and record.mask is None]
    return [f"{index}: {len(names)} defective images have no mask: {listed(names)}"] if names else []


def _masked(index: Path, normal: str, items: Sequence[Mapping[str, Any]]) -> list[str]:
    names = [item["mask_path"] for item in items if item["anomaly_class"] == normal and item.get("mask_path")]
    return [f"{index}: {len(names)} normal images have a mask, which is not used: {listed(names)}"] if names else []
