"""Time, memory and answers of `invad.metrics` beside scikit-learn, anomalib and adeval: docs/metrics-speed.md's tables.

    python benchmarks/metrics.py                            all that are installed, at 83 and 500 images
    python benchmarks/metrics.py --images 2000 --only invad
    python benchmarks/metrics.py --spool 20000              memory of an evaluator whose maps lie on disk
    python benchmarks/metrics.py --write docs/metrics-speed.md      puts each section in its place there

Each row is a process of its own, with one thread unless it says otherwise. Maps are 256 x 256 float32, half of the
images defective. Time is the median of the calls after a first one on a small set, so that imports and compilation are
not in it; after 90 seconds there is no further call. Memory is the peak above the inputs. "Times ours" is a ratio to
the first row, on the clock and of processor time: other programs that run meanwhile slow all rows down, those with more
threads the most. One thread and two are therefore also compared in one process, call by call in turn, and it says how
much of the processors other programs took meanwhile (on Linux).
"""

import argparse
import gc
import importlib.util
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
Answers = dict[str, float]
SEVEN = ("auroc_image", "ap_image", "f1max_image", "aupro", "auroc_pixel", "ap_pixel", "f1max_pixel")
ELEVEN = (*SEVEN, "f1_range", "acc_range", "iou_range", "iou_max")
NEEDS = {"invad": "invad", "invad-2": "invad", "scikit-learn": "sklearn", "anomalib": "anomalib", "adeval": "adeval"}


def main() -> None:
    options = parse()
    if options.one == "threads":
        print(json.dumps(measure_threads(options.images[0], options.repeats)))
    elif options.one:
        print(json.dumps(measure(options.one, options.images[0], options.repeats)))
    elif options.spool:
        publish("A set that does not fit into memory", growth(options.spool), options.write)
    else:
        for images in options.images:
            lines = table(images, options.only, options.repeats)
            if "invad-2" in options.only:
                lines += threads_line(images, options.repeats)
            publish(f"{images} images", lines, options.write)
        publish("First call", first_call(), options.write)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[83, 500])
    parser.add_argument("--only", nargs="+", choices=NEEDS, default=list(NEEDS))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--spool", type=int, help="measure memory with so many maps on disk, and nothing else")
    parser.add_argument("--write", type=Path, help="a Markdown file whose sections of these titles are replaced")
    parser.add_argument("--one", choices=[*NEEDS, "threads"], help=argparse.SUPPRESS)
    return parser.parse_args()


