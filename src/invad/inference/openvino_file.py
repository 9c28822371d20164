"""OpenVINO: from the ONNX graph to an IR (an .xml and a .bin beside it), and from there to a scorer."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invad.errors import ModelFileError, SettingsError
from invad.inference.manifest import KEY, Manifest, check_seal, seal
from invad.inference.onnx_file import missing_extra
from invad.inference.scorer import Scores
from invad.records import Size


def to_openvino(model: Any) -> Any:
    """Return an `onnx.ModelProto` as an `openvino.Model`.

    Raises:
        MissingExtraError: the extra `export` is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise missing_extra(error) from error
    return openvino.Core().read_model(model=model.SerializeToString())


def openvino_bytes(model: Any, manifest: Manifest) -> tuple[bytes, bytes]:
    """Return the bytes of .xml and .bin, the manifest and a checksum over both in the former."""
    import openvino

    model.set_rt_info(manifest.to_json(), [KEY])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        openvino.save_model(model, path, compress_to_fp16=False)
        weights = path.with_suffix(".bin").read_bytes()
        return seal(path.read_bytes(), weights), weights


class OpenVinoScorer:
    """OpenVINO over the bytes of an exported IR.

    Args:
        xml: the one file.
        weights: the other.
        origin: the former's name, for messages.
        device: `auto` and `cpu` are the CPU; else OpenVINO's name for a device.
        threads: to compute with; None: OpenVINO's choice.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        ModelFileError: a file is damaged, changed, or not ours.
        SettingsError: there is no such device.
    """

    def __init__(
        self,
        xml: bytes,
        weights: bytes,
        origin: str,
        *,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        try:
            import openvino
        except ImportError as error:
            raise missing_extra(error) from error
        check_seal(xml, origin, weights)
        core = openvino.Core()
        name = "CPU" if device in ("auto", "cpu") else device.upper()
        if name not in core.available_devices:
            raise SettingsError(f"OpenVINO has no device {device!r} here; it has {', '.join(core.available_devices)}")
        try:
            model = core.read_model(model=xml, weights=weights)
        except RuntimeError as error:
            raise ModelFileError(f"{origin} cannot be opened by OpenVINO: {str(error)[:300]}") from error
        self.manifest = Manifest.from_json(_manifest_text(model), origin)
        self.size: Size = self.manifest.size
        # Left to itself OpenVINO computes in bf16 wherever the processor has it, the map too. With this hint it does
        # what the file says: a bf16 file has bf16 convolutions, and a map in float32.
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32" if name == "CPU" or self.manifest.precision != "fp16" else "f16",
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads is not None and name == "CPU":
            options["INFERENCE_NUM_THREADS"] = threads
        self._compiled = core.compile_model(model, name, options)

    def __call__(self, images: NDArray[np.uint8]) -> Scores:
        """Return maps (B, H, W) and scores (B,) of images (B, any height, any width, 3)."""
        found = self._compiled(images)
        return np.array(found["map"]), np.array(found["score"])


def _manifest_text(model: Any) -> str:
    return str(model.get_rt_info([KEY]).value) if model.has_rt_info([KEY]) else ""


def open_openvino(path: Path, *, device: str = "auto", threads: int | None = None) -> OpenVinoScorer:
    """Return the scorer of a `.xml` file with its `.bin`; see `OpenVinoScorer`.

    Raises:
        ModelFileError: the `.bin` is missing, or one of the two is damaged.
    """
    beside = path.with_suffix(".bin")
    if not beside.is_file():
        raise ModelFileError(f"{path} needs {beside} beside it: an OpenVINO model is two files")
    return OpenVinoScorer(path.read_bytes(), beside.read_bytes(), str(path), device=device, threads=threads)
