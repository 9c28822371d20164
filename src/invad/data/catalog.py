"""The published data sets as their owners describe them: what a complete copy holds, and where to get it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from invad.data import medical, mvtec, mvtec3d, realiad, visa
from invad.records import Record


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What is published of a data set."""

    title: str
    classes: tuple[str, ...]
    counts: dict[str, int] = field(default_factory=dict)
    """Images by what they are, in the words of `census`."""
    verified: bool = True
    """Whether the counts are known to be exact: a difference is then a fault, else a warning."""
    download: str
    """Its size, as its owner states it."""
    licence: str
    source: str
    """The page to get it from."""
    layout: str
    """How it must lie on disk, under its root."""


PUBLISHED: dict[str, Published] = {
    "mvtec": Published(
        title="MVTec AD",
        classes=mvtec.CLASSES,
        counts={"train": 3629, "test": 1725, "test normal": 467, "test anomalous": 1258},
        download="4.9 GB",
        licence="CC BY-NC-SA 4.0",
        source="https://www.mvtec.com/company/research/datasets/mvtec-ad",
        layout="CLASS/train/good/000.png  CLASS/test/DEFECT/000.png  CLASS/ground_truth/DEFECT/000_mask.png",
    ),
    "visa": Published(
        title="VisA",
        classes=visa.CLASSES,
        counts={"train": 8659, "test": 2162, "test normal": 962, "test anomalous": 1200},
        download="see its page",
        licence="CC BY 4.0",
        source="https://github.com/amazon-science/spot-diff",
        layout="split_csv/1cls.csv  CLASS/Data/Images/{Normal,Anomaly}/000.JPG  CLASS/Data/Masks/Anomaly/000.png",
    ),
    "mvtec3d": Published(
        title="MVTec 3D-AD (RGB)",
        classes=mvtec3d.CLASSES,
        counts={"train": 2656, "validation": 294, "test": 1197},
        download="see its page",
        licence="CC BY-NC-SA 4.0",
        source="https://www.mvtec.com/company/research/datasets/mvtec-3d-ad",
        layout="CLASS/{train,validation}/good/rgb/000.png  CLASS/test/DEFECT/{rgb,gt}/000.png",
    ),
    "realiad": Published(
        title="Real-IAD",
        classes=realiad.CLASSES,
        counts={"all": 151050, "normal": 99721, "anomalous": 51329},
        download="see its page",
        licence="see its page",
        source="https://realiad4ad.github.io/Real-IAD/",
        layout="realiad_jsons/CLASS.json  realiad_{256,512,1024,raw}/CLASS/.../S0001/NAME_C1_TIME.jpg",
    ),
    "medical": Published(
        title="Uni-Medical",
        classes=medical.CLASSES,
        counts={"train": 13339, "test": 7013},
        verified=False,
        download="see its page",
        licence="those of its sources",
        source="https://github.com/zhangzjn/ADer",
        layout="CLASS/train/good/0.png  CLASS/test/{good,DEFECT}/0.png  CLASS/ground_truth/DEFECT/0.png",
    ),
    "coco": Published(
        title="COCO-AD, splits 0-3",
        classes=("coco",),
        download="18 GB train, 1 GB val, 241 MB annotations",
        licence="annotations CC BY 4.0; images by their authors",
        source="https://cocodataset.org/#download",
        layout="annotations/instances_{train,val}2017.json  train2017/000000000009.jpg  val2017/000000000139.jpg",
    ),
}


def census(records: Sequence[Record]) -> dict[str, int]:
    """Return the number of images of every kind that a count may be published of.

    Example:
        >>> census([Record(image=Path("a.png"), class_name="nut", split="test")])["test normal"]
        1
    """
    found: Counter[str] = Counter()
    for record in records:
        label = "anomalous" if record.anomalous else "normal"
        found.update(("all", record.split, label, f"{record.split} {label}"))
    return found


def missing_classes(layout: str, root: Path, records: Sequence[Record]) -> list[str]:
    """Return the published classes that a root lacks; none where it holds no published one, or is a class folder."""
    found = {record.class_name for record in records}
    published = PUBLISHED[layout].classes if layout in PUBLISHED else ()
    alone = found == {mvtec.folder_name(root)} and not (root / mvtec.folder_name(root)).exists()
    return [] if alone or not found & set(published) else [name for name in published if name not in found]


def differences(layout: str, root: Path, records: Sequence[Record]) -> list[str]:
    """Return how a root differs from what is published: classes that it lacks, else counts that are others."""
    missing = missing_classes(layout, root, records)
    found = {record.class_name for record in records}
    if missing or layout not in PUBLISHED or found != set(PUBLISHED[layout].classes):
        return [f"no class {name}" for name in missing]
    counts = census(records)
    return [
        f"{counts[kind]} {kind} images, not {n}" for kind, n in PUBLISHED[layout].counts.items() if counts[kind] != n
    ]


def sign(root: Path) -> str | None:
    """Return the layout whose own mark a folder bears, if any: no other fits then."""
    if (root / visa.INDEX).is_file():
        return "visa"
    if (root / "annotations" / "instances_val2017.json").is_file():
        return "coco"
    if any((root / name).is_dir() for name in (realiad.JSONS, *realiad.RESOLUTIONS)):
        return "realiad"
    if any(mvtec3d.is_class(path) for path in (root, *mvtec.by_name(root))):
        return "mvtec3d"
    return None
