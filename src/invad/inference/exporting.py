"""Export a run as one file that scores as the run does, and check that it does."""

import dataclasses
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from invad.errors import DataError, SettingsError
from invad.files import require_writable, write_bytes, written_at_once
from invad.inference.agreeing import Decisions, Recorded, compare_decisions
from invad.inference.calibrating import HELD_BACK, held_back_images
from invad.inference.calibration import Calibration, read_calibration, without_places
from invad.inference.checksum import model_checksum
from invad.inference.choosing import Wish, calibrate_scorer
from invad.inference.export_images import ExportImages, choose_images, synthetic_images
from invad.inference.folding import fold, lower_precision
from invad.inference.graph import ImageGraph
from invad.inference.manifest import Manifest
from invad.inference.opening import open_model
from invad.inference.openvino_file import OpenVinoScorer, openvino_bytes, to_openvino
from invad.inference.rewriting import with_decision
from invad.inference.scorer import Scorer, plain_scorer
from invad.inference.selfcheck import (
    COMPARED,
    Differences,
    Loss,
    Scoring,
    cases,
    compare,
    measure_loss,
    require_same,
    require_worth,
)
from invad.model import InvAD
from invad.runs import Run, environment, load_model
from invad.settings import TrainSettings

Target = Literal["onnx", "openvino", "pt2"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]

SUFFIX: dict[Target, str] = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2"}
POSSIBLE: dict[Target, tuple[Precision, ...]] = {
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16", "bf16", "int8"),
    "pt2": ("fp32", "fp16", "bf16"),
}
"""ONNX Runtime has no bf16 convolution on CPUs; PyTorch's exported programs no stable int8."""
MAX_DROP = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """What an export found out about itself."""

    path: Path
    images: str
    """How many images it was checked on, and which."""
    differences: Differences
    """From the run's own maps and scores."""
    loss: Loss | None
    """What a lower precision costs; None for fp32."""
    decisions: Decisions | None = None
    """How a lower precision decides at the run's thresholds; None for fp32, and where the run has none."""
    recalibrated: bool = False
    """Whether its thresholds come from its own scores of the images that the training held back, not from the run's."""


def export(
    run: Run | Path | str,
    out: Path | str,
    *,
    to: Target,
    precision: Precision = "fp32",
    normal: Sequence[Path | str] = (),
    max_drop: float = MAX_DROP,
    overwrite: bool = False,
) -> Export:
    """Write a run as one model file, whose graph takes uint8 images of any size and gives blurred maps and scores.

    Args:
        run: a run that is complete, or its folder.
        out: the file, which ends in .onnx, .xml (with a .bin beside it) or .pt2.
        to: what will run it.
        precision: of encoder, neck and decoder; the map is always float32.
        normal: normal images, for int8 and for the check: files, folders, patterns or manifests; none given: the
            training images.
        max_drop: the loss that a precision below fp32 may cost, in points of image AUROC on the run's test images, or
            of agreement with the run where it has none, 0 or more; infinity allows any. int8 agrees on other normal
            images than its ranges come from, where there are enough.
        overwrite: replace a file that is there.

    Returns:
        How far the file's maps and scores are from the run's.

    Raises:
        RunError: there is no such run, it is not complete, its calibration is damaged or of another model, or the file
            cannot be written.
        SettingsError: the options contradict each other, or `max_drop` is below 0 or no number.
        DataError: the normal images cannot be read, or int8 has none.
        MissingExtraError: the extra `export` is not installed.
        ModelFileError: the model cannot be exported, or the file does not score as the run does; none is written.
    """
    run, out = run if isinstance(run, Run) else Run.open(run), Path(out)
    _require(out, to, precision, max_drop, overwrite)
    settings, model = run.settings(), load_model(run)
    reference = plain_scorer(model, settings.size)
    asked = choose_images(run, settings, normal, precision)
    if precision == "int8" and not asked.normal:
        raise DataError("int8 needs normal images to learn the ranges of the activations from: --normal FOLDER")
    manifest, calibration = _manifest(run, settings, model, precision)
    files = _build(model, manifest, to, asked.normal)
    if not asked.normal:
        made = synthetic_images(settings)
        asked = replace(asked, normal=made, origin=f"{len(made)} synthetic images, since no photos were at hand")
    with tempfile.TemporaryDirectory() as folder:  # checked before it takes the place of a file that is there
        trial = Path(folder) / out.name
        _write(trial, files)
        found = _check(reference, trial, asked, precision, max_drop, calibration)
        own = _own_thresholds(run, trial, calibration) if found.decisions is not None else None
    if own is not None:
        *weights, model_file = files
        files = (*weights, with_decision(out.suffix, model_file, manifest, without_places(own), *weights))
        found = replace(found, recalibrated=True)
    _write(out, files)
    return replace(found, path=out)


