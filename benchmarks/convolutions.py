"""Time the 3 x 3 convolutions of the published models: PyTorch's own, and those that runs are scored with.

    python benchmarks/convolutions.py

One image and eight, float32, PyTorch's threads. In each round both are timed once; the figures are medians.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from invad.inference.winograd import WinogradConv

LAYERS = [(64, 64), (128, 32), (256, 16), (256, 64), (512, 32), (1024, 16)]
"""Channels in and out, and height and width: the levels of InvAD-lite, then those of InvAD, at 256 x 256 pixels."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}\n")
    print("| channels | size | images | PyTorch | ours | times |\n|---:|---:|---:|---:|---:|---:|")
    for batch in (1, 8):
        for channels, size in LAYERS:
            theirs, ours = measure(batch, channels, size, rounds)
            print(
                f"| {channels} | {size} | {batch} | {1e3 * theirs:.2f} | {1e3 * ours:.2f} | {theirs / ours:.2f} |",
                flush=True,
            )


def measure(batch: int, channels: int, size: int, rounds: int) -> tuple[float, float]:
    """Median seconds of PyTorch's convolution and of ours."""
    torch.manual_seed(0)
    plain = nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=torch.channels_last)
    ours = WinogradConv(plain)
    x = torch.randn(batch, channels, size, size).to(memory_format=torch.channels_last)
    taken: dict[nn.Module, list[float]] = {plain: [], ours: []}
    with torch.inference_mode():
        for _ in range(rounds + 2):
            for layer, times in taken.items():
                layer(x)  # so that neither finds the other's data in the cache
                times.append(seconds(layer, x))
    return statistics.median(taken[plain][2:]), statistics.median(taken[ours][2:])


def seconds(layer: Callable[[Tensor], Tensor], x: Tensor) -> float:
    started = time.perf_counter()
    layer(x)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
