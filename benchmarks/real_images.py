"""Train and evaluate InvAD-lite on real images, and print the tables of docs/results.md.

    python benchmarks/real_images.py DATA WEIGHTS --out runs/real

The last rows vary one setting of the first: docs/training.md. DATA holds `mvtec/bottle`, `mvtec/pill` and
`hazelnut_toy` in MVTec AD's layout; WEIGHTS are ImageNet weights for
timm's resnet18. A row that is complete in `--out` is not trained again; one that was stopped goes on. With two cores
and bf16, all rows take about an hour.
"""

import argparse
import json
import os
import platform
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import invad
from invad.errors import RunError
from invad.metrics import Results, to_markdown
from invad.runs import environment

TWO = ("bottle", "hazelnut_toy")
THREE = ("bottle", "hazelnut_toy", "pill")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One training run."""

    classes: tuple[str, ...]
    encoder: str
    epochs: int
    blocks: tuple[int, int, int] | None = None
    """Residual blocks per level; None: InvAD-lite's four."""
    batch_size: int = 16
    """With it the learning rate, 1e-3 for every 8 images."""
    loss_weight: float | None = None
    """None: InvAD-lite's five."""
    image_size: int = 256
    precision: Literal["fp32", "bf16"] = "bf16"


ROWS = {
    "resnet18-two-20": Row(classes=TWO, encoder="resnet18", epochs=20),
    "resnet18-two-5": Row(classes=TWO, encoder="resnet18", epochs=5),
    "analytic-two-20": Row(classes=TWO, encoder="analytic", blocks=(1, 1, 1), epochs=20),
    "analytic-two-8": Row(classes=TWO, encoder="analytic", blocks=(1, 1, 1), epochs=8),
    "analytic-two-5": Row(classes=TWO, encoder="analytic", blocks=(1, 1, 1), epochs=5),
    "resnet18-three-20": Row(classes=THREE, encoder="resnet18", epochs=20),
    "fp32": Row(classes=TWO, encoder="resnet18", epochs=20, precision="fp32"),
    "batch-8": Row(classes=TWO, encoder="resnet18", epochs=20, batch_size=8),
    "batch-32": Row(classes=TWO, encoder="resnet18", epochs=20, batch_size=32),
    "loss-weight-1": Row(classes=TWO, encoder="resnet18", epochs=20, loss_weight=1.0),
    "192-pixels": Row(classes=TWO, encoder="resnet18", epochs=20, image_size=192),
    "10-epochs": Row(classes=TWO, encoder="resnet18", epochs=10),
    "40-epochs": Row(classes=TWO, encoder="resnet18", epochs=40),
}


def main() -> None:
    options = parse()
    say_where()
    for name in options.rows or ROWS:
        row, out = ROWS[name], options.out / name
        started = time.perf_counter()
        trained = train(row, out, options.data, options.weights)
        minutes = (time.perf_counter() - started) / 60
        evaluation = invad.evaluate(out, protocols=("exact",), bootstrap=options.bootstrap, quiet=True)
        print(f"\n## {name}: {', '.join(row.classes)} in one model, {row.encoder}, {row.epochs} epochs\n")
        if trained:
            print(f"Trained in {minutes:.1f} minutes (load over 1 minute at its end: {os.getloadavg()[0]:.1f}).\n")
        print(to_markdown(evaluation.results[0], intervals=True), flush=True)
        print(short(evaluation.results[0]), flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    parser.add_argument("--rows", nargs="*", choices=ROWS, help="default: all")
    parser.add_argument("--bootstrap", type=int, default=1000)
    return parser.parse_args()


def complete(out: Path) -> bool:
    """Whether a row was trained to its end."""
    try:
        return invad.Run.open(out).complete
    except RunError:
        return False


def train(row: Row, out: Path, data: Path, weights: Path) -> bool:
    """Train a row, or go on with it; False where it was complete."""
    if complete(out):
        return False
    if (out / "settings.toml").is_file():
        invad.resume(out)
        return True
    settings = invad.TrainSettings(
        recipe="paper",
        data=(f"mvtec:{data / 'mvtec'}", f"mvtec:{data / 'hazelnut_toy'}"),
        classes=row.classes,
        encoder=row.encoder,
        weights=str(weights) if row.encoder == "resnet18" else None,
        epochs=row.epochs,
        blocks=row.blocks,
        batch_size=row.batch_size,
        loss_weight=row.loss_weight,
        image_size=(row.image_size,),
        precision=row.precision,
    )
    invad.train(settings, out)
    return True


def short(results: Results) -> str:
    """The seven numbers that the field compares, as image AUROC / AP / F1-max, pixel the same, and AU-PRO."""
    keys = ("auroc_image", "ap_image", "f1max_image"), ("auroc_pixel", "ap_pixel", "f1max_pixel"), ("aupro",)
    rows = [(one.name, one.values) for one in results.classes] + [("mean", results.mean)]
    cells = [[" / ".join(shown(values[key]) for key in group) for group in keys] for _, values in rows]
    lines = [f"| {name} | {' | '.join(row)} |" for (name, _), row in zip(rows, cells)]
    return "\n".join(["| class | image | pixel | AU-PRO |", "|---|---|---|---|", *lines])


def shown(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"


def say_where() -> None:
    """Machine, versions, commit: what every number depends on."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(f"commit {commit.stdout.strip() or 'unknown'}; {os.cpu_count()} cores, {platform.machine()}")
    print(json.dumps(environment()))


if __name__ == "__main__":
    main()
