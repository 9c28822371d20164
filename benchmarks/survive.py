"""Kill a training at random moments and resume it, until it ends in the bits of one that nobody touched.

    python benchmarks/survive.py [--kills 50] [--seed 0]

A small run (synthetic images, analytic encoder, a checkpoint after every step, images held back, the best weights kept)
is done once without a kill. Then it is done again and again, killed (SIGKILL) at random moments and gone on with as its
user would: by `--resume` if there is a run, else anew. Some kills are aimed: at a file that is being written, and at
the end. Features are in memory and on disk in turn. The exit status is 1 if any run was lost or ended in other bits.
"""

import argparse
import multiprocessing
import os
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from invad import TrainSettings
from invad.checkpoint import list_checkpoints
from invad.cli.main import run
from invad.data import make_synthetic
from invad.runs import Run, environment

WHERE = {"features in memory": 1.0, "features on disk": 0.0}
"""GiB of memory for the features; those that do not fit go to disk."""
AIMS = ("any moment",) * 6 + ("writing",) * 2 + ("finishing",)
"""What kills are aimed at, by chance."""
PHASES = ("setup", "encoding", "training", "writing a file", "finishing")
CONTEXT: Any = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
"""How processes start: each anew, from one that has imported what they need, where the system can fork."""
LIMIT = 300
"""Starts without an end after which a run counts as lost."""


