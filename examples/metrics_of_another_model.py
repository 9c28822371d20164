"""Measure any other model by its maps alone: exact metrics in a table, checked beside scikit-learn where it is there.

    python examples/metrics_of_another_model.py
    python examples/metrics_of_another_model.py --maps maps.npy --masks masks.npy

Both files of the second command are (N, H, W): maps of floating point numbers, higher where less normal, and masks of
0 and 1. The first takes the simplest model there is: how far each pixel is from the mean of the normal images.
"""

import argparse
import importlib.util
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich import print

import invad
from invad.data import make_synthetic, read_image, read_mask
from invad.metrics import Evaluator, auroc_pixel, to_rich

SHOWN = ("auroc_image", "ap_image", "aupro", "auroc_pixel", "f1max_pixel")
Maps = NDArray[np.float32]
Masks = NDArray[np.bool_]


def main() -> None:
    """Collect maps and masks class by class, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, help="left out: of a simple model on images made on the spot")
    parser.add_argument("--masks", type=Path)
    parser.add_argument("--size", type=int, default=128, help="pixels of the images made on the spot")
    options = parser.parse_args()
    if (options.maps is None) != (options.masks is None):
        parser.error("--maps and --masks belong together")

    if options.maps:
        found = {"maps": (np.load(options.maps), np.load(options.masks).astype(bool))}
    else:
        found = simple_model(options.size)
    evaluator = Evaluator()
    for name, (maps, masks) in found.items():
        evaluator.update(maps, masks, name, labels=masks.any(axis=(1, 2)))
    print(to_rich(evaluator.compute(), keys=SHOWN))
    if importlib.util.find_spec("sklearn"):
        from sklearn.metrics import roc_auc_score

        apart = [
            abs(auroc_pixel(maps, masks) - roc_auc_score(masks.ravel(), maps.ravel())) for maps, masks in found.values()
        ]
        print(f"pixel AUROC and scikit-learn's differ by at most {max(apart):.1e}")


def simple_model(size: int) -> dict[str, tuple[Maps, Masks]]:
    """Maps and masks (N, H, W) of the test images of each class: the distance from the mean image, blurred."""
    root = Path(tempfile.mkdtemp())
    make_synthetic(root, size=size)
    data = invad.open_dataset(f"synthetic:{root}")
    found = {}
    for name in data.classes:
        normal = [read_image(r.image) for r in data.split("train") if r.class_name == name]
        mean = np.mean(normal, axis=0, dtype=np.float32)  # (H, W, 3)
        tests = [r for r in data.split("test") if r.class_name == name]
        distances = [np.abs(read_image(r.image) - mean).sum(axis=2) for r in tests]
        maps = np.stack([cv2.GaussianBlur(one, (0, 0), size / 64) for one in distances])
        masks = np.stack([read_mask(r.mask) if r.mask else np.zeros((size, size), bool) for r in tests])
        found[name] = maps, masks
    return found


if __name__ == "__main__":
    main()
