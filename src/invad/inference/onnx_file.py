"""ONNX: from the graph to a file, and from a file to a scorer that ONNX Runtime runs."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invad.errors import MissingExtraError, ModelFileError, SettingsError
from invad.inference.graph import ImageGraph
from invad.inference.manifest import KEY, Manifest, check_seal, seal
from invad.inference.scorer import Scores
from invad.records import Size

OPSET = 20
AXES = {0: "batch", 1: "height", 2: "width"}
"""What is left open in the input."""


def to_onnx(graph: ImageGraph) -> Any:
    """Return the graph as an `onnx.ModelProto`, whose nodes are named after the modules they come from.

    Raises:
        MissingExtraError: the extra `export` is not installed.
        ModelFileError: torch cannot export this model, an encoder that decides by values, say.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise missing_extra(error) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations between torch and onnxscript, not of ours
            program = torch.onnx.export(
                export_graph(graph).run_decompositions({torch.ops.aten.group_norm.default: _group_norm}),
                dynamo=True,
                opset_version=OPSET,
                input_names=["images"],
                output_names=["map", "score"],
                optimize=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ModelFileError(f"this model cannot be exported to ONNX: {str(error)[:300]}") from error
    assert program is not None
    return _tidy(program.model_proto)


def export_graph(graph: ImageGraph) -> torch.export.ExportedProgram:
    """Return the graph with any number of images of any size.

    Raises:
        ModelFileError: torch cannot trace this model.
    """
    dimensions = {
        0: torch.export.Dim("batch", min=1, max=65536),
        1: torch.export.Dim("height", min=1, max=65536),
        2: torch.export.Dim("width", min=1, max=65536),
    }
    height, width = graph.size
    example = torch.zeros(2, height + 24, width + 40, 3, dtype=torch.uint8)
    try:
        with torch.no_grad():
            return torch.export.export(graph, (example,), dynamic_shapes=(dimensions,), strict=False)
    except (RuntimeError, ValueError) as error:
        raise ModelFileError(f"this model cannot be exported: {str(error)[:300]}") from error


def _group_norm(
    x: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float, _: bool = True
) -> Tensor:
    """A group norm of one group (B, C, h, w) by its moments.

    ONNX's own form of it flattens what it normalises, for which OpenVINO copies the layout there and back; these
    moments it recognises as one operation, and ONNX Runtime is as fast with either.
    """
    if groups != 1 or x.dim() != 4 or weight is not None or bias is not None:
        return NotImplemented  # type: ignore[no-any-return]
    centred = x - x.mean(dim=(1, 2, 3), keepdim=True)
    return centred / (centred.square().mean(dim=(1, 2, 3), keepdim=True) + eps).sqrt()


def _tidy(model: Any) -> Any:
    """Name nodes by their modules and open axes by their meaning; drop traces, which name files of this machine."""
    import onnx

    for i, node in enumerate(model.graph.node):
        scopes = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), "")
        names = [part.strip(" '\"") for part in scopes.strip("[]").split(",")]
        node.name = f"{names[-2] if len(names) > 1 else ''}/{node.op_type}_{i}"
        del node.metadata_props[:]
        node.doc_string = ""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    meanings = {dims[axis].dim_param: name for axis, name in AXES.items()}
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = meanings[dim.dim_param]
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    model.doc_string = ""
    onnx.checker.check_model(model)
    return model


def onnx_bytes(model: Any, manifest: Manifest) -> bytes:
    """Return the file's bytes, the manifest and its checksum inside."""
    import onnx

    sealed = onnx.ModelProto()
    sealed.CopyFrom(model)
    onnx.helper.set_model_props(sealed, {KEY: manifest.to_json()})
    return seal(sealed.SerializeToString())


def with_manifest(data: bytes, manifest: Manifest) -> bytes:
    """Return a file's bytes with another manifest.

    Raises:
        MissingExtraError: onnx, which writes such files, is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise missing_extra(error) from error
    return onnx_bytes(onnx.load_from_string(data), manifest)


class OnnxScorer:
    """ONNX Runtime over the bytes of an exported file.

    Args:
        data: the file.
        origin: its name, for messages.
        device: cpu; or cuda where ONNX Runtime was built for it.
        threads: to compute with; None: ONNX Runtime's choice.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        ModelFileError: the file is damaged, changed, or not ours.
        SettingsError: there is no such device.
    """

    def __init__(self, data: bytes, origin: str, *, device: str = "auto", threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise missing_extra(error) from error
        check_seal(data, origin)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        if threads is not None:
            options.intra_op_num_threads = threads
        wanted = providers(device, onnxruntime.get_available_providers())
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=wanted)
        except Exception as error:  # its own kinds, which have no public base
            raise ModelFileError(f"{origin} cannot be opened by ONNX Runtime: {str(error)[:300]}") from error
        text = self._session.get_modelmeta().custom_metadata_map.get(KEY, "")
        self.manifest = Manifest.from_json(text, origin)
        self.size: Size = self.manifest.size

    def __call__(self, images: NDArray[np.uint8]) -> Scores:
        """Return maps (B, H, W) and scores (B,) of images (B, any height, any width, 3)."""
        maps, scores = self._session.run(["map", "score"], {"images": images})
        return maps, scores


def providers(device: str, available: list[str]) -> list[Any]:
    """Return what ONNX Runtime calls a device, with its number where it has one, by what it has available.

    Raises:
        SettingsError: it has no such device.

    Example:
        >>> providers("auto:1", ["CPUExecutionProvider"])
        ['CPUExecutionProvider']
    """
    cuda = "CUDAExecutionProvider"
    wanted, _, number = device.partition(":")
    if wanted == "cpu" or (wanted == "auto" and cuda not in available):
        return ["CPUExecutionProvider"]
    if wanted in ("auto", "cuda") and cuda in available:
        return [(cuda, {"use_tf32": "0"} | ({"device_id": number} if number else {})), "CPUExecutionProvider"]
    raise SettingsError(f"this ONNX Runtime cannot use the device {device!r}; it has {', '.join(available)}")


def missing_extra(error: ImportError) -> MissingExtraError:
    """Return the error that says how to install what exported models need."""
    return MissingExtraError(
        f"{error.name or 'a package'} is not installed; exported models need the extra `export`: "
        f"pip install 'invad[export]'"
    )


def open_onnx(path: Path, *, device: str = "auto", threads: int | None = None) -> OnnxScorer:
    """Return the scorer of a `.onnx` file; see `OnnxScorer`."""
    return OnnxScorer(path.read_bytes(), str(path), device=device, threads=threads)
