"""Time scoring on an NVIDIA GPU, one image at a time and many at once, in every form of the model.

    python benchmarks/inference_gpu.py
    python benchmarks/inference_gpu.py --models InvAD-lite --batches 1 64

Images have the model's 256 x 256 pixels and lie in the host's memory, where maps and scores come back to. In each round
every form is timed once; the figure is the median of the rounds. The eager original is the literal formulation in
`literal.py`; all others hold the same weights (random ones, which cost as much as any).
"""

import argparse
import statistics
import subprocess
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inference import MODELS, SIZE
from invad.devices import exact_arithmetic, to_device
from invad.inference.cuda_graphs import CudaGraphs
from invad.inference.folding import Folded, fold, lower_precision
from invad.model import InvAD, build_model
from literal import LiteralInvAD, literal_map

GPU = torch.device("cuda")
FORMS = ("eager original", "folded", "folded, recorded", "bf16, recorded", "fp16, recorded")
Score = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def main() -> None:
    options = parse()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(f"commit {commit.stdout.strip() or 'unknown'}; {torch.cuda.get_device_name(GPU)}, torch {torch.__version__}")
    for name in options.models:
        encoder, blocks = MODELS[name]
        torch.manual_seed(0)
        model = build_model(encoder, weights="random", blocks=blocks, image_size=SIZE).to(GPU)
        print_table(name, {form: scorer(model, form) for form in FORMS}, options.batches, options.rounds)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32, 128])
    parser.add_argument("--rounds", type=int, default=12)
    return parser.parse_args()


def scorer(model: InvAD, form: str) -> Score:
    """Images (B, 256, 256, 3) in the host's memory -> maps there."""
    if form == "eager original":
        literal = LiteralInvAD(model).to(GPU).eval()

        def original(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            with torch.no_grad():
                features, predictions = literal(to_device(images, GPU))
                return literal_map(features, predictions, SIZE)

        return original
    folded: Folded = fold(model, SIZE)
    lower_precision(folded, form.partition(",")[0])
    layout = torch.channels_last if "16" in form else torch.contiguous_format
    folded = folded.to(memory_format=layout)
    module: nn.Module = CudaGraphs(folded) if "recorded" in form else folded

    def score(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode(), exact_arithmetic():
            maps: Tensor = module(to_device(images, GPU).contiguous(memory_format=layout))[0]
        found: NDArray[np.float32] = maps.cpu().numpy()
        return found

    return score


def print_table(name: str, scorers: dict[str, Score], batches: list[int], rounds: int) -> None:
    """The table of one model: milliseconds of a batch, images a second, times the original."""
    rng = np.random.default_rng(0)
    print(f"\n## {name}, median of {rounds} rounds: ms a batch, images/s, times the original\n")
    print(f"| form | {' | '.join(f'batch of {batch}' for batch in batches)} | off fp32, of the map's range |")
    print("|---|" + "---:|" * (len(batches) + 1))
    cells: dict[str, list[str]] = {form: [] for form in scorers}
    for batch in batches:
        images = rng.integers(0, 256, (batch, *SIZE, 3), dtype=np.uint8)
        times: dict[str, list[float]] = {form: [] for form in scorers}
        for turn in range(rounds + 3):
            for form, score in scorers.items():
                took = seconds(score, images)
                if turn >= 3:
                    times[form].append(took)
        medians = {form: statistics.median(found) for form, found in times.items()}
        for form, took in medians.items():
            cells[form].append(f"{1e3 * took:.2f}, {batch / took:.0f}, {medians['eager original'] / took:.1f}")
    exact = scorers["folded"](images)
    for form, score in scorers.items():
        off = np.abs(score(images) - exact).max() / np.ptp(exact)
        print(f"| {form} | {' | '.join(cells[form])} | {off:.1e} |", flush=True)


def seconds(score: Score, images: NDArray[np.uint8]) -> float:
    started = time.perf_counter()
    score(images)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