def _write(path: Path, files: tuple[bytes, ...]) -> None:
    """Write a model's file; of two, both are on the disk before the weights and then the file itself are renamed."""
    *weights, model_file = files
    with written_at_once(path) as file:
        file.write(model_file)
        file.flush()
        os.fsync(file.fileno())  # a full disk shows here, while the old weights still stand
        for data in weights:
            write_bytes(path.with_suffix(".bin"), data)


def _require(out: Path, to: Target, precision: Precision, max_drop: float, overwrite: bool) -> None:
    """Refuse what cannot be meant before anything is computed."""
    if not max_drop >= 0:  # NaN is refused too
        raise SettingsError(f"--max-drop must be 0 or more points (inf allows any loss), not {max_drop:g}")
    if precision not in POSSIBLE[to]:
        raise SettingsError(f"{to} can be {', '.join(POSSIBLE[to])}, not {precision}")
    if out.suffix != SUFFIX[to]:
        raise SettingsError(f"the file of {to} ends in {SUFFIX[to]}, not {out.name!r}")
    for path in (out, out.with_suffix(".bin")) if to == "openvino" else (out,):
        require_writable(path)
        if path.exists() and not overwrite:
            raise SettingsError(f"{path} exists; choose another --out, or pass --overwrite")


def _build(model: InvAD, manifest: Manifest, to: Target, normal: Sequence[NDArray[np.uint8]]) -> tuple[bytes, ...]:
    """The file's bytes; for OpenVINO those of the .bin, then of the .xml."""
    size, precision = manifest.size, manifest.precision
    folded = fold(model, size)
    lower_precision(folded, precision)
    graph = ImageGraph(folded, size)
    if to == "pt2":
        from invad.inference.pt2_file import pt2_bytes

        return (pt2_bytes(graph, manifest),)
    from invad.inference.onnx_file import onnx_bytes, to_onnx
    from invad.inference.quantising import quantise

    exported: Any = to_onnx(graph)
    if to == "onnx":
        return (onnx_bytes(quantise(exported, normal) if precision == "int8" else exported, manifest),)
    exported = to_openvino(exported)
    xml, weights = openvino_bytes(quantise(exported, normal) if precision == "int8" else exported, manifest)
    return weights, xml


def _check(
    reference: Scorer,
    out: Path,
    asked: ExportImages,
    precision: Precision,
    max_drop: float,
    calibration: Calibration | None,
) -> Export:
    """Open the file as a user will, and compare it with the run."""
    scorer = open_model(out, device="cpu").scorer
    ways: list[Scoring] = [scorer, scorer.as_filed] if isinstance(scorer, OpenVinoScorer) else [scorer]
    wanted = cases(reference, asked.normal)
    compared = [compare(wanted, way) for way in ways]
    differences = Differences(
        map=float(np.max([one.map for one in compared])), score=float(np.max([one.score for one in compared]))
    )
    compared_on = f"{min(len(asked.normal), COMPARED)} of {asked.origin}"
    found = Export(path=out, images=compared_on, differences=differences, loss=None)
    if precision == "fp32":
        require_same(differences, compared_on)
        return found
    images = asked.measured or asked.normal
    origin = asked.measured_origin or f"{len(images)} of {asked.origin}"
    reference, scorer = Recorded(reference), Recorded(scorer)
    loss = measure_loss(reference, scorer, images, asked.labels, origin)
    require_worth(differences, loss, precision, max_drop)
    if calibration is None:
        return replace(found, loss=loss)
    names = [name for name, _ in asked.labels]
    return replace(found, loss=loss, decisions=compare_decisions(calibration, reference.scores, scorer.scores, names))


def _own_thresholds(run: Run, path: Path, calibration: Calibration | None) -> Calibration | None:
    """The calibration anew from a file's own scores, if the run's comes from images held back that are still there."""
    if calibration is None or calibration.images != HELD_BACK:
        return None
    if not all(record.image.is_file() for record in run.held_back()):
        return None
    return calibrate_scorer(
        open_model(path, device="cpu").scorer,
        held_back_images(run),
        Wish(method=calibration.method, rate=calibration.wanted, regions=calibration.regions),
        model=calibration.model,
        classes=run.trained_classes(),
        skip_unreadable=True,
    )


def _manifest(
    run: Run, settings: TrainSettings, model: InvAD, precision: Precision
) -> tuple[Manifest, Calibration | None]:
    """What rides inside, and the run's calibration."""
    checksum = model_checksum(model)
    calibration = read_calibration(run.path, checksum)
    manifest = Manifest(
        size=settings.size,
        precision=precision,
        scale=run.scale(),
        model=checksum,
        classes=run.trained_classes(),
        decision=None if calibration is None else json.loads(without_places(calibration).to_json()),
        settings={name: value for name, value in dataclasses.asdict(settings).items() if name not in PRIVATE},
        versions=environment(),
    )
    return manifest, calibration


PRIVATE = ("data", "weights", "cache_dir", "device")
"""Settings that name places of the training's machine, which are no business of whoever gets the file."""
