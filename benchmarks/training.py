"""The time of a training step beside the literal formulation, and where it goes: the tables of docs/training-speed.md.

    python benchmarks/training.py                        both models; batches of 8 and 4 on a CPU, of 32 on a GPU
    python benchmarks/training.py --models invad-lite --batch 16 --steps 9
    python benchmarks/training.py --profile              where each millisecond goes, before and after
    python benchmarks/training.py --compile              rows with torch.compile, and what it costs at first
    python benchmarks/training.py --device cuda --batches 32 64 128 256     images/s by batch

A step is forward, loss, backward, clipping and Adam, on random images of 256 x 256 with random weights, which cost as
much as any. The rows take turns, step by step, so that a busy machine slows all of them alike; times are medians.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from invad.devices import choose_device, exact_arithmetic, fastest_precision, processor_flags
from invad.model import InvAD, build_model, inversion_loss, winograd
from invad.presets import GRADIENT_CLIP, MODELS, learning_rate
from invad.processes import Processes
from invad.settings import Precision, TrainSettings
from invad.training.features import DTYPES
from invad.training.gpu_steps import WARM_UP, RecordedSteps, make_forward
from invad.training.optimisation import BETAS, make_optimiser
from invad.training.parallel import make_trainee
from invad.training.step import Step, train_step
from literal import LiteralInvAD

SIZE = 256
CPU_BATCH = {"invad-lite": 8, "invad": 4}
GPU_BATCH = 32
KINDS = {
    "convolutions": ("conv",),
    "matrix products": ("mm",),
    "casts and copies": ("copy_", "_to_copy", "contiguous", "clone", "fill_", "zero_", "cat"),
    "norms": ("norm",),
    "optimiser": ("adam", "addcdiv", "sqrt", "_foreach"),
    "other element by element": ("mul", "add", "div", "sub", "relu", "sum", "mse", "lerp"),
}
"""What the operators' names hold, in the order in which they are looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One way to train."""

    name: str
    precision: Precision = "fp32"
    literal: bool = False
    encode: bool = False
    """Whether the encoder runs in every step."""
    compiled: bool = False
    recorded: bool = False
    tf32: bool = False
    plain: bool = False
    """Whether large convolutions are computed as any others (see `invad.model.winograd`)."""


def main() -> None:
    options = parse()
    device = choose_device(options.device)
    if options.compile and device.type != "cuda":
        raise SystemExit("--compile is for an NVIDIA GPU, where long runs are compiled")
    say_where(device)
    for model in options.models:
        default = [GPU_BATCH if device.type == "cuda" else CPU_BATCH[model]]
        for batch in options.batches or default:
            rows = choose_rows(device, compiled=options.compile)
            if options.profile:
                print_profile(model, batch, [rows[0], rows[-1]], device)
            else:
                print_table(model, batch, rows, device, options.steps)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["invad-lite", "invad"])
    parser.add_argument("--batches", type=int, nargs="+", help="images per step; several give a table each")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each row, after one that is not")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--profile", action="store_true")
    return parser.parse_args()


def choose_rows(device: torch.device, *, compiled: bool) -> list[Row]:
    """The rows that this device can run; the last is what the command line picks for people's own photos."""
    fastest = fastest_precision(device)
    rows = [
        Row(name="literal formulation", literal=True, encode=True),
        Row(name="fp32, encoder in every step", encode=True),
        Row(name="fp32, features computed once"),
    ]
    if device.type == "cuda":
        rows.append(Row(name="tf32, features computed once", tf32=True))
    if device.type == "cpu":
        rows.append(Row(name=f"{fastest}, features computed once, plain convolutions", precision=fastest, plain=True))
    if device.type != "cuda":
        return [*rows, Row(name=f"{fastest}, features computed once (the default)", precision=fastest)]
    rows += [
        Row(name="fp32, recorded", recorded=True),
        Row(name=f"{fastest}, features computed once", precision=fastest),
        Row(name=f"{fastest}, recorded (the default)", precision=fastest, recorded=True),
    ]
    if compiled:
        name = f"{fastest}, recorded and compiled (the default of long runs)"
        rows.append(Row(name=name, precision=fastest, recorded=True, compiled=True))
    return rows


