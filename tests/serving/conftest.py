"""A small trained and calibrated run, and its application."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import invad
from invad.data import make_synthetic
from invad.inference import Predictor
from invad.serving import create_app


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("serving") / "set"
    make_synthetic(root, train=8, good=12, defective=2, size=96)
    return root


@pytest.fixture(scope="session")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = invad.TrainSettings(
        data=(f"folder:{data}",), encoder="analytic", image_size=(64,), blocks=(1, 1, 1), epochs=3, batch_size=8
    )
    run = invad.train(settings, tmp_path_factory.mktemp("serving-runs") / "run", quiet=True)
    good = [str(data / name / "test" / "good") for name in run.trained_classes()]
    invad.calibrate(run, normal=good, false_alarms=0.1, overwrite=True, quiet=True)
    return run.path


@pytest.fixture(scope="session")
def predictor(trained: Path) -> Predictor:
    return invad.load(trained, device="cpu")


@pytest.fixture
def client(predictor: Predictor, tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(predictor, name="parts", marks=tmp_path / "marks")) as found:
        yield found


@pytest.fixture(scope="session")
def images(data: Path) -> list[Path]:
    """Good and defective images of every class."""
    return sorted(data.glob("*/test/*/*.png"))
