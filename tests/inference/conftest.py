"""A small trained run and the images that it knows; and every graph is made an ONNX model of only once."""

import copy
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import invad
from invad.data import make_synthetic
from invad.inference import onnx_file
from invad.inference.graph import ImageGraph


@pytest.fixture(scope="session", autouse=True)
def one_onnx_of_each_graph() -> Iterator[None]:
    """Exporting takes ten seconds, and most tests that export do it with the same model."""
    original, made = onnx_file.to_onnx, dict[str, Any]()

    def to_onnx(graph: ImageGraph) -> Any:
        key = hashlib.sha256(f"{graph} {graph.size}".encode())
        for name, value in graph.state_dict().items():
            key.update(f"{name} {value.dtype} {tuple(value.shape)}".encode() + value.float().numpy().tobytes())
        if key.hexdigest() not in made:
            made[key.hexdigest()] = original(graph)
        return copy.deepcopy(made[key.hexdigest()])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_file, "to_onnx", to_onnx)
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inference") / "set"
    make_synthetic(root, train=8, good=6, defective=2, size=96)
    return root


@pytest.fixture(scope="session")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = invad.TrainSettings(
        data=(f"folder:{data}",),
        encoder="analytic",
        image_size=(64,),
        blocks=(1, 1, 1),
        epochs=3,
        batch_size=8,
    )
    return invad.train(settings, tmp_path_factory.mktemp("inference-runs") / "run", quiet=True).path
