"""Train by both recipes on the same images, and say where they differ by more than chance.

    python examples/compare_two_recipes.py
    python examples/compare_two_recipes.py --data folder:photos --steps 1000

The intervals come from resampling the test images in pairs, so they speak of these two models and not of other seeds.
Any two models' maps are compared likewise; `invad report A B` shows two runs side by side in a page.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

from rich import print
from rich.table import Table

import invad
from invad.data import make_synthetic
from invad.metrics import KEYS, TITLES, Evaluator, is_real

SMALL = invad.TrainSettings(encoder="analytic", image_size=(96,), blocks=(1, 1, 1), batch_size=8)


def main() -> None:
    """Train and evaluate twice, and print both beside the intervals of their difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="LAYOUT:ROOT, with test images; left out: fabric made on the spot")
    parser.add_argument("--out", type=Path, help="the folder for both runs; left out: a temporary one")
    parser.add_argument("--steps", type=int, default=80, help="of each training")
    parser.add_argument("--resamples", type=int, default=200, help="of the test images")
    options = parser.parse_args()
    out = options.out or Path(tempfile.mkdtemp())
    data = options.data or f"folder:{make_synthetic(out / 'photos', train=100, good=20, defective=5, size=96)[1]}"

    def maps_of(recipe: Literal["paper", "aligned"]) -> Evaluator:
        """Train by one recipe, all else being equal, and return what its maps of the test images say."""
        chosen = invad.TrainSettings(batch_size=16) if options.data else SMALL
        settings = replace(chosen, data=(data,), recipe=recipe, steps=options.steps)
        run = invad.train(settings, out / recipe, quiet=True)
        invad.evaluate(run, save_maps=out / f"maps-{recipe}", quiet=True)
        return Evaluator.from_maps(out / f"maps-{recipe}")

    paper, aligned = maps_of("paper"), maps_of("aligned")
    means = paper.compute().mean, aligned.compute().mean
    differences = aligned.differences(paper, options.resamples).mean
    table = Table("metric", "paper", "aligned", "aligned - paper, 95 %", "more than chance")
    for key in KEYS:
        low, high = differences.get(key, (float("nan"), float("nan")))
        numbers = ("–" if value is None else f"{100 * value:.2f}" for value in (mean[key] for mean in means))
        real = "yes" if is_real(differences.get(key)) else "no"
        table.add_row(TITLES[key], *numbers, f"{100 * low:+.2f} to {100 * high:+.2f}", real)
    print(table)
    print("a page with both: invad report", out / "paper", out / "aligned")


if __name__ == "__main__":
    main()
