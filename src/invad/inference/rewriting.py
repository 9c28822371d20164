"""Give an exported file another calibration: its graph and weights stay as they are."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from invad.errors import ModelFileError
from invad.files import write_bytes
from invad.inference.calibration import Calibration
from invad.inference.manifest import Manifest


def write_decision(path: Path, manifest: Manifest, calibration: Calibration, *, expected: str) -> None:
    """Write a calibration into an exported file at once: whoever opens it sees it as before, or whole with the new one.

    Args:
        path: the file; of an OpenVINO model the .xml. Its .bin is not touched.
        manifest: what rides in it.
        calibration: what is to ride in it.
        expected: the SHA-256 of the file that the calibration is of.

    Raises:
        ModelFileError: another file stands there by now, or none.
        MissingExtraError: what writes the format is not installed.
        RunError: the file cannot be written.
    """
    try:
        data = path.read_bytes()
        weights = path.with_suffix(".bin").read_bytes() if path.suffix == ".xml" else b""
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read again to calibrate it: {error}") from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise ModelFileError(f"{path} was replaced while it was calibrated; calibrate it again")
    write_bytes(path, with_decision(path.suffix, data, manifest, calibration, weights))


def with_decision(
    suffix: str, data: bytes, manifest: Manifest, calibration: Calibration, weights: bytes = b""
) -> bytes:
    """Return an exported file's bytes with another calibration; arguments as `write_decision`.

    Args:
        suffix: how the file's name ends, which says its format.
        data: the file's bytes.
        manifest: what rides in it.
        calibration: what is to ride in it.
        weights: of an OpenVINO model, the bytes of the .bin.
    """
    changed = replace(manifest, decision=json.loads(calibration.to_json()))
    if suffix == ".onnx":
        from invad.inference import onnx_file

        return onnx_file.with_manifest(data, changed)
    if suffix == ".xml":
        from invad.inference import openvino_file

        return openvino_file.with_manifest(data, changed, weights)
    from invad.inference import pt2_file

    return pt2_file.with_manifest(data, changed)
