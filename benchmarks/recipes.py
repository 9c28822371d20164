"""Two recipes and what lies between them, on real images: the trials of docs/recipes.md.

    python benchmarks/recipes.py DATA WEIGHTS --out runs/recipes --rows paper-1000 aligned-200 --seeds 42 43 44

DATA holds `mvtec/bottle`, `mvtec/pill` and `hazelnut_toy` in MVTec AD's layout; WEIGHTS are ImageNet weights for timm's
resnet18. A trial that is complete in `--out` is not trained again; one that was stopped goes on. The encoder's features
are computed once for all trials of a kind and kept on disk. At the end all complete trials are printed as one table, in
the order of the rows: the mean over the seeds that are there.
"""

import argparse
import json
import os
import statistics
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import invad
from invad.errors import RunError
from invad.metrics import KEYS, TITLES
from invad.presets import RECIPES
from invad.runs import environment
from recipe_changes import CHANGES

ALL = ("bottle", "hazelnut_toy", "pill")
TWO = ("bottle", "pill")
SMALL = (1, 1, 1)
MAIN = ("auroc_image", "ap_image", "f1max_image", "auroc_pixel", "ap_pixel", "f1max_pixel", "aupro")


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One way to train; what is not named is InvAD-lite's over ResNet-18, batches of 16, in the machine's precision."""

    steps: int
    classes: tuple[str, ...] = TWO
    settings: Mapping[str, Any] = field(default_factory=dict)
    change: str = ""
    """What no setting changes: a key of `CHANGES`, or nothing."""


def aligned(steps: int, classes: tuple[str, ...] = TWO, change: str = "", **settings: Any) -> Trial:
    """A trial of the recipe `aligned` with changes."""
    return Trial(steps=steps, classes=classes, settings={"recipe": "aligned", **settings}, change=change)


def paper(steps: int, classes: tuple[str, ...] = TWO, **settings: Any) -> Trial:
    """A trial of the published recipe with changes."""
    return Trial(steps=steps, classes=classes, settings={"recipe": "paper", **settings})


TRIALS = {
    "paper-1000": paper(1000, ALL),
    "aligned-200": aligned(200, ALL),
    "aligned-1000": aligned(1000, ALL),
    "cosine-200": aligned(200, ALL, loss="cosine"),
    "cosine-1000": aligned(1000, ALL, loss="cosine"),
    "paper-600-small": paper(600, ALL, blocks=SMALL),
    "aligned-600-small": aligned(600, ALL, blocks=SMALL),
    "aligned-200-analytic": aligned(200, ALL, encoder="analytic"),
    "aligned-400-analytic": aligned(400, ALL, encoder="analytic"),
    "paper-1500-pill": paper(1500, ("pill",)),
    "aligned-1500-pill": aligned(1500, ("pill",)),
    "cosine-1500-pill": aligned(1500, ("pill",), loss="cosine"),
    # one step after the other from the published recipe to ours, in short runs of a small decoder
    "squared": paper(300, blocks=SMALL),
    "squared-blurred": paper(300, blocks=SMALL, blur=6.0),
    "squared-standardised": paper(300, blocks=SMALL, standardise=True, blur=6.0),
    "cosine": paper(300, blocks=SMALL, loss="cosine", blur=6.0),
    "cosine-standardised": paper(300, blocks=SMALL, loss="cosine", standardise=True, blur=6.0),
    "cosine-300-small": aligned(300, blocks=SMALL, loss="cosine"),
    "aligned-300-small": aligned(300, blocks=SMALL),
    # what was looked at on the way
    "rate-0.005": aligned(300, blocks=SMALL, learning_rate=5e-3),
    "batch-8": aligned(600, blocks=SMALL, batch_size=8),
    "blur-4": aligned(300, blocks=SMALL, blur=4.0),
    "hard-of-batch": aligned(300, blocks=SMALL, loss="cosine", change="hard-of-batch"),
}


def main() -> None:
    options = parse()
    print(f"{os.cpu_count()} cores; {json.dumps(environment())}", flush=True)
    for name in options.rows or TRIALS:
        for seed in options.seeds:
            out = options.out / f"{name}-seed{seed}"
            change = TRIALS[name].change
            with CHANGES[change]() if change else nullcontext():
                train(TRIALS[name], seed, out, options)
            evaluation = invad.evaluate(out, protocols=("exact",), bootstrap=0, quiet=True)
            mean = evaluation.results[0].mean
            print(f"{name} seed {seed}: " + " / ".join(shown(mean[key]) for key in MAIN), flush=True)
    print(table(options.out, options.seeds))
    if options.against:
        print(differences(options.out, options.seeds, options.against))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--rows", nargs="*", choices=TRIALS, help="default: all")
    parser.add_argument("--seeds", nargs="*", type=int, default=[42])
    parser.add_argument("--against", choices=TRIALS, help="compare all others with this one, seed by seed")
    return parser.parse_args()


def train(trial: Trial, seed: int, out: Path, options: argparse.Namespace) -> None:
    """Train a trial, or go on with it, unless it is complete."""
    if (out / "settings.toml").is_file():
        require_trained_as(trial, invad.Run.open(out))
        invad.resume(out, quiet=complete(out))
        return
    values: dict[str, Any] = {"encoder": "resnet18", "batch_size": 16, "precision": "auto", "held_back": 0.0}
    values |= trial.settings
    settings = invad.TrainSettings(
        data=(f"mvtec:{options.data / 'mvtec'}", f"mvtec:{options.data / 'hazelnut_toy'}"),
        classes=trial.classes,
        weights=None if values["encoder"] == "analytic" else str(options.weights),
        steps=trial.steps,
        seed=seed,
        **values,
    )
    invad.train(settings, out)


def require_trained_as(trial: Trial, run: invad.Run) -> None:
    """End where a run is that of a trial of before: a recipe may have changed since."""
    settings = run.settings()
    expected = trial.settings.get("loss", RECIPES[trial.settings["recipe"]].loss)
    if settings.loss != expected:
        raise SystemExit(f"{run.path} was trained by the loss {settings.loss}, not {expected}: choose another --out")


def complete(out: Path) -> bool:
    """Whether a trial was trained to its end."""
    try:
        return invad.Run.open(out).complete
    except RunError:
        return False


def table(folder: Path, seeds: list[int]) -> str:
    """All complete trials as Markdown: seeds, minutes, the fifteen metrics as the mean over classes and seeds."""
    heads = ["trial", "classes", "seeds", "min", *(TITLES[key] for key in KEYS)]
    rows = [heads, ["---"] * len(heads)]
    for name, trial in TRIALS.items():
        done = [folder / f"{name}-seed{seed}" for seed in seeds if complete(folder / f"{name}-seed{seed}")]
        means = [mean_of(run) for run in done]
        if means:
            minutes = statistics.mean(minutes_of(run) for run in done)
            values = [shown(average([mean[key] for mean in means])) for key in KEYS]
            rows.append([name, str(len(trial.classes)), str(len(done)), f"{minutes:.1f}", *values])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def differences(folder: Path, seeds: list[int], base: str) -> str:
    """What trials have over another one of the same classes, as Markdown: the mean over seeds, and each seed's."""
    keys = (*MAIN, "mad")
    rows = [["trial", "seeds", *(TITLES[key] for key in keys)]]
    rows.append(["---"] * len(rows[0]))
    for name, trial in TRIALS.items():
        pairs = [(folder / f"{name}-seed{seed}", folder / f"{base}-seed{seed}") for seed in seeds]
        means = [(mean_of(run), mean_of(other)) for run, other in pairs if complete(run) and complete(other)]
        if means and name != base and trial.classes == TRIALS[base].classes:
            found = {key: [100 * (mean[key] - other[key]) for mean, other in means] for key in keys}
            cells = (f"{statistics.mean(x):+.2f} ({', '.join(f'{one:+.2f}' for one in x)})" for x in found.values())
            rows.append([name, str(len(means)), *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def mean_of(run: Path) -> dict[str, Any]:
    """The metrics of an evaluated trial, mean over its classes."""
    found: dict[str, Any] = json.loads((run / "evaluation/results-exact.json").read_text(encoding="utf-8"))["mean"]
    return found


def minutes_of(run: Path) -> float:
    """How long the steps of a run took, by its log: other work on the machine counts too."""
    steps = [event for event in invad.Run.open(run).events() if event["event"] == "step"]
    size = invad.Run.open(run).settings().batch_size
    assert size is not None
    return float(steps[-1]["total_steps"] * size / steps[-1]["images_per_second"] / 60)


def average(values: list[float | None]) -> float | None:
    """The mean, or None where a value is missing."""
    present = [value for value in values if value is not None]
    return statistics.mean(present) if len(present) == len(values) else None


def shown(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"


if __name__ == "__main__":
    main()
