"""Whether a calibrated threshold keeps its promise on real images, and print the tables of docs/calibration.md.

    python benchmarks/calibration.py DATA WEIGHTS --out runs/calibration

DATA holds `mvtec/bottle` and `mvtec/pill` in MVTec AD's layout; WEIGHTS are ImageNet weights for timm's resnet18. Each
model is trained on a random half of the normal training images; no weight or threshold has seen the other half. That
half is split into calibration and new images again and again. What is complete in `--out` is not computed again, and a
training that was stopped goes on.
"""

import argparse
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom, ks_2samp

import invad
from invad.inference.thresholds import alarm_ranks, from_normal
from invad.metrics import auroc_image
from invad.runs import environment

CLASSES = ("bottle", "pill")
RATES = (0.01, 0.02, 0.05, 0.1)
Scores = dict[str, NDArray[np.float64]]
"""Scores of the parts `trained`, `fresh`, `test good` and `test defective`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/calibration"))
    parser.add_argument("--models", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--splits", type=int, default=10_000)
    options = parser.parse_args()
    say_where()
    models = [
        scores_of(options.out / f"seed{seed}", options.data, options.weights, seed, options.epochs)
        for seed in range(options.models)
    ]
    print(f"\n## New images of the same source, {options.splits:,} random splits of each model's unseen half\n")
    print_splits(models, options.splits)
    print("\n## Images of other origin at the threshold of all unseen images\n")
    print_origins(models)


def scores_of(out: Path, data: Path, weights: Path, seed: int, epochs: int) -> Scores:
    """Train on a random half of the normal images, unless it is done, and score every image."""
    file = out / "scores.json"
    if not file.is_file():
        run = train(out / "run", data, weights, seed, epochs)
        test = invad.open_dataset(f"mvtec:{data / 'mvtec'}", CLASSES).split("test")
        trained = [json.loads(line)["image"] for line in run.records_file.read_text(encoding="utf-8").splitlines()]
        parts = {
            "trained": [Path(image) for image in trained],
            "fresh": [record.image for record in run.held_back()],
            "test good": [record.image for record in test if not record.anomalous],
            "test defective": [record.image for record in test if record.anomalous],
        }
        predictor = invad.load(run.path)
        found = {part: [one.score for one in predictor.stream(paths)] for part, paths in parts.items()}
        file.write_text(json.dumps(found))
    return {part: np.array(values) for part, values in json.loads(file.read_text()).items()}


def train(out: Path, data: Path, weights: Path, seed: int, epochs: int) -> invad.Run:
    """Train with half of each class held back, or go on where it was stopped."""
    if (out / "settings.toml").is_file():
        return invad.resume(out, quiet=True)
    settings = invad.TrainSettings(
        data=(f"mvtec:{data / 'mvtec'}",),
        classes=CLASSES,
        encoder="resnet18",
        weights=str(weights),
        epochs=epochs,
        image_size=(128,),  # a promise holds for any model; a small one trains in minutes
        blocks=(1, 1, 1),
        batch_size=16,
        precision="bf16",
        held_back=0.5,
        seed=seed,
    )
    return invad.train(settings, out, quiet=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What the splits of one model and rate gave."""

    promised: float
    measured: float
    covered: float
    expected: float


def print_splits(models: Sequence[Scores], splits: int) -> None:
    print("| model | wanted | calibrated on, new | promised | measured | count in its interval | by the theory |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for number, scores in enumerate(models):
        fresh = scores["fresh"]
        half = len(fresh) // 2
        for rate in RATES:
            row = split(fresh, half, rate, splits)
            cells = [f"{100 * rate:.3g} %", f"{half}, {len(fresh) - half}", f"{100 * row.promised:.3f} %"]
            cells += [f"{100 * row.measured:.3f} %", f"{100 * row.covered:.2f} %", f"{100 * row.expected:.2f} %"]
            print(f"| {number + 1} | {' | '.join(cells)} |")


def split(scores: NDArray[np.float64], count: int, rate: float, splits: int) -> Row:
    """Calibrate on `count` of the scores drawn at random, and count the others' alarms; again and again.

    The number of alarms among m new images follows BetaBinomial(m, N + 1 - k, k): the interval of the true rate and
    the chance of the draw together. Its central 95 % hold at least that much; `expected` is how much exactly.
    """
    random = np.random.default_rng(0)
    new = len(scores) - count
    ranks = alarm_ranks(count, rate)
    chance = betabinom(new, ranks, count + 1 - ranks)
    low, high = chance.ppf(0.025), chance.ppf(0.975)
    alarms = np.empty(splits)
    for i in range(splits):
        order = random.permutation(len(scores))
        threshold = from_normal(scores[order[:count]], rate)
        alarms[i] = (scores[order[count:]] >= threshold.image).sum()
    return Row(
        promised=ranks / (count + 1),
        measured=float(alarms.mean()) / new,
        covered=float(((low <= alarms) & (alarms <= high)).mean()),
        expected=float(chance.cdf(high) - chance.cdf(low - 1)),
    )


def print_origins(models: Sequence[Scores]) -> None:
    heads = ["model", "image AUROC", "wanted", "good test images above", "defective ones above"]
    heads += ["unseen ones above a threshold from the training images", "Kolmogorov-Smirnov of trained and unseen"]
    print(f"| {' | '.join(heads)} |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for number, scores in enumerate(models):
        good, bad, fresh = scores["test good"], scores["test defective"], scores["fresh"]
        labels = np.repeat([0, 1], [len(good), len(bad)])
        area = auroc_image(np.concatenate([good, bad]), labels)
        for rate in RATES:
            cut, naive = from_normal(fresh, rate).image, from_normal(scores["trained"], rate).image
            shares: list[Any] = [(good >= cut).sum(), len(good), (bad >= cut).sum(), len(bad)]
            shares += [(fresh >= naive).sum(), len(fresh)]
            counts = [f"{a} of {b} ({100 * a / b:.1f} %)" for a, b in zip(shares[::2], shares[1::2])]
            distance = f"{ks_2samp(scores['trained'], fresh).pvalue:.2g}"
            print(f"| {number + 1} | {100 * area:.2f} | {100 * rate:.3g} % | {' | '.join(counts)} | {distance} |")


def say_where() -> None:
    """Machine, versions, commit: what every number depends on."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(f"commit {commit.stdout.strip() or 'unknown'}; {os.cpu_count()} cores")
    print(json.dumps(environment()))


if __name__ == "__main__":
    main()
