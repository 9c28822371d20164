"""Memory of a training on very many images: the figures of docs/training.md.

    python benchmarks/scale.py --images 100000

Makes a folder of so many records (links to a few hundred small pictures), trains one epoch on them with nothing kept in
memory, and prints how much the process holds along the way.
"""

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

import invad

DISTINCT = 256
PIXELS = 32
MB = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two looks at the memory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        started = time.perf_counter()
        make_images(root / "photos" / "part" / "train" / "good", options.images)
        print(f"{options.images} files made in {time.perf_counter() - started:.0f} s", flush=True)
        settings = invad.TrainSettings(
            recipe="paper",
            data=(f"folder:{root / 'photos'}",),
            encoder="resnet18",
            weights="random",
            blocks=(1, 1, 1),
            image_size=(PIXELS,),
            epochs=1,
            cache="none",
            feature_memory=0.0,
            held_back=0.0,
        )
        stop = threading.Event()
        watcher = threading.Thread(target=watch, args=(root / "run" / "log.jsonl", options.every, stop))
        watcher.start()
        try:
            invad.train(settings, root / "run", quiet=True)
        finally:
            stop.set()
            watcher.join()


def make_images(folder: Path, count: int) -> None:
    """So many names for a few pictures."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    pictures = folder.parent.parent.parent.parent / "pictures"
    pictures.mkdir()
    for i in range(DISTINCT):
        Image.fromarray(random.integers(0, 256, (PIXELS, PIXELS, 3), dtype=np.uint8)).save(pictures / f"{i}.png")
    for i in range(count):
        os.link(pictures / f"{i % DISTINCT}.png", folder / f"{i:06d}.png")


def watch(log: Path, every: float, stop: threading.Event) -> None:
    """Print memory beside the steps done."""
    print("| steps logged | memory, MB |\n|---:|---:|", flush=True)
    process = psutil.Process()
    while not stop.wait(every):
        steps = sum(b'"step"' in line for line in log.read_bytes().splitlines()) * 10 if log.is_file() else 0
        print(f"| {steps} | {process.memory_info().rss / MB:.0f} |", flush=True)


if __name__ == "__main__":
    main()
