"""A few small images of chance in the exact layout of every published data set, to try things on and for tests."""

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invad.data import medical, mvtec, mvtec3d, realiad, visa
from invad.errors import DataError

SIZE = 64
"""Pixels along each side."""
TRAIN, NORMAL, DEFECTIVE = 4, 2, 2
"""Images of each class."""
BOX = (slice(20, 36), slice(24, 44))
"""Where the defect is."""


def make_fixture(layout: str, root: Path) -> None:
    """Write a small data set of two classes in a published layout (COCO-AD has one class).

    Raises:
        DataError: the layout is unknown, or root holds files.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     make_fixture("visa", Path(folder))
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['candle', 'capsules', 'split_csv']
    """
    if layout not in FIXTURES:
        raise DataError(f"there is no fixture of {layout!r}; expected one of {', '.join(FIXTURES)}")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError(f"{root} holds other files; choose an empty folder for the fixture")
    FIXTURES[layout](root)


def _mvtec(root: Path, classes: Sequence[str] = mvtec.CLASSES[:2], suffix: str = "_mask") -> None:
    for folder in (root / name for name in classes):
        for i in range(TRAIN):
            _image(folder / f"train/good/{i:03d}.png")
        for i in range(NORMAL):
            _image(folder / f"test/good/{i:03d}.png")
        for i in range(DEFECTIVE):
            _image(folder / f"test/crack/{i:03d}.png", defective=True)
            _mask(folder / f"ground_truth/crack/{i:03d}{suffix}.png")


def _medical(root: Path) -> None:
    _mvtec(root, medical.CLASSES[:2], suffix="")


def _visa(root: Path) -> None:
    lines = ["object,split,label,image,mask"]
    for name in visa.CLASSES[:2]:
        for i in range(TRAIN + NORMAL):
            path = _image(root / f"{name}/Data/Images/Normal/{i:04d}.JPG")
            lines.append(f"{name},{'train' if i < TRAIN else 'test'},normal,{path.relative_to(root).as_posix()},")
        for i in range(DEFECTIVE):
            path = _image(root / f"{name}/Data/Images/Anomaly/{i:03d}.JPG", defective=True)
            mask = _mask(root / f"{name}/Data/Masks/Anomaly/{i:03d}.png", value=2 + i)
            pair = f"{path.relative_to(root).as_posix()},{mask.relative_to(root).as_posix()}"
            lines.append(f"{name},test,anomaly,{pair}")
    index = root / visa.INDEX
    index.parent.mkdir()
    index.write_bytes("".join(f"{line}\r\n" for line in lines).encode())


def _mvtec3d(root: Path) -> None:
    for folder in (root / name for name in mvtec3d.CLASSES[:2]):
        for split, count in {"train": TRAIN, "validation": 1, "test": NORMAL}.items():
            for i in range(count):
                _image(folder / f"{split}/good/rgb/{i:03d}.png")
        for i in range(NORMAL):
            _mask(folder / f"test/good/gt/{i:03d}.png", value=0)
        for i in range(DEFECTIVE):
            _image(folder / f"test/hole/rgb/{i:03d}.png", defective=True)
            _mask(folder / f"test/hole/gt/{i:03d}.png")


def _realiad(root: Path) -> None:
    (root / realiad.JSONS).mkdir(parents=True)
    for name in realiad.CLASSES[:2]:
        items = list(_samples(root / realiad.RESOLUTIONS[0] / name, name))
        content = {
            "meta": {"prefix": f"{name}/", "normal_class": "OK", "pre_transform": []},
            "train": [item for number, item in items if number < TRAIN],
            "test": [item for number, item in items if number >= TRAIN],
        }
        (root / realiad.JSONS / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def _samples(folder: Path, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The entries of one class of Real-IAD, each with the number of its sample; a defect shows in four views."""
    for number in range(TRAIN + NORMAL + DEFECTIVE):
        bad = number >= TRAIN + NORMAL
        for view in realiad.VIEWS:
            place = f"{'NG/AK' if bad else 'OK'}/S{number:04d}"
            stem = f"{place}/{name}_{number:04d}_{'NG_AK' if bad else 'OK'}_{view}_20231013131805"
            shown = bad and view != realiad.VIEWS[-1]
            _image(folder / f"{stem}.jpg", defective=shown)
            if shown:
                _mask(folder / f"{stem}.png")
            yield (
                number,
                {
                    "category": name,
                    "anomaly_class": "AK" if shown else "OK",
                    "image_path": f"{stem}.jpg",
                    "mask_path": f"{stem}.png" if shown else None,
                },
            )


def _coco(root: Path) -> None:
    """Images of every group and of two of them, one without annotations, and a crowd."""
    kinds = {
        "train": [[0], [20], [40], [60], [1], [21], [0, 79], []],
        "val": [[0], [20], [40], [60], [0, 20], [2, 3], [61], []],
    }
    ids = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
    for split, images in kinds.items():
        listed: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, kind in enumerate(images, start=1):
            path = _image(root / f"{split}2017/{number:012d}.jpg", defective=bool(kind))
            listed.append({"id": number, "file_name": path.name, "height": SIZE, "width": SIZE})
            for place, category in enumerate(kind):
                annotations.append(_annotation(len(annotations) + 1, number, ids[category], place))
        content = {
            "images": listed,
            "annotations": annotations,
            "categories": [{"id": i, "name": f"category {i}"} for i in ids],
        }
        target = root / f"annotations/instances_{split}2017.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(content), encoding="utf-8")


def _annotation(number: int, image: int, category: int, place: int) -> dict[str, Any]:
    """A polygon for the first object of an image, a crowd's run lengths for another."""
    rows, columns = BOX
    top, bottom, left, right = rows.start, rows.stop, columns.start, columns.stop
    polygon: Any = [[left, top, right, top, right, bottom, left, bottom]]
    crowd = {"size": [SIZE, SIZE], "counts": [SIZE * 4, SIZE * 8, SIZE * SIZE - SIZE * 12]}
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "iscrowd": int(place > 0),
        "segmentation": crowd if place else polygon,
    }


def _image(path: Path, *, defective: bool = False) -> Path:
    """Write noise around a colour of the class, with a dark box for a defect; the same at every call."""
    random = np.random.default_rng(zlib.crc32("/".join(path.parts[-5:]).encode()))
    pixels = random.normal((150, 120, 90), 12, (SIZE, SIZE, 3))
    if defective:
        pixels[BOX] *= 0.3
    return _save(path, np.clip(pixels, 0, 255).astype(np.uint8))


def _mask(path: Path, value: int = 255) -> Path:
    mask = np.zeros((SIZE, SIZE), dtype=np.uint8)
    mask[BOX] = value
    return _save(path, mask)


def _save(path: Path, pixels: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


FIXTURES: dict[str, Callable[[Path], None]] = {
    "mvtec": _mvtec,
    "visa": _visa,
    "mvtec3d": _mvtec3d,
    "realiad": _realiad,
    "medical": _medical,
    "coco": _coco,
}
"""What writes a fixture, for every published layout."""
