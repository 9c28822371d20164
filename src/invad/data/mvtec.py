"""MVTec AD: CLASS/train/good/000.png, CLASS/test/DEFECT/000.png, CLASS/ground_truth/DEFECT/000_mask.png."""

from collections.abc import Sequence
from pathlib import Path

from invad.data.images import SUFFIXES
from invad.errors import DataError
from invad.records import GOOD, Record, Split

CLASSES = (
    "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "tile",
    "toothbrush", "transistor", "wood", "zipper",
)  # fmt: skip
TRAIN_IMAGES, TEST_IMAGES = 3629, 1725


def read_mvtec(root: Path) -> tuple[list[Record], list[str]]:
    """Return records and notices of a root of class folders, or of one class folder given directly.

    Raises:
        DataError: the root does not exist, holds no class, a class has no good training image, or a mask is missing.
    """
    folders = class_folders(root)
    records: list[Record] = []
    notices: list[str] = []
    for folder in folders:
        found, said = read_class(folder)
        records += found
        notices += said
    return records, notices


def class_folders(root: Path) -> list[Path]:
    """Return the class folders under a root, sorted: those with a folder `train` or `test`, or the root itself."""
    if not root.is_dir():
        raise DataError(f"the folder {root} does not exist")
    if (root / "train").is_dir() or (root / "test").is_dir():
        return [root]
    folders = sorted(path for path in root.iterdir() if (path / "train").is_dir() or (path / "test").is_dir())
    if not folders:
        raise DataError(f"{root} holds no class folder; expected CLASS/train/good/ with the normal images in it")
    return folders


def read_class(folder: Path) -> tuple[list[Record], list[str]]:
    """Return records and notices of one class folder."""
    name = folder.resolve().name
    good = list_images(folder / "train" / GOOD)
    if not good:
        raise DataError(
            f"class {name!r} has no image in {folder / 'train' / GOOD}; normal training images belong there"
        )
    records = [Record(image=path, class_name=name, split="train") for path in good]
    notices = []
    if not (folder / "ground_truth").is_dir() and (folder / "test").is_dir():
        notices.append(f"class {name!r} has no masks (no {folder / 'ground_truth'}): image metrics only")
    for defect in sorted(path for path in (folder / "test").glob("*") if path.is_dir()):
        records += _defect_records(folder, name, defect.name)
    return records, notices


def _defect_records(folder: Path, name: str, defect: str, split: Split = "test") -> list[Record]:
    """The test images of one folder, each paired with its mask by name."""
    images = list_images(folder / "test" / defect)
    truth = folder / "ground_truth" / defect
    if defect == GOOD or not (folder / "ground_truth").is_dir():
        return [Record(image=path, class_name=name, split=split, defect=defect) for path in images]
    masks = {_stem(path): path for path in list_images(truth)}
    missing = [path.name for path in images if path.stem not in masks]
    extra = [path.name for stem, path in masks.items() if stem not in {image.stem for image in images}]
    if missing:
        raise DataError(_listed(missing, f"in {folder / 'test' / defect} have no mask in {truth}", "NAME_mask.png"))
    if extra:
        raise DataError(_listed(extra, f"in {truth} belong to no image in {folder / 'test' / defect}", "NAME_mask.png"))
    return [Record(image=path, class_name=name, split=split, defect=defect, mask=masks[path.stem]) for path in images]


def list_images(folder: Path) -> list[Path]:
    """Return the image files of a folder, sorted; none where it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def _stem(mask: Path) -> str:
    return mask.stem.removesuffix("_mask")


def _listed(names: Sequence[str], what: str, expected: str) -> str:
    first = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} files {what} ({first}); expected masks named {expected} or NAME.png"
