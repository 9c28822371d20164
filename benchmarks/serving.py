"""Load on `invad serve` by good, broken, huge, slow and cut-off requests, with a kill and restarts in between.

    python benchmarks/serving.py [--minutes 10 | --requests 20000] [--clients 16] [--model MODEL] [--seed 0]

Clients on this machine ask as they like while the model is reloaded every few seconds. At a third of the way the server
is killed (SIGKILL) and started anew, at two thirds it is stopped (SIGTERM) and started anew. The exit status is 1 if

- a request got no answer, or another than its kind deserves, but for those that the kill hit;
- the server that was stopped had taken in a request that it did not answer;
- a mark that was answered is not there at the end, with its image;
- memory grew after the first minute of a server's life (in short runs: after a quarter of it).

Without --model a small one is trained on synthetic images, which says how the server does, not the model. Prints the
tables of docs/serving.md.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

import invad
from invad.data import make_synthetic
from invad.runs import environment
from serving_clients import BODY, IDLE, SLOW, Client, Pictures, Tally, ask, bomb, picture

RELOADS = 7.0
"""Seconds between two reloads."""
GROWTH = 1.05
"""How much more memory may be used at the end of a life than after its first minute: what a heap breathes."""


@dataclass(kw_only=True, slots=True)
class Life:
    """Memory of one server process, sampled every half second, in MiB."""

    started: float
    samples: list[tuple[float, float]] = field(default_factory=list)

    def growth(self) -> tuple[float, float, float]:
        """Return the median after the first minute, at the end, and their ratio."""
        ended = self.samples[-1][0]
        first = min(60.0, ended / 4)
        early = statistics.median(size for at, size in self.samples if first <= at <= first + max(10.0, ended / 8))
        late = statistics.median(size for at, size in self.samples if at >= ended - max(10.0, ended / 8))
        return early, late, late / early


class World:
    """The server, and whether clients may ask it now."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.model, self.marks, self.tally = model, folder / "marks", Tally()
        self.open, self.done = threading.Event(), threading.Event()
        self.port, self.generation, self.ending = 0, 0, ""
        self.lives: list[Life] = []
        self.said: list[str] = []
        self.process: subprocess.Popen[str]
        self.start()

    def start(self) -> None:
        """Start a server, and let clients in."""
        command = [
            sys.executable, "-m", "invad", "serve", self.model, "--port", "0", "--marks", self.marks,
            "--body-bytes", BODY, "--receiving-bytes", 64 * BODY, "--idle-seconds", IDLE, "--body-seconds", SLOW,
            "--queue", 64, "--connections", 200, "--recent-bytes", 64 << 20,
        ]  # fmt: skip
        self.process = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            found = re.search(r"on http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found[1])
                break
        else:
            raise SystemExit("".join(self.said))
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()
        self.lives.append(Life(started=time.monotonic()))
        self.generation += 1
        self.ending = ""
        self.open.set()

    def end(self, how: str) -> None:
        """Kill or stop the server while clients ask it."""
        self.ending = how
        self.open.clear()
        self.process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGTERM)
        status = self.process.wait()
        if how == "stop":
            time.sleep(0.2)  # for its last line
            counted = re.search(r"stopped: (\d+) requests taken in, (\d+) answered", "".join(self.said[-3:]))
            if status or counted is None or counted[1] != counted[2]:
                self.tally.faults.append(f"stopped with status {status}: {self.said[-3:]}")

    def sample(self) -> None:
        """Note the memory of the server that is up."""
        with suppress(psutil.Error):
            size = psutil.Process(self.process.pid).memory_info().rss / 2**20
            self.lives[-1].samples.append((time.monotonic() - self.lives[-1].started, size))

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.said.append(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--requests", type=int)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or small_model(Path(folder))
        world = World(model, Path(folder))
        try:
            load(world, options)
            marks = [*missing_marks(world), *grown(world)]
            world.end("stop")
        finally:
            world.process.kill()
    report(world, options)
    faults = [*world.tally.faults, *marks]
    for fault in faults[:20]:
        print(f"FAULT {fault}")
    print(f"{len(faults)} faults")
    sys.exit(1 if faults else 0)


def load(world: World, options: argparse.Namespace) -> None:
    """Have all clients ask until it is enough, with a kill and a stop on the way."""
    began = time.monotonic()
    minutes = options.minutes if options.minutes or options.requests else 10.0

    def share() -> float:
        """How much of the way is gone."""
        return world.tally.asked / options.requests if minutes is None else (time.monotonic() - began) / (60 * minutes)

    pictures = Pictures(good=[picture(i) for i in range(16)], bomb=bomb())
    clients = [Client(world, pictures, options.seed * 1000 + i) for i in range(options.clients)]
    threads = [threading.Thread(target=one.run, args=(lambda: share() >= 1,)) for one in clients]
    for thread in threads:
        thread.start()
    ends, reloaded = {1 / 3: "kill", 2 / 3: "stop"}, time.monotonic()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.5)
        world.sample()
        for at in [at for at in ends if share() >= at]:
            world.end(ends.pop(at))
            world.start()
        if time.monotonic() - reloaded > RELOADS:
            reloaded = time.monotonic()
            world.tally.note("a reload", ask(world, "POST", "/reload")[0], time.monotonic() - reloaded, (200,))


