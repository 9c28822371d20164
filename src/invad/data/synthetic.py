"""A data set made on the spot: two textures and two objects, defects with exact masks, the same at every call.

It is written in MVTec AD's layout, so that all that reads MVTec AD reads it. It is for trying things and for tests:
good numbers on it say that the software works, not that a method is good.
"""

import dataclasses
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invad.data.mvtec import read_class_folders
from invad.errors import DataError, SettingsError
from invad.files import write_bytes, write_text
from invad.records import GOOD, Record

MARKER = "synthetic.json"
BEGUN = f"{MARKER}.part"
"""In a set that is not whole yet."""
FORMAT = 1

Picture = NDArray[np.float64]
"""(H, W, 3) RGB in 0..1."""
Mask = NDArray[np.bool_]
Random = np.random.Generator


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """What decides every pixel."""

    train: int = 40
    """Normal training images per class."""
    good: int = 10
    """Normal test images per class."""
    defective: int = 5
    """Defective test images per class and defect."""
    size: int = 256
    """Pixels along each side."""
    seed: int = 0


def make_synthetic(
    root: Path, *, train: int = 40, good: int = 10, defective: int = 5, size: int = 256, seed: int = 0
) -> list[Path]:
    """Write the data set under root, unless it is there already; return its class folders.

    Raises:
        SettingsError: the seed is negative.
        DataError: root holds something else, or a set made with other settings.
    """
    if seed < 0:
        raise SettingsError(f"seed must be 0 or more, not {seed}")
    spec = Spec(train=train, good=good, defective=defective, size=size, seed=seed)
    stamp = json.dumps({"format": FORMAT, **dataclasses.asdict(spec)})
    marker = root / MARKER
    if marker.is_file():
        if marker.read_text(encoding="utf-8") != stamp:
            raise DataError(f"{root} holds a synthetic set made with other settings; choose another folder")
        return sorted(root / name for name in PRODUCTS)
    begun = root / BEGUN
    if root.exists() and any(root.iterdir()) and not begun.is_file():
        raise DataError(f"{root} holds other files; choose an empty folder for the synthetic set")
    write_text(begun, stamp)  # first: what lies beside it was made here, and may be made again
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda i, name: _write_class(root / name, name, spec, i), count(), sorted(PRODUCTS)))
    write_text(marker, stamp)
    begun.unlink()
    return sorted(root / name for name in PRODUCTS)


def read_synthetic(root: Path) -> tuple[list[Record], list[str]]:
    """Return the records of a synthetic set, made now if the folder is not there."""
    if not (root / MARKER).is_file():
        make_synthetic(root)
    return read_class_folders(root)


def _write_class(folder: Path, name: str, spec: Spec, index: int) -> None:
    """All images of one class; each has a generator of its own, so that counts do not change the others."""
    draw = PRODUCTS[name]

    def picture(group: int, number: int) -> tuple[Picture, Random]:
        random = np.random.default_rng((spec.seed, index, group, number))
        return draw(random, spec.size), random

    for number in range(spec.train):
        _write(folder / "train" / GOOD / f"{number:03d}.png", picture(0, number)[0])
    for number in range(spec.good):
        _write(folder / "test" / GOOD / f"{number:03d}.png", picture(1, number)[0])
    for group, (defect, damage) in enumerate(DEFECTS.items(), start=2):
        for number in range(spec.defective):
            image, random = picture(group, number)
            damaged, mask = damage(image, random)
            _write(folder / "test" / defect / f"{number:03d}.png", damaged)
            _write_mask(folder / "ground_truth" / defect / f"{number:03d}_mask.png", mask)


def _write(path: Path, image: Picture) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.rint(image.clip(0, 1) * 255).astype(np.uint8)).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def _write_mask(path: Path, mask: Mask) -> None:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


# Products


