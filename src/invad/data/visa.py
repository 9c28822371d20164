"""VisA: split_csv/1cls.csv beside CLASS/Data/Images/{Normal/0000.JPG,Anomaly/000.JPG} and CLASS/Data/Masks/.

The pixels of a mask are small integers, one for each kind of defect: a defect is any value above 0.

Source: https://github.com/amazon-science/spot-diff
"""

from collections.abc import Sequence
from pathlib import Path

from invad.data.index import inside, listed, read_csv, require_files
from invad.data.mvtec import list_images, nearest
from invad.errors import DataError
from invad.records import GOOD, Record, Split

CLASSES = (
    "candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2", "pcb1", "pcb2", "pcb3", "pcb4",
    "pipe_fryum",
)  # fmt: skip
INDEX = Path("split_csv") / "1cls.csv"
COLUMNS = ("object", "split", "label", "image", "mask")
SPLITS: dict[str, Split] = {"train": "train", "test": "test"}
DEFECTS = {"normal": GOOD, "anomaly": "anomaly"}
PICTURES = ("Images/Normal", "Images/Anomaly", "Masks/Anomaly")


def read_visa(root: Path) -> tuple[list[Record], list[str]]:
    """Return records, in the order of `1cls.csv`, and notices. Classes whose folder is not there are left out.

    Raises:
        DataError: the file is not there, is not as published, or names files that are not there.
    """
    index = root / INDEX
    if not index.is_file():
        raise DataError(f"there is no {index}{nearest(index)}; expected VisA as it is unpacked, with its `split_csv`")
    rows = read_csv(index, COLUMNS)
    present = {name for name in {row["object"] for _, row in rows} if (root / name).is_dir()}
    if not present:
        raise DataError(f"{root} holds none of the class folders that {index} names; expected {', '.join(CLASSES)}")
    records = [_record(root, where, row) for where, row in rows if row["object"] in present]
    require_files([path for r in records for path in (r.image, r.mask) if path], index)
    return records, _unlisted(root, sorted(present), records)


def _record(root: Path, where: str, row: dict[str, str]) -> Record:
    if row["split"] not in SPLITS or row["label"] not in DEFECTS:
        raise DataError(
            f"{where}: split {row['split']!r} and label {row['label']!r}; expected {' or '.join(SPLITS)}, and "
            f"{' or '.join(DEFECTS)}"
        )
    if bool(row["mask"]) != (row["label"] == "anomaly"):
        raise DataError(
            f"{where}: label {row['label']!r} with the mask {row['mask']!r}; expected one for anomalies alone"
        )
    return Record(
        image=inside(root, row["image"], where),
        class_name=row["object"],
        split=SPLITS[row["split"]],
        defect=DEFECTS[row["label"]],
        mask=inside(root, row["mask"], where) if row["mask"] else None,
    )


def _unlisted(root: Path, classes: Sequence[str], records: Sequence[Record]) -> list[str]:
    """A notice on images and masks that the index does not name."""
    named = {path for record in records for path in (record.image, record.mask)}
    found = [path for name in classes for part in PICTURES for path in list_images(root / name / "Data" / part)]
    extra = [path for path in found if path not in named]
    return [f"{len(extra)} files are not in {root / INDEX} and not used: {listed(extra)}"] if extra else []
