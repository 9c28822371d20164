"""Time one image, after a pause and in a stream, and eight at once, from decoded pixels to blurred map and score.

    python benchmarks/inference.py                        # times: both published models, random weights
    python benchmarks/inference.py --run runs/bottle      # accuracy: every format and precision on a run's test images

The eager original is the literal formulation in `literal.py`; all forms of the model hold the same weights. In a round
every form has its turn, so that what else the machine does falls on all alike; the figure is the median of the rounds,
and the ratio is that of the medians. In a turn a form scores one image after a pause, in which its weights left the
caches, and then some more, each as soon as the one before is done: a stream, as MLPerf's SingleStream. A photo has
900 x 900 pixels; resizing it is part of every time.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

import invad
from invad.colours import ColourScale
from invad.data import ImageSource, open_datasets
from invad.data.resizing import resize_image
from invad.devices import to_device
from invad.inference.folding import fold, lower_precision
from invad.inference.graph import ImageGraph
from invad.inference.manifest import Manifest
from invad.inference.onnx_file import OnnxScorer, onnx_bytes, to_onnx
from invad.inference.openvino_file import OpenVinoScorer, openvino_bytes, to_openvino
from invad.inference.quantising import quantise
from invad.inference.scorer import Scorer, folded_scorer, plain_scorer
from invad.metrics import auroc_image, auroc_pixel
from invad.model import InvAD, build_model
from invad.runs import environment, load_model
from literal import LiteralInvAD, literal_map

SIZE = (256, 256)
PHOTO = 900
TOGETHER = 8
"""Images of a batch."""
STREAM = 5
"""Images one after another, behind the first one of a turn."""
MODELS = {"InvAD-lite": ("resnet34", (4, 4, 4)), "InvAD": ("wide_resnet50_2", (2, 2, 2))}
FORMS = ("torch", "torch folded", "onnxruntime", "openvino fp32", "openvino bf16", "openvino int8")


def main() -> None:
    options = parse()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(f"commit {commit.stdout.strip() or 'unknown'}; {os.cpu_count()} cores, {platform.machine()}")
    print(json.dumps(environment()))
    if options.run:
        accuracy(options.run, options.forms)
        return
    for name in options.models:
        times(name, options.rounds, options.forms, options.cache)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--run", type=Path, help="measure accuracy on the test images of this run instead")
    parser.add_argument("--cache", type=Path, help="keep exported files here, and time those that are there")
    return parser.parse_args()


def photos(count: int) -> list[NDArray[np.uint8]]:
    """Photos made on the spot, (900, 900, 3)."""
    rng = np.random.default_rng(0)
    coarse = [Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)) for _ in range(count)]
    return [np.asarray(image.resize((PHOTO, PHOTO), Image.Resampling.BICUBIC)) for image in coarse]


def literal_scorer(model: InvAD) -> Callable[[NDArray[np.uint8]], object]:
    literal = LiteralInvAD(model).eval()

    def score(images: NDArray[np.uint8]) -> object:
        with torch.no_grad():
            features, predictions = literal(to_device(images, torch.device("cpu")))
            maps = literal_map(features, predictions, SIZE)
        return maps, maps.max(axis=(1, 2))

    return score


def scorers(
    model: InvAD, size: tuple[int, int], normal: list[NDArray[np.uint8]], forms: list[str], cache: Path
) -> dict[str, Scorer]:
    """Every form of a model that was asked for; exported files are kept in the folder."""
    found: dict[str, Scorer] = {}
    if "torch" in forms:
        found["torch"] = plain_scorer(model, size)
    if "torch folded" in forms:
        found["torch folded"] = folded_scorer(model, size)
    cache.mkdir(parents=True, exist_ok=True)

    def exported(precision: str) -> object:
        folded = fold(model, size)
        lower_precision(folded, precision)
        return to_onnx(ImageGraph(folded, size))

    for form in forms:
        runtime, _, precision = form.partition(" ")
        manifest = Manifest(size=size, precision=precision or "fp32", scale=ColourScale(0.0, 1.0), model="")
        stem = cache / form.replace(" ", "-")
        if runtime == "onnxruntime":
            if not stem.with_suffix(".onnx").exists():
                stem.with_suffix(".onnx").write_bytes(onnx_bytes(exported("fp32"), manifest))
            found[form] = OnnxScorer(stem.with_suffix(".onnx").read_bytes(), form)
        if runtime == "openvino":
            if not stem.with_suffix(".xml").exists():
                graph = to_openvino(exported(precision))
                xml, weights = openvino_bytes(quantise(graph, normal) if precision == "int8" else graph, manifest)
                stem.with_suffix(".bin").write_bytes(weights)
                stem.with_suffix(".xml").write_bytes(xml)
            weights = stem.with_suffix(".bin").read_bytes()
            found[form] = OpenVinoScorer(stem.with_suffix(".xml").read_bytes(), weights, form)
    return found


def times(name: str, rounds: int, forms: list[str], cache: Path | None) -> None:
    """The table of one model."""
    encoder, blocks = MODELS[name]
    torch.manual_seed(0)
    model = build_model(encoder, weights="random", blocks=blocks, image_size=SIZE)
    images = photos(4)
    with tempfile.TemporaryDirectory() as folder:
        normal = [resize_image(image, SIZE) for image in images]
        found = {"eager original": literal_scorer(model)}
        found |= scorers(model, SIZE, normal, forms, (cache or Path(folder)) / name)
        paused: dict[str, list[float]] = {form: [] for form in found}
        stream: dict[str, list[float]] = {form: [] for form in found}
        together: dict[str, list[float]] = {form: [] for form in found}
        for turn in range(rounds + 2):
            for form, scorer in found.items():
                time.sleep(0.2)  # threads of the form before spin a while, waiting for more
                paused[form].append(timed(scorer, images[turn % len(images) :][:1]))
                others = [images[(turn + 1 + i) % len(images) :][:1] for i in range(STREAM)]
                stream[form].append(statistics.median(timed(scorer, image) for image in others))
        for _ in range(4):
            for form, scorer in found.items():
                time.sleep(0.2)
                together[form].append(timed(scorer, images * (TOGETHER // len(images))) / TOGETHER)
    print(f"\n## {name} ({encoder}), {rounds} rounds, {TOGETHER} at once in 3: milliseconds an image\n")
    columns = {
        "after a pause": {form: statistics.median(values[2:]) for form, values in paused.items()},
        "in a stream": {form: statistics.median(values[2:]) for form, values in stream.items()},
        f"{TOGETHER} at once": {form: statistics.median(values[1:]) for form, values in together.items()},
    }
    print("| form |" + "".join(f" {column} | times the original |" for column in columns))
    print("|---|" + "---:|---:|" * len(columns))
    for form in found:
        cells = (f" {1e3 * took[form]:.1f} | {took['eager original'] / took[form]:.2f} |" for took in columns.values())
        print(f"| {form} |" + "".join(cells), flush=True)
    print_limit(model)


def timed(scorer: Callable[[NDArray[np.uint8]], object], images: list[NDArray[np.uint8]]) -> float:
    """Seconds from photos to maps and scores."""
    return seconds(lambda: scorer(np.stack([resize_image(image, SIZE) for image in images])))


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def print_limit(model: InvAD) -> None:
    """The least that the machine needs for an image's multiplications, by a large matrix product."""
    with FlopCounterMode(display=False) as counter:
        fold(model, SIZE)(torch.zeros(1, 3, *SIZE, dtype=torch.uint8))
    work, n = counter.get_total_flops(), 4096
    print(f"\nAn image takes {work / 1e9:.1f} GFLOP. By a matrix product of {n} x {n} that is at least")
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.randn(2, n, n).to(dtype)
        rate = 2 * n**3 / min(seconds(partial(torch.mm, a, b)) for _ in range(5))
        print(
            f"{1e3 * work / rate:.0f} ms in {str(dtype).removeprefix('torch.')}, at {rate / 1e9:.0f} GFLOP/s",
            flush=True,
        )


def accuracy(folder: Path, forms: list[str]) -> None:
    """Image and pixel AUROC of a run's test images in every form."""
    run = invad.Run.open(folder)
    settings, model = run.settings(), load_model(run)
    data = open_datasets(settings.data, settings.classes)
    test = ImageSource(data.split("test"), settings.size, cache="none")
    train = ImageSource(data.split("train"), settings.size, cache="none")
    normal = [train.image(i) for i in range(0, len(train), max(1, len(train) // 150))]
    masks = np.stack([test.mask(i) for i in range(len(test))])
    labels = [record.anomalous for record in test.records]
    print(f"\n## {folder.name}: {len(test)} test images\n\n| form | image AUROC | pixel AUROC |\n|---|---:|---:|")
    with tempfile.TemporaryDirectory() as files:
        for form, scorer in scorers(model, settings.size, normal, forms, Path(files)).items():
            pairs = [scorer(test.image(i)[None]) for i in range(len(test))]
            maps, scores = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
            print(
                f"| {form} | {100 * auroc_image(scores, labels):.2f} | {100 * auroc_pixel(maps, masks):.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
