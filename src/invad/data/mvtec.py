"""MVTec AD: CLASS/train/good/000.png, CLASS/test/DEFECT/000.png, CLASS/ground_truth/DEFECT/000_mask.png.

The same layout serves people's own folders and the synthetic set, which `read_class_folders` reads.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from invad.data.images import is_hidden, is_image
from invad.errors import DataError
from invad.records import GOOD, Record

CLASSES = (
    "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "tile",
    "toothbrush", "transistor", "wood", "zipper",
)  # fmt: skip
ALSO_GOOD = (GOOD, "normal", "ok")
"""How people call the folder of normal test images, whatever the case of its letters."""


def read_mvtec(root: Path) -> tuple[list[Record], list[str]]:
    """Return records and notices of MVTec AD, or of some of its class folders, or of one given directly.

    Raises: as `read_class_folders`.
    """
    return read_class_folders(root)


def read_class_folders(root: Path) -> tuple[list[Record], list[str]]:
    """Return records and notices of a root of class folders, or of one class folder given directly.

    Raises:
        DataError: the root does not exist, holds no class, a class has no good training image, or masks and images
            of a defect do not pair.
    """
    records: list[Record] = []
    notices: list[str] = []
    for folder in class_folders(root):
        found, said = read_class(folder)
        records += found
        notices += said
    return records, notices


def class_folders(root: Path) -> list[Path]:
    """Return the class folders under a root, by name: those with a folder `train` or `test`, or the root itself.

    Raises:
        DataError: the root does not exist, or holds none.
    """
    if not root.is_dir():
        raise DataError(f"the folder {root} does not exist{nearest(root)}")
    folders = [root] if is_class(root) else [path for path in by_name(root) if is_class(path)]
    if not folders:
        found = next((path for path in sorted(root.glob("*/*")) if list_images(path)), None)
        seen = f" (there are images in {found})" if found else ""
        raise DataError(f"{root} holds no class folder; expected CLASS/train/good/ with the normal images in it{seen}")
    return folders


def nearest(path: Path) -> str:
    """Return a hint for a path that does not exist: the deepest part of it that does, and what lies there."""
    parent = next((p for p in path.absolute().parents if p.is_dir()), None)
    if parent is None:
        return ""
    names = [entry.name for entry in by_name(parent)][:5]
    return f" ({parent} does, and holds {', '.join(names) or 'nothing'})"


def folder_name(folder: Path) -> str:
    """Return the name that a folder is called by: a link's own name, not its target's.

    Example:
        >>> folder_name(Path("parts/nut/../bolt"))
        'bolt'
    """
    return Path(os.path.abspath(folder)).name  # noqa: PTH100, which would follow no `..`


def by_name(folder: Path) -> list[Path]:
    """Return what lies in a folder and is not hidden, in the order of names, the same on every file system."""
    return sorted((path for path in folder.iterdir() if not is_hidden(path.name)), key=lambda path: path.name)


def list_images(folder: Path) -> list[Path]:
    """Return the image files of a folder in the order of names; none where it does not exist."""
    if not folder.is_dir():
        return []
    return [path for path in by_name(folder) if is_image(path.name) and path.is_file()]


def read_class(folder: Path) -> tuple[list[Record], list[str]]:
    """Return records and notices of one class folder.

    Raises:
        DataError: there is no good training image, normal test images lie in a folder of another name, or masks and
            images of a defect do not pair.
    """
    name = folder_name(folder)
    good = list_images(folder / "train" / GOOD)
    if not good:
        raise DataError(
            f"class {name!r} has no image in {folder / 'train' / GOOD}; normal training images belong there"
        )
    records = [Record(image=path, class_name=name, split="train") for path in good]
    notices = []
    test, truth = folder / "test", folder / "ground_truth"
    if test.is_dir():
        if not truth.is_dir():
            notices.append(f"class {name!r} has no masks (no {truth}): image metrics only")
        images, masks = _kinds(test), _kinds(truth)
        for kind in sorted({*images, *masks}):
            shown = images.get(kind, test / kind)
            if kind == GOOD or not truth.is_dir():
                found = list_images(shown)
                records += [Record(image=path, class_name=name, split="test", defect=kind) for path in found]
            else:
                records += paired(name, kind, shown, masks.get(kind, truth / kind))
    return records, notices


def _kinds(folder: Path) -> dict[str, Path]:
    """The folders of kinds of test images, or of masks, by name; see `_spelt`.

    Raises:
        DataError: one looks as if normal images were in it.
    """
    folders = [path for path in by_name(folder) if path.is_dir()] if folder.is_dir() else []
    for path in folders:
        if path.name != GOOD and path.name.casefold() in ALSO_GOOD:
            raise DataError(
                f"{path} would count as a defect; normal test images belong into a folder that is called `{GOOD}`: "
                f"rename it"
            )
    return {_spelt(path.name): path for path in folders}


def is_class(folder: Path) -> bool:
    """Return whether a folder is laid out as a class of MVTec AD."""
    return (folder / "train").is_dir() or (folder / "test").is_dir()


def paired(name: str, defect: str, image_folder: Path, mask_folder: Path) -> list[Record]:
    """Return the test images of one defect, each with the mask of its name.

    Raises:
        DataError: an image lacks its mask, or a mask its image.
    """
    images = list_images(image_folder)
    stems = {_spelt(path.stem) for path in images}
    masks = _masks_by_stem(mask_folder, stems)
    missing = [path.name for path in images if _spelt(path.stem) not in masks]
    extra = [path.name for stem, path in masks.items() if stem not in stems]
    if missing:
        raise DataError(_listed(missing, f"in {image_folder}", f"no mask in {mask_folder}"))
    if extra:
        raise DataError(_listed(extra, f"in {mask_folder}", f"no image in {image_folder}"))
    return [
        Record(image=path, class_name=name, split="test", defect=defect, mask=masks[_spelt(path.stem)])
        for path in images
    ]


def _spelt(name: str) -> str:
    """A name with every umlaut as one character, where a file system may have two for it."""
    return unicodedata.normalize("NFC", name)


def _masks_by_stem(folder: Path, images: Collection[str]) -> dict[str, Path]:
    """The masks of one kind of defect by the stem of their images, whose own names may end in `_mask`."""
    paths = list_images(folder)
    stems = [_spelt(path.stem) for path in paths]
    if set(stems) != set(images):  # otherwise they are all called as their images
        stems = [stem.removesuffix("_mask") for stem in stems]
    twice = [stem for stem, count in Counter(stems).items() if count > 1]
    if twice:
        raise DataError(f"{folder} holds more than one mask for {', '.join(twice[:3])}; expected one for each image")
    return dict(zip(stems, paths, strict=True))


def _listed(names: Sequence[str], where: str, fault: str) -> str:
    """One sentence on files that lack their counterpart."""
    first = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} of the files {where} have {fault} ({first}); expected masks named NAME_mask.png or NAME.png"