def _grid(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates y, x in -1..1, each (size, size)."""
    line = np.linspace(-1, 1, size)
    y, x = np.meshgrid(line, line, indexing="ij")
    return y, x


def _noise(random: Random, size: int, sigma: float) -> NDArray[np.float64]:
    """Smooth noise of unit deviation; sigma is a share of the image's side."""
    step = max(1, int(sigma * size / 4))  # a wide blur is made on a coarse grid
    coarse = -(-size // step) + 1
    blurred = cv2.GaussianBlur(random.normal(size=(coarse, coarse)), (0, 0), max(sigma * size / step, 0.3))
    values = cv2.resize(blurred, (size, size), interpolation=cv2.INTER_CUBIC) if step > 1 else blurred[:size, :size]
    return np.asarray(values / values.std())


def _finish(image: Picture, random: Random) -> Picture:
    """Uneven light, and the camera's blur and noise."""
    size = image.shape[0]
    light = 1 + 0.01 * _noise(random, size, 0.3)[..., None] + random.normal(0, 0.005)
    blurred = np.asarray(cv2.GaussianBlur(image * light, (0, 0), size / 400))
    return blurred + random.normal(0, 0.01, image.shape)


def _fabric(random: Random, size: int) -> Picture:
    """A woven cloth."""
    y, x = _grid(size)
    phase_y, phase_x = random.uniform(0, 2 * np.pi, 2)
    warp = np.sin(2 * np.pi * 14 * (x + 0.006 * _noise(random, size, 0.05)) + phase_x)
    weft = np.sin(2 * np.pi * 14 * (y + 0.006 * _noise(random, size, 0.05)) + phase_y)
    thread = 0.55 + 0.13 * np.where(warp * weft > 0, np.abs(warp), -np.abs(weft))
    colour = np.array([0.55, 0.68, 0.85])
    return _finish(thread[..., None] * colour * 1.3, random)


def _wood(random: Random, size: int) -> Picture:
    """A planed board."""
    y, x = _grid(size)
    grain = x * 9 + 0.35 * _noise(random, size, 0.12) + 0.8 * np.sin(y * 1.3 + random.uniform(0, 6))
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * grain / 2.2 + random.uniform(0, 6))
    fibre = cv2.GaussianBlur(random.normal(size=(size, size)), (0, 0), sigmaX=0.6, sigmaY=size / 20)
    shade = 0.72 - 0.16 * rings + 0.25 * fibre
    return _finish(shade[..., None] * np.array([0.95, 0.72, 0.48]), random)


def _soft(distance: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """1 inside (distance below 0), 0 outside, an edge one pixel wide."""
    return np.clip(0.5 - distance * size / 2, 0, 1)


def _washer(random: Random, size: int) -> Picture:
    """A steel washer on a dark table, a little off centre."""
    y, x = _grid(size)
    cy, cx = random.uniform(-0.02, 0.02, 2)
    radius, angle = np.hypot(y - cy, x - cx), np.arctan2(y - cy, x - cx)
    ring = _soft(radius - 0.72, size) * (1 - _soft(radius - 0.33, size))
    brushed = 0.006 * _noise(random, size, 0.004)
    shine = 0.62 + 0.10 * np.cos(2 * (angle - 0.7)) + brushed + 0.15 * np.exp(-(((radius - 0.69) / 0.03) ** 2))
    table = 0.16 + 0.008 * _noise(random, size, 0.01)
    grey = ring * shine + (1 - ring) * table
    return _finish(grey[..., None] * np.array([0.97, 0.99, 1.02]), random)


def _capsule(random: Random, size: int) -> Picture:
    """A two-coloured capsule on a light table, a little turned."""
    y, x = _grid(size)
    turn = random.uniform(-0.05, 0.05)
    u, v = x * np.cos(turn) + y * np.sin(turn), -x * np.sin(turn) + y * np.cos(turn)
    distance = np.hypot(np.maximum(np.abs(u) - 0.45, 0), v) - 0.27
    body = _soft(distance, size)[..., None]
    half = _soft(u - random.uniform(-0.015, 0.015), size)[..., None]
    colour = half * np.array([0.82, 0.22, 0.18]) + (1 - half) * np.array([0.93, 0.86, 0.55])
    round_ = (0.55 + 0.45 * np.sqrt(np.clip(1 - (v / 0.27) ** 2, 0, 1)))[..., None]
    shine = 0.35 * np.exp(-(((v + 0.12) / 0.035) ** 2) - (u / 0.5) ** 6)[..., None]
    shadow = 1 - 0.25 * np.asarray(cv2.GaussianBlur(body[..., 0], (0, 0), size / 30))[..., None]
    table = (0.80 + 0.006 * _noise(random, size, 0.01))[..., None] * shadow * np.array([1.0, 0.99, 0.97])
    return _finish(body * (colour * round_ + shine) + (1 - body) * table, random)


# Defects


def _spot(image: Picture, random: Random) -> tuple[float, float]:
    """A place on the product, as y, x in -1..1: where its picture differs most from its border, by chance."""
    y, x = _grid(image.shape[0])
    border = np.median(np.concatenate([image[:4].reshape(-1, 3), image[-4:].reshape(-1, 3)]), axis=0)
    inside = (np.abs(image - border).sum(axis=2) > 0.35) & (np.hypot(y, x) < 0.75)
    choices = np.flatnonzero(inside if inside.mean() > 0.05 else np.hypot(y, x) < 0.7)
    place = random.choice(choices)
    return float(y.flat[place]), float(x.flat[place])


def _scratch(image: Picture, random: Random) -> tuple[Picture, Mask]:
    """A thin bright or dark line."""
    size = image.shape[0]
    y, x = _spot(image, random)
    angle, length = random.uniform(0, np.pi), random.uniform(0.22, 0.36)
    steps = np.linspace(-length, length, 24)
    bend = random.normal(0, 0.25)
    points = np.stack(
        [x + steps * np.cos(angle) - bend * steps**2 * np.sin(angle), y + steps * np.sin(angle) + bend * steps**2],
        axis=1,
    )
    canvas = np.zeros((size, size), np.uint8)
    pixels = np.rint((points + 1) / 2 * (size - 1)).astype(np.int32)
    cv2.polylines(canvas, [pixels], isClosed=False, color=255, thickness=max(1, round(size / 50)))
    weight = cv2.GaussianBlur(canvas.astype(np.float64) / 255, (0, 0), 0.6)[..., None]
    tone = 0.95 if image[canvas > 0].mean() < 0.5 else 0.12
    return image * (1 - 0.75 * weight) + tone * 0.75 * weight, canvas > 0


def _blob(image: Picture, random: Random, low: float, high: float) -> NDArray[np.float64]:
    """A ragged disc on the product, as distance below 0 inside, in units of its radius."""
    y, x = _grid(image.shape[0])
    cy, cx = _spot(image, random)
    radius = random.uniform(low, high)
    ragged = 0.18 * _noise(random, image.shape[0], 0.03)
    return np.hypot(y - cy, x - cx) / radius - 1 + ragged


def _stain(image: Picture, random: Random) -> tuple[Picture, Mask]:
    """A translucent stain of another colour."""
    distance = _blob(image, random, 0.09, 0.17)
    weight = np.clip(-distance * 4, 0, 1)[..., None]
    colour = np.array([[0.25, 0.16, 0.08], [0.15, 0.3, 0.18], [0.2, 0.15, 0.4]])[random.integers(3)]
    return image * (1 - 0.65 * weight) + colour * 0.65 * weight, distance < 0


def _hole(image: Picture, random: Random) -> tuple[Picture, Mask]:
    """A piece torn out, dark and with a bright rim."""
    distance = _blob(image, random, 0.06, 0.12)
    inside = np.clip(-distance * 8, 0, 1)[..., None]
    rim = np.exp(-((distance / 0.15) ** 2))[..., None]
    return image * (1 - inside) + 0.06 * inside + 0.18 * rim, distance < 0.12


def _smear(image: Picture, random: Random) -> tuple[Picture, Mask]:
    """A patch whose texture is wiped out and a little shifted."""
    distance = _blob(image, random, 0.15, 0.23)
    weight = np.clip(-distance * 6, 0, 1)[..., None]
    size = image.shape[0]
    wiped = cv2.GaussianBlur(np.roll(image, size // 12, axis=(0, 1)), (0, 0), size / 28)
    return image * (1 - weight) + wiped * weight * 1.15, distance < 0


PRODUCTS: dict[str, Callable[[Random, int], Picture]] = {
    "capsule": _capsule,
    "fabric": _fabric,
    "washer": _washer,
    "wood": _wood,
}
DEFECTS: dict[str, Callable[[Picture, Random], tuple[Picture, Mask]]] = {
    "scratch": _scratch,
    "stain": _stain,
    "hole": _hole,
    "smear": _smear,
}