def make_step(row: Row, name: str, batch: int, device: torch.device) -> Callable[[], dict[str, float]]:
    """A function that takes a step and says how long its parts took, in seconds."""
    torch.manual_seed(0)
    preset = MODELS[name]
    model = build_model(preset.encoder, weights="random", image_size=(SIZE, SIZE), blocks=preset.blocks).to(device)
    images = torch.randint(0, 256, (batch, SIZE, SIZE, 3), dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
    if row.literal:
        return literal_step(LiteralInvAD(model).to(device).train(), images.contiguous(), preset.loss_weight)
    model.train()
    optimiser = make_optimiser(model.trained_parameters(), learning_rate(batch))
    trainee, recorded = make_trainee(model, Processes(device=device)), RecordedSteps()
    settings = TrainSettings(compile=row.compiled)
    forward = make_forward(settings, Processes(device=device), print)
    stored = encode(model, images, row.precision)

    def take(features: Sequence[Tensor]) -> Step:
        return train_step(
            trainee,
            optimiser,
            features,
            loss_weight=preset.loss_weight,
            clip=GRADIENT_CLIP,
            precision=row.precision,
            forward=forward,
        )

    def step() -> dict[str, float]:
        started = now(device)
        features = encode(model, images, row.precision) if row.encode else stored
        encoded = now(device)
        if row.recorded:
            recorded(take, features)
        else:
            take(features)
        return {"encoder": encoded - started, "rest": now(device) - encoded}

    return step


def encode(model: InvAD, images: Tensor, precision: Precision) -> list[Tensor]:
    return [level.to(DTYPES[precision], memory_format=torch.channels_last) for level in model.encode(images)]


def literal_step(model: LiteralInvAD, images: Tensor, loss_weight: float) -> Callable[[], dict[str, float]]:
    """A step as the published description reads: all of the model in every step, Adam parameter by parameter."""
    parameters = model.trained_parameters()
    optimiser = torch.optim.Adam(parameters, lr=learning_rate(len(images)), betas=BETAS, foreach=False)
    device = images.device

    def step() -> dict[str, float]:
        started = now(device)
        with torch.no_grad():
            features = model.encoder(images)
        encoded = now(device)
        loss = inversion_loss(features, model.predict(features), loss_weight)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, GRADIENT_CLIP)
        optimiser.step()
        return {"encoder": encoded - started, "rest": now(device) - encoded}

    return step


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def print_table(name: str, batch: int, rows: list[Row], device: torch.device, count: int) -> None:
    """Time all rows in turns, and print them beside the first."""
    steps = {row.name: settled(row, make_step(row, name, batch, device)) for row in rows}
    times: dict[str, list[dict[str, float]]] = {row.name: [] for row in rows}
    first = {row.name: sum(steps[row.name]().values()) for row in rows}
    for row in rows:
        for _ in range(WARM_UP if row.recorded else 0):
            steps[row.name]()
    for _ in range(count):
        for row in rows:
            times[row.name].append(steps[row.name]())
    medians = {row: statistics.median(sum(parts.values()) for parts in found) for row, found in times.items()}
    slowest = medians[rows[0].name]
    print(f"\n## {name}, batch of {batch}, median of {count} steps\n")
    print("| | step, s | encoder, s | images/s | times the literal formulation | first step, s |")
    print("|---|---:|---:|---:|---:|---:|")
    for row in rows:
        encoder = statistics.median(parts["encoder"] for parts in times[row.name])
        took = medians[row.name]
        shown = f"{took:.3f} | {encoder:.3f} | {batch / took:.1f} | {slowest / took:.2f} | {first[row.name]:.2f}"
        print(f"| {row.name} | {shown} |", flush=True)
    plain = next(row for row in reversed(rows) if not row.recorded)  # a recorded one's work is not seen
    print_limit(name, batch, plain, medians[rows[-1].name], device)


def settled(row: Row, step: Callable[[], dict[str, float]]) -> Callable[[], dict[str, float]]:
    """The step under the row's arithmetic."""

    def take() -> dict[str, float]:
        if row.tf32:
            with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=True):
                return step()
        with exact_arithmetic(), plain_convolutions(row.plain):
            return step()

    return take


@contextmanager
def plain_convolutions(wanted: bool) -> Iterator[None]:
    """A context in which no convolution is large enough for Winograd's tiles, if that is wanted."""
    least = winograd.LEAST_WORK
    try:
        winograd.LEAST_WORK = sys.maxsize if wanted else least
        yield
    finally:
        winograd.LEAST_WORK = least


def print_limit(name: str, batch: int, row: Row, took: float, device: torch.device) -> None:
    """How far a step is from the fastest that this machine multiplies matrices."""
    step = make_step(row, name, batch, device)
    with FlopCounterMode(display=False) as counter:
        step()
    work = counter.get_total_flops()
    n = 8192 if device.type == "cuda" else 4096
    a, b = (torch.randn(n, n, device=device, dtype=DTYPES[row.precision]) for _ in range(2))
    torch.mm(a, b)
    best = min(timed(partial(torch.mm, a, b), device) for _ in range(5))
    rate, limit = 2 * n**3 / best, work / (2 * n**3 / best)
    print(
        f"\nA step multiplies and adds {work / 1e9:.0f} GFLOP. A {row.precision} matrix product of {n} x {n} runs at "
        f"{rate / 1e9:.0f} GFLOP/s, so the limit is {limit:.3f} s: the step takes {took / limit:.2f} times that."
    )


def timed(work: Callable[[], object], device: torch.device) -> float:
    started = now(device)
    work()
    return now(device) - started


def print_profile(name: str, batch: int, rows: list[Row], device: torch.device) -> None:
    """Where the time of a step goes, by kind of operator."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    shares: dict[str, dict[str, float]] = {}
    for row in rows:
        step = settled(row, make_step(row, name, batch, device))
        step()
        with profile(activities=activities) as found:
            for _ in range(3):
                step()
        shares[row.name] = dict.fromkeys((*KINDS, "all else"), 0.0)
        for event in found.key_averages():
            own = event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
            shares[row.name][kind_of(event.key)] += own / 3000
    print(f"\n## {name}, batch of {batch}: milliseconds of a step\n")
    print("| | " + " | ".join(shares) + " |\n|---|" + "---:|" * len(shares))
    for kind in (*KINDS, "all else"):
        print(f"| {kind} | " + " | ".join(f"{found[kind]:.0f}" for found in shares.values()) + " |")
    print("| all | " + " | ".join(f"{sum(found.values()):.0f}" for found in shares.values()) + " |", flush=True)


def kind_of(operator: str) -> str:
    lower = operator.lower()
    return next((kind for kind, words in KINDS.items() if any(word in lower for word in words)), "all else")


def say_where(device: torch.device) -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    bf16 = ", ".join(flag for flag in processor_flags() if "bf16" in flag or "amx" in flag) or "no bf16 instructions"
    load = f"; load over 1 minute: {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(
        f"commit {commit.stdout.strip() or 'unknown'}; {where}; {os.cpu_count()} cores, {bf16}; "
        f"{torch.get_num_threads()} threads; Python {platform.python_version()}, torch {torch.__version__}{load}"
    )


if __name__ == "__main__":
    main()