def missing_marks(world: World) -> list[str]:
    """What is wrong with the marks that were answered."""
    kept = {mark["id"]: mark["mark"] for mark in json.loads(ask(world, "GET", "/marks")[1])["marks"]}
    faults = [
        f"the mark {id} is {kept.get(id)}, not {mark}" for id, mark in world.tally.marks.items() if kept.get(id) != mark
    ]
    for id in world.tally.marks:
        status, content = ask(world, "GET", f"/marks/{id}/image")
        if status != 200 or hashlib.sha256(content).hexdigest() != id:
            faults.append(f"the image of the mark {id} is not there")
    return faults


def grown(world: World) -> list[str]:
    """Lives of the server in which memory grew."""
    found = [life.growth() for life in world.lives if len(life.samples) > 20]
    return [f"memory grew from {early:.0f} to {late:.0f} MiB" for early, late, ratio in found if ratio > GROWTH]


def report(world: World, options: argparse.Namespace) -> None:
    """Print what was seen as Markdown."""
    found, tally = environment(), world.tally
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    where = f"{platform.machine()}, {os.cpu_count()} cores; Python {found['python']}, torch {found['torch']}"
    how = f"{tally.asked:,} requests by {options.clients} clients; {options.model or 'a small model'}"
    print(f"{where}; commit {commit.stdout.strip()}; {how}\n")
    print("| request | answers | p50 ms | p90 ms | p99 ms | largest |\n|---|---|---:|---:|---:|---:|")
    for kind, seconds in sorted(tally.seconds.items()):
        counts = ", ".join(f"{n:,} x {s}" for (name, s), n in sorted(tally.answers.items()) if name == kind)
        shown = " | ".join(f"{1e3 * float(np.percentile(seconds, p)):.0f}" for p in (50, 90, 99, 100))
        print(f"| {kind} | {counts} | {shown} |")
    lives = [life.growth() for life in world.lives if len(life.samples) > 20]
    print("\n| life of the server | memory after the first minute, MiB | at its end | ratio |\n|---|---:|---:|---:|")
    for number, (early, late, ratio) in enumerate(lives, 1):
        print(f"| {number} | {early:.0f} | {late:.0f} | {ratio:.3f} |")
    cut = tally.interrupted
    print(f"\nhit by the kill: {cut['kill']}; refused around the stop: {cut['stop']}; marks: {len(tally.marks):,}")


def small_model(folder: Path) -> Path:
    """A run that trains in seconds, calibrated."""
    make_synthetic(folder / "set", train=8, good=12, defective=1, size=96)
    settings = invad.TrainSettings(
        data=(f"folder:{folder / 'set'}",), encoder="analytic", image_size=(64,), blocks=(1, 1, 1), epochs=2
    )
    run = invad.train(settings, folder / "run", quiet=True)
    invad.calibrate(run, normal=[f"{folder}/set/*/test/good/*.png"], false_alarms=0.1, overwrite=True, quiet=True)
    return run.path


if __name__ == "__main__":
    main()
