"""Train one model on the photos of several parts, see how good it is, and ask it about a photo.

    python examples/train_own_photos.py
    python examples/train_own_photos.py photos --out runs/parts --steps 1000

The first command makes its images on the spot. The folder of the second holds PART/train/good/*.jpg for each part,
and PART/test/good and PART/test/KIND_OF_DEFECT to test on.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from rich import print

import invad
from invad.data import make_synthetic
from invad.metrics import to_rich

SMALL = invad.TrainSettings(encoder="analytic", image_size=(96,), blocks=(1, 1, 1), batch_size=8)
SHOWN = ("auroc_image", "ap_image", "aupro", "auroc_pixel")


def main() -> None:
    """Train, evaluate, load, predict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="?", help="left out: images made on the spot")
    parser.add_argument("--out", type=Path, help="the folder of the run; left out: a temporary one")
    parser.add_argument("--steps", type=int, default=120, help="of the training")
    options = parser.parse_args()

    photos = options.photos or made_on_the_spot()
    chosen = invad.TrainSettings() if options.photos else SMALL
    settings = replace(chosen, data=(f"folder:{photos}",), steps=options.steps)
    run = invad.train(settings, options.out or Path(tempfile.mkdtemp()) / "run", quiet=True)  # calibrates itself, too
    evaluation = invad.evaluate(run, protocols=("exact",), quiet=True)
    print(to_rich(evaluation.results[0], keys=SHOWN))

    predictor = invad.load(run.path)
    worst = evaluation.records[evaluation.scores.argmax()].image
    prediction = predictor(worst)
    print(f"least normal: {worst}")
    print(f"score {prediction.score:.3f}, anomalous: {prediction.anomalous}")
    for region in prediction.regions:
        print(f"  {region.area} pixels in {region.box}, the highest at {region.at}")
    print(f"run: {run.path}")


def made_on_the_spot() -> Path:
    """A folder of photos as they should lie: two of the synthetic set's products."""
    root = Path(tempfile.mkdtemp())
    made = make_synthetic(root / "all", train=40, good=10, defective=3, size=96)
    photos = root / "photos"
    photos.mkdir()
    for folder in made[:2]:
        folder.rename(photos / folder.name)
    return photos


if __name__ == "__main__":
    main()
