"""Choose thresholds for wanted false-alarm rates from normal photos alone, and see whether they keep their promise.

    python examples/calibrate_for_a_false_alarm_rate.py
    python examples/calibrate_for_a_false_alarm_rate.py --run runs/parts --normal line/monday --fresh line/tuesday

The photos are ones that the model was not trained on: `--normal` to calibrate on, `--fresh` to count the alarms among.
The run keeps the thresholds of the last rate in place of those it had. The first command trains a small model.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import invad
from invad.data import make_synthetic
from invad.data.images import is_image

SMALL = invad.TrainSettings(encoder="analytic", image_size=(64,), blocks=(1, 1, 1), batch_size=8)


def main() -> None:
    """Print for each rate the threshold, what it promises, and what it does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--run", type=Path, help="left out: a small one is trained, and its photos are made on the spot"
    )
    parser.add_argument("--normal", type=Path, help="a folder of normal photos")
    parser.add_argument("--fresh", type=Path, help="a folder of other normal photos")
    parser.add_argument("--rates", type=float, nargs="+", default=(0.2, 0.05, 0.01))
    parser.add_argument("--steps", type=int, default=60, help="of the training")
    options = parser.parse_args()
    given = options.run, options.normal, options.fresh
    if any(given) and not all(given):
        parser.error("--run, --normal and --fresh belong together")

    run, normal, fresh = given if all(given) else small_run(Path(tempfile.mkdtemp()), options.steps)
    photos = sorted(path for path in fresh.rglob("*") if is_image(path.name))
    scores = [prediction.score for prediction in invad.load(run).stream(photos)]
    for rate in options.rates:
        calibration = invad.calibrate(run, normal=[normal], false_alarms=rate, overwrite=True, quiet=True)
        found = calibration.overall
        low, high = found.false_alarm_interval
        alarms = sum(score >= found.image for score in scores)
        print(f"at most {rate:.1%} wanted, {found.normal} normal photos: threshold {found.image:.4f}")
        print(
            f"  promised {found.false_alarms:.2%} ({low:.2%} to {high:.2%}); {alarms} of {len(scores)} fresh ones alarm"
        )


def small_run(work: Path, steps: int) -> tuple[Path, Path, Path]:
    """A run on fabric made on the spot, and two folders of 99 normal photos each that it has not seen."""
    fabric = make_synthetic(work / "photos", train=40, good=99, defective=1, size=64)[1]
    other = make_synthetic(work / "line", train=0, good=99, defective=0, size=64, seed=1)[1]
    settings = replace(SMALL, data=(f"folder:{fabric}",), steps=steps)
    run = invad.train(settings, work / "run", quiet=True)
    return run.path, fabric / "test" / "good", other / "test" / "good"


if __name__ == "__main__":
    main()