def make(images: int, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Smooth maps with skewed scores, masks of discs in every other image, labels."""
    generator = np.random.default_rng(seed)
    maps, masks = np.empty((images, 256, 256), np.float32), np.zeros((images, 256, 256), np.uint8)
    for index, (scores, mask) in enumerate(zip(maps, masks)):
        logits: NDArray[Any] = cv2.GaussianBlur(generator.standard_normal((256, 256), dtype=np.float32), (0, 0), 4)
        logits /= logits.std()
        if index % 2:
            while mask.mean() < 0.021:
                x, y, radius = (int(value) for value in generator.integers((0, 0, 4), (256, 256, 20)))
                cv2.circle(mask, (x, y), radius, 1, -1)
            logits += 2 * cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 4)
        scores[:] = 1 / (1 + np.exp(3 - logits))
    return maps, masks, np.asarray(masks.any((1, 2)))


def invad(maps: NDArray[Any], masks: NDArray[Any], labels: NDArray[Any], threads: int = 1) -> Answers:
    from invad.metrics import evaluate_class

    values = evaluate_class(maps, masks, labels, threads=threads).values
    return {key: value for key in ELEVEN if (value := values[key]) is not None}


def invad_2(maps: NDArray[Any], masks: NDArray[Any], labels: NDArray[Any]) -> Answers:
    return invad(maps, masks, labels, threads=2)


def scikit_learn(maps: NDArray[Any], masks: NDArray[Any], labels: NDArray[Any]) -> Answers:
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    answers = {}
    for level, truth, scores in (("image", labels, maps.max((1, 2))), ("pixel", masks.ravel(), maps.ravel())):
        precision, recall, _ = precision_recall_curve(truth, scores)
        answers[f"auroc_{level}"] = roc_auc_score(truth, scores)
        answers[f"ap_{level}"] = average_precision_score(truth, scores)
        answers[f"f1max_{level}"] = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300))
    return answers


def anomalib(maps: NDArray[Any], masks: NDArray[Any], labels: NDArray[Any]) -> Answers:
    from types import SimpleNamespace

    import torch
    from anomalib.metrics import AUPR, AUPRO, AUROC, F1Max

    fields = {"image": ["score", "label"], "pixel": ["map", "mask"]}
    kinds = {"auroc": AUROC, "ap": AUPR, "f1max": F1Max}
    metrics = {f"{name}_{level}": kind(fields=fields[level]) for level in fields for name, kind in kinds.items()}
    metrics["aupro"] = AUPRO(fields=fields["pixel"])
    for first in range(0, len(maps), 32):
        part = slice(first, first + 32)
        scores, mask = torch.from_numpy(maps[part]), torch.from_numpy(masks[part]).int()
        label = torch.from_numpy(labels[part]).int()
        batch = SimpleNamespace(score=scores.amax((1, 2)), label=label, map=scores, mask=mask)
        for metric in metrics.values():
            metric.update(batch)
    return {name: float(metric.compute()) for name, metric in metrics.items()}


def adeval(maps: NDArray[Any], masks: NDArray[Any], labels: NDArray[Any]) -> Answers:
    if not hasattr(np, "trapz"):
        np.trapz = np.trapezoid  # type: ignore[attr-defined]  # adeval 1.1 calls it; NumPy 2.4 has it no more
    import adeval

    image = adeval.auroc_and_aupr(maps.max((1, 2)), labels, nstrips=1000)
    pixel = adeval.auroc_aupr_aupro(list(maps), list(masks), nstrips=1000)
    names = ("auroc_image", "ap_image", "auroc_pixel", "ap_pixel", "aupro")
    return dict(zip(names, map(float, (*image, *pixel)), strict=True))


RIVALS: dict[str, Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], Answers]] = {
    "invad": invad,
    "invad-2": invad_2,
    "scikit-learn": scikit_learn,
    "anomalib": anomalib,
    "adeval": adeval,
}
TITLES = {
    "invad": "invad.metrics, one thread",
    "invad-2": "invad.metrics, two threads",
    "scikit-learn": "scikit-learn",
    "anomalib": "anomalib",
    "adeval": "adeval, 1000 strips (approximate)",
}


def measure(name: str, images: int, repeats: int) -> dict[str, Any]:
    """Time, processor time, memory above the inputs and answers of one rival; run in a process of its own."""
    compute = RIVALS[name]
    compute(*make(8, seed=1))
    data = make(images)
    gc.collect()
    before = reset_peak()
    seconds: list[float] = []
    cpu: list[float] = []
    while len(seconds) < repeats and sum(seconds) < 90:
        started, cpu_started = time.perf_counter(), time.process_time()
        answers = compute(*data)
        seconds.append(time.perf_counter() - started)
        cpu.append(time.process_time() - cpu_started)
    return {
        "seconds": statistics.median(seconds),
        "cpu": statistics.median(cpu),
        "repeats": len(seconds),
        "megabytes": peak() - before,
        "defects": float(data[1].mean()),
        "answers": {key: float(value) for key, value in answers.items()},
    }


def reset_peak() -> float:
    """Forget the peak of memory, where the system can (Linux); returns the memory now, in MB."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> float:
    """Most memory that this process has held, in MB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000
    except OSError:
        unit = 1e6 if sys.platform == "darwin" else 1e3
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def now() -> float:
    """Memory that this process holds, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


def table(images: int, names: list[str], repeats: int) -> list[str]:
    """A row per rival that is installed, with how far its answers are from ours at most."""
    found = {name: run(name, images, repeats) for name in names if importlib.util.find_spec(NEEDS[name])}
    first = next(iter(found.values()))
    lines = [
        f"{100 * first['defects']:.1f} % of the pixels are defects.",
        "",
        "| | metrics | calls | time, s | times ours | processor time, s | times ours | memory, MB | difference |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in found.items():
        ratios = row["seconds"] / first["seconds"], row["cpu"] / first["cpu"]
        shared = [key for key in row["answers"] if key in first["answers"]]
        difference = max(abs(row["answers"][key] - first["answers"][key]) for key in shared)
        lines.append(
            f"| {TITLES[name]} | {len(row['answers'])} | {row['repeats']} | {row['seconds']:.2f} | {ratios[0]:.1f} "
            f"| {row['cpu']:.2f} | {ratios[1]:.1f} | {row['megabytes']:.0f} | {difference:.1e} |"
        )
    return lines


def run(name: str, images: int, repeats: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", name, "--images", str(images), "--repeats", str(repeats)]
    done = subprocess.run(command, env={**os.environ, **ONE_THREAD}, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure_threads(images: int, calls: int) -> dict[str, Any]:
    """One thread and two, call by call in turn: medians, and the share of a processor that other programs took."""
    invad_2(*make(8, seed=1))
    data = make(images)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    started, busy_before, own_before = time.perf_counter(), busy(), time.process_time()
    for _ in range(calls):
        for threads in seconds:
            call_started = time.perf_counter()
            invad(*data, threads=threads)
            seconds[threads].append(time.perf_counter() - call_started)
    took, own = time.perf_counter() - started, time.process_time() - own_before
    busy_after = busy()
    others = None
    if busy_before is not None and busy_after is not None:
        others = max(0.0, (busy_after - busy_before - own) / took)
    return {"one": statistics.median(seconds[1]), "two": statistics.median(seconds[2]), "others": others}


def busy() -> float | None:
    """Seconds that all processors together have been busy, where the system says so (Linux)."""
    with suppress(OSError):
        ticks = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
    return None


def threads_line(images: int, calls: int) -> list[str]:
    found = run("threads", images, calls)
    others = "" if found["others"] is None else f"; other programs took {found['others']:.2f} of a processor"
    return [
        "",
        f"In one process, {calls} calls of each in turn: one thread {found['one']:.3f} s, two {found['two']:.3f} s,",
        f"**{found['one'] / found['two']:.2f} times as fast**{others}.",
    ]


FIRST = """
import time, numpy as np
from invad.metrics import evaluate_class
maps = np.random.default_rng(0).random((2, 64, 64), dtype=np.float32)
started = time.perf_counter()
evaluate_class(maps, maps > [[[1.0]], [[0.9]]], [False, True], threads=1)
print(time.perf_counter() - started)
"""


def first_call() -> list[str]:
    """What the first call costs on a new machine, and in each new process after that."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, **ONE_THREAD, "NUMBA_CACHE_DIR": cache}
        times = [
            float(
                subprocess.run([sys.executable, "-c", FIRST], env=environment, capture_output=True, check=True).stdout
            )
            for _ in range(4)
        ]
    return [
        f"On a new machine, where it compiles the kernels: {times[0]:.1f} s; in a later process, which reads them: "
        f"{statistics.median(times[1:]):.2f} s."
    ]


def growth(images: int) -> list[str]:
    """Memory of an evaluator whose maps lie on disk, as they come in, and while it computes."""
    from invad.metrics import Evaluator

    several = make(64)
    warm = Evaluator()
    warm.update(*several[:2], "warm", several[2])
    warm.compute()
    del warm
    evaluator, start = Evaluator(memory=0), reset_peak()
    lines = ["| images | memory above the start, MB |", "|---:|---:|"]
    for first in range(0, images, 64):
        maps = several[0] + np.float32(1e-6 * first)  # other scores for every batch
        evaluator.update(maps, several[1], f"class {30 * first // images:02d}", several[2])
        if (first // 64 + 1) % max(1, images // 64 // 5) == 0:
            lines.append(f"| {first + 64} | {now() - start:.0f} |")
    started, cpu_started = time.perf_counter(), time.process_time()
    mean = evaluator.compute().mean["aupro"]
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    return [
        *lines,
        "",
        f"Peak while computing: {peak() - start:.0f} MB above the start; {seconds:.0f} s on the clock,",
        f"{cpu:.0f} s of processor time; AU-PRO {mean:.4f}.",
    ]


def publish(title: str, lines: list[str], file: Path | None) -> None:
    """Print a section and, if there is a file, put it in the place of the one of that title there, or at the end."""
    section = "\n".join((f"## {title}", "", *where(), "", *lines)) + "\n"
    print(section, flush=True)
    if file:
        parts = re.split(r"^(?=## )", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        kept = [section + "\n" if part.startswith(f"## {title}\n") else part for part in parts]
        text = "".join(kept if kept != parts else [*parts, "\n", section])
        file.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


def where() -> list[str]:
    """Command, commit, versions, machine: what every number depends on."""
    from importlib.metadata import PackageNotFoundError, version

    def installed(name: str) -> str:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            return f"{name} not installed"

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    names = ("numpy", "numba", "scikit-learn", "torch", "anomalib", "adeval")
    return [
        f"`{' '.join(['python benchmarks/metrics.py', *sys.argv[1:]])}`",
        f"at commit {commit.stdout.strip() or 'unknown'}; {os.cpu_count()} cores, {platform.machine()};",
        f"Python {platform.python_version()}, {', '.join(map(installed, names))}.",
    ]


if __name__ == "__main__":
    main()
