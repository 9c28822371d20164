"""How fast images of every layout arrive at 256 x 256: decoded, from memory, and from the disk cache.

    python benchmarks/data.py [--images 96]

The images are of chance, in the layout, format and size that each set is published in; the number is of images in all.
"""

import argparse
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invad.data import FIXTURES, ImageSource, batches, make_fixture, open_dataset
from invad.data.cache import Kind
from invad.records import Record
from invad.runs import environment

SIZES = {
    "mvtec": (900, 900),
    "visa": (1000, 1500),
    "mvtec3d": (800, 800),
    "realiad": (1024, 1024),
    "medical": (256, 256),
    "coco": (480, 640),
}
"""Height and width of the images that are made, about those published."""
BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=96, help="images to load for each number")
    count = parser.parse_args().images
    say_where()
    print("| layout | file | decoding | from memory | from disk |\n|---|---|---:|---:|---:|")
    for layout in FIXTURES:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "user")
            records = enlarged(layout, Path(folder) / "set")
            speeds = [speed(records, kind, Path(folder) / "cache", count) for kind in ("none", "memory", "disk")]
        height, width = SIZES[layout]
        kind = f"{height} x {width} {records[0].image.suffix.lower()[1:]}"
        print(f"| `{layout}` | {kind} | " + " | ".join(f"{value:.0f}" for value in speeds) + " |", flush=True)
    print("\nImages a second.")


def enlarged(layout: str, root: Path) -> tuple[Record, ...]:
    """The records of a fixture whose images are made as large as the published ones."""
    make_fixture(layout, root)
    records = open_dataset(f"{layout}:{root}", split=0 if layout == "coco" else None).records
    for number, record in enumerate(records):
        Image.fromarray(picture(number, SIZES[layout])).save(record.image, quality=92)
    return records


def picture(seed: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Smooth shapes with a camera's noise, which compress about as a photograph does."""
    random = np.random.default_rng(seed)
    height, width = size
    shapes = np.asarray(cv2.resize(random.uniform(0, 255, (12, 12, 3)), (width, height), interpolation=cv2.INTER_CUBIC))
    return np.clip(shapes + random.normal(0, 3, (height, width, 3)), 0, 255).astype(np.uint8)


def speed(records: tuple[Record, ...], cache: Kind, folder: Path, count: int) -> float:
    """Images a second; with a cache, of those that are in it."""
    source = ImageSource(records, (256, 256), cache=cache, cache_dir=folder)
    everything = np.arange(count) % len(records)
    blocks = [everything[i : i + BATCH] for i in range(0, count, BATCH)]
    if cache != "none":
        for _ in batches(source, blocks):
            pass
        blocks *= 10
    started = time.perf_counter()
    loaded = sum(len(indices) for indices, _ in batches(source, blocks))
    return loaded / (time.perf_counter() - started)


def say_where() -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    found = environment()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python {found['python']}, ")
    print(f"numpy {found['numpy']}, pillow {found['pillow']}; commit {commit}\n")


if __name__ == "__main__":
    main()
