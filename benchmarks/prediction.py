"""How much of the model's own speed is left when images are predicted, and print the table of docs/line.md.

    python benchmarks/prediction.py [--images 48] [--passes 8] [--model parts.xml]

Each row is images a second, the median of several passes, beside the model alone on the same batches in the same
passes: the same scorer, given batches that are ready. It is a run, an exported file, or else an InvAD-lite over
ResNet-18 of random weights, whose speed is that of a trained one; the images are of chance.
"""

import argparse
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invad.colours import ColourScale
from invad.data.resizing import resize_image
from invad.devices import choose_device
from invad.inference.calibration import Calibration
from invad.inference.opening import open_model
from invad.inference.predicting import Output, Predicting
from invad.inference.predictor import Predictor
from invad.inference.scorer import Scorer, folded_scorer
from invad.inference.sharding import Shard
from invad.inference.thresholds import from_normal
from invad.model import build_model
from invad.runs import environment

SIZE = (256, 256)
BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=48, help="images in a pass")
    parser.add_argument("--passes", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", type=Path, help="a run or an exported file")
    options = parser.parse_args()
    scorer = chosen(options.model, options.device)
    pictures = [picture(i, (900, 900)) for i in range(16)]
    pixels = [resize_image(one, scorer.size) for one in pictures] * -(-options.images // 16)
    pixels = pixels[: options.images]
    predictor = calibrated(scorer, pixels[:16])
    with tempfile.TemporaryDirectory() as folder:
        files = written(Path(folder), pictures, options.images)
        rows: dict[str, Callable[[], int]] = {
            "the model alone": lambda: alone(scorer, pixels),
            "pixels of the model's size, in memory": lambda: sum(1 for _ in predictor.stream(pixels, batch_size=BATCH)),
            "`invad predict` on 900 x 900 JPEG files": lambda: command(predictor, files, None),
            "the same, with overlays": lambda: command(predictor, files, ColourScale(0.2, 0.6)),
        }
        measured = measure(rows, options.passes)
    say_where()
    base = measured["the model alone"]
    print("| what | images a second | of the model alone |\n|---|---:|---:|")
    for name, speeds in measured.items():
        ratio = statistics.median(speed / alone for speed, alone in zip(speeds, base, strict=True))
        print(f"| {name} | {statistics.median(speeds):.1f} | {100 * ratio:.0f} % |")


def measure(rows: dict[str, Callable[[], int]], passes: int) -> dict[str, list[float]]:
    """Images a second of every row in every pass; the rows take turns in turning order, so that none is favoured."""
    found: dict[str, list[float]] = {name: [] for name in rows}
    names = list(rows)
    for number in range(passes + 1):
        names.append(names.pop(0))
        for name in names:
            work = rows[name]
            started = time.perf_counter()
            count = work()
            if number:  # the first pass warms up
                found[name].append(count / (time.perf_counter() - started))
    return found


def chosen(path: Path | None, device: str) -> Scorer:
    """The model that was named, or one of random weights."""
    if path is not None:
        return open_model(path, device=device).scorer
    model = build_model("resnet18", weights="random", image_size=SIZE, blocks=(4, 4, 4)).eval()
    return folded_scorer(model, SIZE, choose_device(device))


def alone(scorer: Scorer, pixels: list[NDArray[np.uint8]]) -> int:
    """The model, its map and score on batches that are ready; nothing else."""
    blocks = [np.stack(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)]
    for block in blocks:
        scorer(block)
    return len(pixels)


def command(predictor: Predictor, folder: Path, scale: ColourScale | None) -> int:
    """All that `invad predict` does after the model is loaded."""
    with tempfile.TemporaryDirectory() as out:
        output = Output(folder=Path(out), scale=scale)
        job = Predicting(predictor, [str(folder)], output, batch_size=BATCH, shard=Shard(), on_drift=lambda drift: None)
        job.begin(resume=False, overwrite=False)
        count = sum(1 for _ in job.run())
        job.finish()
    return count


def calibrated(scorer: Scorer, pixels: list[NDArray[np.uint8]]) -> Predictor:
    """A predictor that decides, by thresholds between the scores of some images."""
    scores = sorted(prediction.score for prediction in Predictor(scorer).stream(pixels))
    calibration = Calibration(
        method="false-alarms",
        wanted=0.5,
        overall=from_normal(scores, 0.5),
        scores={"": tuple(scores)},
        images="of chance",
        model="",
    )
    return Predictor(scorer, calibration=calibration)


def picture(seed: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Smooth shapes with a camera's noise, which compress about as a photograph does."""
    random = np.random.default_rng(seed)
    height, width = size
    shapes = np.asarray(cv2.resize(random.uniform(0, 255, (12, 12, 3)), (width, height), interpolation=cv2.INTER_CUBIC))
    return np.clip(shapes + random.normal(0, 3, (height, width, 3)), 0, 255).astype(np.uint8)


def written(folder: Path, pictures: list[NDArray[np.uint8]], count: int) -> Path:
    """The pictures as JPEG files, again and again up to a count."""
    for number in range(count):
        Image.fromarray(pictures[number % len(pictures)]).save(folder / f"{number:05d}.jpg", quality=92)
    return folder


def say_where() -> None:
    """Machine, versions, commit: what every number depends on."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    found = environment()
    print(f"{platform.machine()}, {os.cpu_count()} cores; Python {found['python']}, torch {found['torch']}, ", end="")
    print(f"pillow {found['pillow']}; commit {commit.stdout.strip()}\n")


if __name__ == "__main__":
    main()
