"""Watch frames without end: say which are not normal and where, draw it, and notice when the light drifts.

    python examples/watch_a_camera.py
    python examples/watch_a_camera.py --run runs/parts --camera 0 --frames 10000

The first command trains a small model; its camera shows fabric, now and then with a hole, and the light fades half-way.
Frames are read ahead and computed in batches, so outcomes come some frames late; `predictor(frame)` answers at once.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice, tee
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import invad
from invad.data import make_synthetic, read_image
from invad.inference import DriftWatch

SMALL = invad.TrainSettings(encoder="analytic", image_size=(96,), blocks=(1, 1, 1), batch_size=8, held_back=0.4)
Frame = NDArray[np.uint8]  # (H, W, 3) RGB


def main() -> None:
    """Print a line for each frame that is not normal and each window of scores that drifted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a calibrated run; left out: a small one is trained")
    parser.add_argument("--camera", type=int, help="the number of a camera; left out: a simulated one")
    parser.add_argument("--frames", type=int, default=120, help="after which to stop")
    parser.add_argument("--steps", type=int, default=120, help="of the training")
    parser.add_argument("--out", type=Path, help="the folder for the pictures; left out: a temporary one")
    options = parser.parse_args()

    work = Path(tempfile.mkdtemp())
    out = options.out or work
    out.mkdir(parents=True, exist_ok=True)
    predictor = invad.load(options.run or small_run(work, options.steps))
    if predictor.calibration is None:
        raise SystemExit(f"{options.run} has no thresholds; choose them by `invad calibrate {options.run}`")
    frames = simulated(work, options.frames) if options.camera is None else camera(options.camera)
    watch = DriftWatch(predictor.calibration, window=max(10, options.frames // 4))
    shown, read = tee(islice(frames, options.frames))  # keeps the few frames that were read and have no outcome yet
    for number, (frame, found) in enumerate(zip(shown, predictor.outcomes(read), strict=True)):
        if isinstance(found, invad.InvadError):
            print(f"frame {number}: {found}")
            continue
        if found.anomalous:
            print(f"frame {number}: score {found.score:.3f}, regions {[region.box for region in found.regions]}")
            drawn(frame, found).save(out / f"{number:06d}.png")
        if (drift := watch.add(found.score)) and drift.warns:
            print(f"frame {number}: {drift.text()}")
    print(f"pictures: {out}")


def drawn(frame: Frame, found: invad.Prediction) -> Image.Image:
    """The frame with a box around each region."""
    picture = Image.fromarray(frame)
    for region in found.regions:
        left, top, right, bottom = region.box
        ImageDraw.Draw(picture).rectangle((left, top, right - 1, bottom - 1), outline=(255, 0, 0))
    return picture


def camera(number: int) -> Iterator[Frame]:
    """The frames of a camera, until it stops."""
    device = cv2.VideoCapture(number)
    while (read := device.read())[0]:
        yield np.asarray(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), np.uint8)


def simulated(work: Path, fades_after: int) -> Iterator[Frame]:
    """Pictures of fabric without end, one in ten with a hole; half-way the light goes down by a tenth."""
    folder = make_synthetic(work / "line", train=0, good=90, defective=10, size=96, seed=1)[1]
    good, holes = (sorted((folder / "test" / kind).iterdir()) for kind in ("good", "hole"))
    for i in count():
        frame = read_image(holes[i // 10 % 10] if i % 10 == 9 else good[(i - i // 10) % 90])
        yield frame if i < fades_after // 2 else (frame * 0.9).astype(np.uint8)


def small_run(work: Path, steps: int) -> Path:
    """A run on fabric made on the spot; it holds 60 of 150 images back and calibrates itself on them."""
    fabric = make_synthetic(work / "photos", train=150, good=1, defective=1, size=96)[1]
    return invad.train(replace(SMALL, data=(f"folder:{fabric}",), steps=steps), work / "run", quiet=True).path


if __name__ == "__main__":
    main()
