"""OpenVINO: from the ONNX graph to an IR (an .xml and a .bin beside it), and from there to a scorer."""

import re
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from invad.errors import ModelFileError, SettingsError
from invad.inference.manifest import KEY, Manifest, check_seal, seal
from invad.inference.onnx_file import missing_extra
from invad.inference.scorer import Scores
from invad.records import Size

LATENCY = {"PERFORMANCE_HINT": "LATENCY"}


def to_openvino(model: Any) -> Any:
    """Return an `onnx.ModelProto` as an `openvino.Model`.

    Raises:
        MissingExtraError: the extra `export` is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise missing_extra(error) from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return openvino.convert_model(path)  # unlike read_model, this joins what belongs together, norms above all


def openvino_bytes(model: Any, manifest: Manifest) -> tuple[bytes, bytes]:
    """Return the bytes of .xml and .bin, the manifest and a checksum over both in the former."""
    import openvino

    model.set_rt_info(manifest.to_json(), [KEY])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        openvino.save_model(model, path, compress_to_fp16=False)
        weights = path.with_suffix(".bin").read_bytes()
        return seal(path.read_bytes(), weights), weights


def with_manifest(xml: bytes, manifest: Manifest, weights: bytes) -> bytes:
    """Return the bytes of an .xml with another manifest; the .bin stays as it is."""
    text = escape(manifest.to_json(), {'"': "&quot;"}).encode()
    return seal(re.sub(rb'(?<=<%b value=")[^"]*(?=")' % KEY.encode(), lambda _: text, xml, count=1), weights)


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
        name = "CPU" if device.partition(":")[0] in ("auto", "cpu") else device.upper()
        if name not in core.available_devices:
            raise SettingsError(f"OpenVINO has no device {device!r} here; it has {', '.join(core.available_devices)}")
        try:
            model = core.read_model(model=xml, weights=weights)
        except RuntimeError as error:
            raise ModelFileError(f"{origin} cannot be opened by OpenVINO: {str(error)[:300]}") from error
        self.manifest = Manifest.from_json(_manifest_text(model), origin)
        self.size: Size = self.manifest.size
        self._core, self._model, self._device = core, model, name
        # Left to itself OpenVINO computes in bf16 wherever the processor has it, the map too. With this hint it does
        # what the file says: a bf16 file has bf16 convolutions, and a map in float32.
        self._options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32" if name == "CPU" or self.manifest.precision != "fp16" else "f16"
        }
        if threads is not None and name == "CPU":
            self._options["INFERENCE_NUM_THREADS"] = threads

    def __call__(self, images: NDArray[np.uint8]) -> Scores:
        """Return maps (B, H, W) and scores (B,) of images (B, any height, any width, 3).

        Each image of the model's size is a request of its own, and several are in flight at once: on a CPU that is
        faster than a batch.
        """
        if images.shape[1:3] != self.size:
            return self.as_filed(images)
        if len(images) == 1:
            found = self._one(images)
            return np.array(found["map"]), np.array(found["score"])
        maps = np.empty((len(images), *self.size), dtype=np.float32)
        scores = np.empty(len(images), dtype=np.float32)

        def keep(request: Any, index: int) -> None:
            maps[index], scores[index] = request.get_tensor("map").data[0], request.get_tensor("score").data[0]

        self._several.set_callback(keep)
        for i in range(len(images)):
            self._several.start_async([images[i : i + 1]], i)
        self._several.wait_all()
        return maps, scores

    def as_filed(self, images: NDArray[np.uint8]) -> Scores:
        """Return the same by the graph as it stands in the file, which is what other programs run."""
        found = self._any_size(images)
        return np.array(found["map"]), np.array(found["score"])

    @cached_property
    def _any_size(self) -> Any:
        """The model compiled for any number of images of any size."""
        return self._core.compile_model(self._model, self._device, {**self._options, **LATENCY})

    @cached_property
    def _one(self) -> Any:
        """The model compiled for one image of its size, by all threads."""
        return self._core.compile_model(_for_one(self._model, self.size), self._device, {**self._options, **LATENCY})

    @cached_property
    def _several(self) -> Any:
        """The same, for as many images at once as suit the machine."""
        import openvino

        options = {**self._options, "PERFORMANCE_HINT": "THROUGHPUT"}
        return openvino.AsyncInferQueue(
            self._core.compile_model(_for_one(self._model, self.size), self._device, options)
        )


def _for_one(model: Any, size: Size) -> Any:
    """Return a model for one image that needs no resizing: with all shapes known, and without the resize."""
    from openvino import Type, opset13

    fixed = model.clone()
    fixed.reshape({0: [1, *size, 3]})
    resized = [op for op in fixed.get_ordered_ops() if op.get_friendly_name().startswith("resize/Floor")]
    if resized:  # older files do not name it
        planes = opset13.transpose(fixed.input(0), np.array([0, 3, 1, 2]))
        resized[-1].output(0).replace(opset13.convert(planes, Type.f32).output(0))
    return fixed


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
