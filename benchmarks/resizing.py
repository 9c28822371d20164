"""Time the resize of a photo to a model's size, by Pillow and by ours, which give the same pixels.

    python benchmarks/resizing.py

Both are timed in turn, on one thread; the figures are medians.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invad.data import resize_image
from invad.runs import environment

SIZE = (256, 256)
PHOTOS = ((320, 320), (480, 640), (900, 900), (1080, 1920), (3000, 4000))
"""Heights and widths."""
ROUNDS = 21


def main() -> None:
    found = environment()
    print(f"{found['processor name']}; pillow {found['pillow']}, numba {found['numba']}\n")
    print("| photo | Pillow, ms | ours, ms | times |\n|---|---:|---:|---:|")
    for height, width in PHOTOS:
        photo = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        rounds = [(timed(by_pillow, photo), timed(by_us, photo)) for _ in range(ROUNDS)]
        theirs, ours = (1000 * statistics.median(times) for times in zip(*rounds[1:], strict=True))
        print(f"| {height} x {width} | {theirs:.2f} | {ours:.2f} | {theirs / ours:.1f} |")


def by_pillow(photo: NDArray[np.uint8]) -> object:
    return np.asarray(Image.fromarray(photo).resize(SIZE[::-1], Image.Resampling.BILINEAR))


def by_us(photo: NDArray[np.uint8]) -> object:
    return resize_image(photo, SIZE)


def timed(resize: Callable[[NDArray[np.uint8]], object], photo: NDArray[np.uint8]) -> float:
    start = time.perf_counter()
    resize(photo)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
