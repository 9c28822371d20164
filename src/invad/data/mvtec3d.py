"""MVTec 3D-AD, its RGB images: CLASS/{train,validation}/good/rgb/000.png, CLASS/test/DEFECT/{rgb,gt}/000.png.

The depth in `xyz` is not read.

Source: https://www.mvtec.com/company/research/datasets/mvtec-3d-ad
"""

from pathlib import Path

from invad.data.mvtec import by_name, folder_name, list_images, nearest, paired
from invad.errors import DataError
from invad.records import GOOD, Record, Split

CLASSES = ("bagel", "cable_gland", "carrot", "cookie", "dowel", "foam", "peach", "potato", "rope", "tire")
NORMAL: tuple[Split, ...] = ("train", "validation")


def read_mvtec3d(root: Path) -> tuple[list[Record], list[str]]:
    """Return records and notices of the class folders under a root, or of one given directly.

    Raises:
        DataError: the root does not exist, holds no class, a class has no training image, or masks and images of a
            defect do not pair.
    """
    if not root.is_dir():
        raise DataError(f"the folder {root} does not exist{nearest(root)}")
    folders = [root] if is_class(root) else [path for path in by_name(root) if is_class(path)]
    if not folders:
        raise DataError(f"{root} holds no class folder; expected CLASS/train/good/rgb/ with the normal images in it")
    return [record for folder in folders for record in _class(folder)], []


def is_class(folder: Path) -> bool:
    """Return whether a folder is laid out as a class of MVTec 3D-AD."""
    return (folder / "train" / GOOD / "rgb").is_dir()


def _class(folder: Path) -> list[Record]:
    name = folder_name(folder)
    records = [
        Record(image=path, class_name=name, split=split)
        for split in NORMAL
        for path in list_images(folder / split / GOOD / "rgb")
    ]
    if not any(record.split == "train" for record in records):
        raise DataError(f"class {name!r} has no image in {folder / 'train' / GOOD / 'rgb'}; normal ones belong there")
    kinds = [path for path in by_name(folder / "test") if path.is_dir()] if (folder / "test").is_dir() else []
    for kind in kinds:
        if kind.name == GOOD:  # its masks are empty
            records += [Record(image=path, class_name=name, split="test") for path in list_images(kind / "rgb")]
        else:
            records += paired(name, kind.name, kind / "rgb", kind / "gt")
    return records