@dataclass(kw_only=True, slots=True)
class Outcome:
    """What became of the runs."""

    phases: Counter[str] = field(default_factory=Counter)
    """Kills by what the run was doing."""
    identical: int = 0
    """Runs that ended in the bits of the one that nobody touched."""
    other: int = 0
    """Runs that ended in other bits."""
    damaged: int = 0
    """Checkpoints that a resumed run found damaged."""
    lost: list[str] = field(default_factory=list)
    """What runs said that could not be gone on with."""

    @property
    def kills(self) -> int:
        """All kills so far."""
        return sum(self.phases.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    warm_up()
    with tempfile.TemporaryDirectory() as folder:
        outcome = survive(Path(folder), args.kills, random.Random(args.seed))
    show(outcome)
    sys.exit(bool(outcome.other or outcome.lost))


def warm_up() -> None:
    """Have all that runs need imported, so that the time of the first one is that of a run."""
    if CONTEXT.get_start_method() == "forkserver":
        CONTEXT.set_forkserver_preload(["invad.training", "invad.training.curve", "invad.cli.training"])
    process = CONTEXT.Process(target=environment)
    process.start()
    process.join()


def survive(folder: Path, kills: int, chance: random.Random) -> Outcome:
    """Kill and resume runs in a folder so many times, and compare each that ends with one that nobody touched."""
    make_synthetic(folder / "set", train=12, good=1, defective=1, size=64)
    references = {where: untouched(folder, where) for where in WHERE}
    outcome = Outcome()
    for number in range(kills * LIMIT):
        where = list(WHERE)[number % len(WHERE)]
        expected, seconds = references[where]
        out = folder / f"killed-{number}"
        found = kill_until_done(out, settings_of(folder, where, out), seconds, kills, chance, outcome)
        if found is not None:
            same = found == expected
            outcome.identical += same
            outcome.other += not same
        if outcome.kills >= kills:
            break
    return outcome


def untouched(folder: Path, where: str) -> tuple[list[bytes], float]:
    """The final weights of a run without a kill, and the seconds that it took."""
    out = folder / f"untouched-{where.rpartition(' ')[2]}"
    settings, started = settings_of(folder, where, out), time.monotonic()
    process = start(out, settings)
    process.join()
    if process.exitcode:
        raise SystemExit(f"the run without a kill failed: {said(out)}")
    return final_weights(out), time.monotonic() - started


def settings_of(folder: Path, where: str, out: Path) -> Path:
    """The settings file of a run whose features have a folder of their own."""
    path = out.with_suffix(".toml")
    TrainSettings(
        data=(f"folder:{folder / 'set'}",),
        encoder="analytic",
        image_size=(64,),
        blocks=(1, 1, 1),
        epochs=3,
        batch_size=4,
        device="cpu",
        checkpoint_every=0.0,
        keep="best",
        feature_memory=WHERE[where],
        feature_disk=1.0,
        cache_dir=str(out.with_suffix(".features")),
    ).save(path)
    return path


def start(out: Path, settings: Path) -> BaseProcess:
    """Begin a run, or go on with it if it has begun, in a process of its own."""
    begun = Run(out).settings_file.is_file()
    args = ["train", "--resume", str(out)] if begun else ["train", "--config", str(settings), "--out", str(out)]
    process: BaseProcess = CONTEXT.Process(target=command_line, args=([*args, "--quiet"], spoken(out)))
    process.start()
    return process


def command_line(args: list[str], output: Path) -> None:
    """The command `invad`, whose output goes to a file."""
    with output.open("w") as file, redirect_stdout(file), redirect_stderr(file):
        code = run(args)
    sys.exit(code)


def spoken(out: Path) -> Path:
    """The file of what a run's last start said."""
    return out.with_suffix(".txt")


def said(out: Path) -> str:
    """What a run's last start said."""
    return spoken(out).read_text() if spoken(out).is_file() else ""


def kill_until_done(
    out: Path, settings: Path, seconds: float, kills: int, chance: random.Random, outcome: Outcome
) -> list[bytes] | None:
    """Kill a run and resume it until it ends, by itself once there were kills enough; return its final weights."""
    for _ in range(LIMIT):
        left = set(parts(out))
        process = start(out, settings)
        if outcome.kills < kills:
            wait_for_the_moment(process, out, chance.choice(AIMS), chance.uniform(0, seconds))
            process.kill()  # SIGKILL; on Windows TerminateProcess
        process.join()
        outcome.damaged += said(out).count("is damaged")
        if process.exitcode == 0:
            return final_weights(out)
        if process.exitcode in (1, 2):  # an error, foreseen or not
            outcome.lost.append(said(out))
            return None
        outcome.phases[phase(out, left)] += 1
    outcome.lost.append(f"no end after {LIMIT} starts")
    return None


def wait_for_the_moment(process: BaseProcess, out: Path, aim: str, delay: float) -> None:
    """Wait for a moment to kill; less long where the run ends before."""
    deadline = time.monotonic() + delay
    while process.is_alive():
        there = {
            "any moment": time.monotonic() >= deadline,
            "writing": time.monotonic() >= deadline and any(parts(out)),
            "finishing": aim == "finishing" and finished(out),
        }
        if there[aim]:
            return
        time.sleep(0.0005)


def phase(out: Path, before: set[Path]) -> str:
    """What a killed run was doing, by what it left; `before` are the files that earlier kills left half written."""
    folder = Run(out)
    if not folder.settings_file.is_file():
        return "setup"
    if finished(out):
        return "finishing"
    if set(parts(out)) - before:
        return "writing a file"
    return "training" if list_checkpoints(folder.checkpoints) else "encoding"


def parts(out: Path) -> Iterator[Path]:
    """Files of a run that are being written, or that a kill left half written."""
    yield from out.glob("**/.*.part")


def finished(out: Path) -> bool:
    """Whether the last step is done and the rest is being made."""
    log = Run(out).log_file
    return log.is_file() and '"event": "finished"' in log.read_text(encoding="utf-8")


def final_weights(out: Path) -> list[bytes]:
    """The bytes of the last checkpoint and of the best one."""
    folder = Run(out)
    return [list_checkpoints(folder.checkpoints)[0].read_bytes(), folder.best_file.read_bytes()]


def show(outcome: Outcome) -> None:
    """Print a small table."""
    found = environment()
    print(f"{platform.machine()}, {os.cpu_count()} cores, {found['threads']} threads, torch {found['torch']}\n")
    print("| killed while | times |\n|---|---:|")
    for name in PHASES:
        print(f"| {name} | {outcome.phases[name]} |")
    print(f"| **all** | **{outcome.kills}** |\n")
    runs = outcome.identical + outcome.other + len(outcome.lost)
    print(
        f"{outcome.identical} of {runs} runs ended in the bits of one that nobody touched; "
        f"{outcome.damaged} damaged checkpoints; {len(outcome.lost)} runs lost"
    )
    for text in outcome.lost:
        print(f"lost: {text}")


if __name__ == "__main__":
    main()
