"""Open any model, a run's or an exported one, as a scorer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invad.colours import ColourScale
from invad.devices import choose_device
from invad.errors import RunError, SettingsError
from invad.inference.checksum import model_checksum
from invad.inference.manifest import Manifest
from invad.inference.scorer import Scorer, folded_scorer
from invad.runs import Run, load_model

KINDS = (".onnx", ".xml", ".pt2")


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenModel:
    """A scorer and what is known of it."""

    scorer: Scorer
    scale: ColourScale | None
    """Of pictures; None: an incomplete run."""
    model: str
    """The checksum of the trained model."""
    decision: dict[str, Any] | None
    """The calibration that rides in an exported file; None: it has none, or the model is a run."""
    classes: tuple[str, ...] = ()
    """What the model was trained on; none: not known, of an imported run say."""
    manifest: Manifest | None = None
    """All that rides in an exported file; None: the model is a run."""


def open_model(path: Path | str, *, device: str = "auto", threads: int | None = None) -> OpenModel:
    """Return the model at a path: a run folder, a .onnx, an OpenVINO .xml with its .bin, or a .pt2 file.

    Args:
        path: where it is.
        device: cpu, cuda, cuda:1, mps (what the file's runtime can use of them); auto: the best there is.
        threads: of the CPU to compute with; None: as many as the runtime chooses.

    Raises:
        RunError: there is neither a run nor such a file, or the run's checkpoints are damaged.
        ModelFileError: the file is damaged, changed, of a newer format, or not made by `invad export`.
        MissingExtraError: what runs the file is not installed.
        SettingsError: there is no such device, or there are less than one thread.
    """
    path = Path(path)
    if threads is not None and threads < 1:
        raise SettingsError(f"threads must be 1 or more, not {threads}; leave them out for the runtime's own choice")
    if path.is_dir():
        return _open_run(path, device, threads)
    if not path.is_file() or path.suffix not in KINDS:
        raise RunError(
            f"there is no model {path}; expected a run folder made by `invad train`, or a file made by `invad export` "
            f"that ends in {', '.join(KINDS)}"
        )
    scorer = _open_file(path, device, threads)
    manifest: Manifest = scorer.manifest
    return OpenModel(
        scorer=scorer,
        scale=manifest.scale,
        model=manifest.model,
        decision=manifest.decision,
        classes=manifest.classes,
        manifest=manifest,
    )


def _open_run(path: Path, device: str, threads: int | None) -> OpenModel:
    run = Run.open(path)
    model = load_model(run)
    scorer = folded_scorer(model, run.settings().size, choose_device(device), threads=threads)
    scale = run.scale() if run.scale_file.is_file() else None
    return OpenModel(
        scorer=scorer, scale=scale, model=model_checksum(model), decision=None, classes=run.trained_classes()
    )


def _open_file(path: Path, device: str, threads: int | None) -> Any:
    """The scorer of a file, which has a manifest."""
    if path.suffix == ".onnx":
        from invad.inference.onnx_file import open_onnx

        return open_onnx(path, device=device, threads=threads)
    if path.suffix == ".xml":
        from invad.inference.openvino_file import open_openvino

        return open_openvino(path, device=device, threads=threads)
    from invad.inference.pt2_file import open_pt2

    return open_pt2(path, device=device, threads=threads)
