"""A small trained run and the images that it knows."""

from pathlib import Path

import pytest

import invad
from invad.data import make_synthetic


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
