"""The cost of making all four splits of COCO-AD from annotation files of full size, for docs/data/coco.md.

    python benchmarks/coco.py [FOLDER]

The annotations are of chance, as many as COCO 2017 has, with polygons of about the same length; no image is needed.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from invad.data import build_splits
from invad.runs import environment

IMAGES = {"train": 118287, "val": 5000}
ANNOTATIONS = {"train": 860001, "val": 36781}
HEIGHT, WIDTH = 480, 640
CROWDS = 0.012
"""Share of annotations that are run lengths of crowds."""
WITHOUT = 0.009
"""Share of images without annotations."""
IDS = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="where to write the annotations; kept for the next call")
    with tempfile.TemporaryDirectory() as temporary:
        folder = parser.parse_args().folder or Path(temporary)
        for name in IMAGES:
            write_annotations(folder / f"annotations/instances_{name}2017.json", name)
        os.environ["XDG_CACHE_HOME"] = str(Path(temporary) / "cache")
        say_where()
        base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for attempt in ("first", "second"):
            started = time.perf_counter()
            indexes = build_splits(folder, range(4))
            print(f"| {attempt} run, all four splits | {time.perf_counter() - started:.1f} s |", flush=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        masks = [path for index in indexes for path in index.with_suffix("").iterdir()]
        print(f"| peak memory ({base / 2**20:.2f} GiB of it before) | {peak / 2**20:.2f} GiB |")
        print(f"| masks | {len(masks)}, {sum(path.stat().st_size for path in masks) / 1e6:.0f} MB |")


def say_where() -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    found = environment()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python {found['python']}, ")
    print(f"numpy {found['numpy']}, pillow {found['pillow']}; commit {commit}\n\n| what | cost |\n|---|---|")


def write_annotations(file: Path, name: str) -> None:
    """Write one annotation file line by line, unless it is there."""
    if file.is_file():
        return
    random = np.random.default_rng(0)
    file.parent.mkdir(parents=True, exist_ok=True)
    images, count = IMAGES[name], ANNOTATIONS[name]
    owners = random.integers(0, round(images * (1 - WITHOUT)), count)
    with file.with_suffix(".part").open("w", encoding="utf-8") as out:
        listed = [
            {"id": i, "file_name": f"{i:012d}.jpg", "height": HEIGHT, "width": WIDTH, "coco_url": "http://none"}
            for i in range(images)
        ]
        out.write(f'{{"images": {json.dumps(listed)},\n"categories": {json.dumps([{"id": i} for i in IDS])},\n')
        out.write('"annotations": [')
        for number, owner in enumerate(owners):
            out.write((",\n" if number else "") + json.dumps(annotation(random, number, int(owner))))
        out.write("]}\n")
    file.with_suffix(".part").replace(file)
    print(f"wrote {file.name}: {images} images, {count} annotations, {file.stat().st_size / 1e6:.0f} MB", flush=True)


def annotation(random: np.random.Generator, number: int, image: int) -> dict[str, object]:
    """A ragged polygon, or now and then a crowd's run lengths."""
    crowd = random.random() < CROWDS
    if crowd:
        runs = random.integers(1, 400, 1200)
        counts = runs[np.cumsum(runs) < HEIGHT * WIDTH]
        segmentation: object = {
            "size": [HEIGHT, WIDTH],
            "counts": [*counts.tolist(), int(HEIGHT * WIDTH - counts.sum())],
        }
    else:
        points = int(random.integers(8, 44))
        angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
        radius = random.uniform(5, 90) * random.uniform(0.7, 1.0, points)
        x = random.uniform(0, WIDTH) + radius * np.cos(angle)
        y = random.uniform(0, HEIGHT) + radius * np.sin(angle)
        pairs = np.stack([x.clip(0, WIDTH), y.clip(0, HEIGHT)], axis=1)
        segmentation = [[round(v, 2) for v in pairs.ravel().tolist()]]
    return {
        "id": number,
        "image_id": image,
        "category_id": IDS[int(random.integers(80))],
        "iscrowd": int(crowd),
        "bbox": [0.0, 0.0, 1.0, 1.0],
        "area": 1.0,
        "segmentation": segmentation,
    }


if __name__ == "__main__":
    main()
