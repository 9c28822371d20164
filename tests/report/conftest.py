"""Two small runs over the same synthetic images of four classes."""

from pathlib import Path

import pytest

import invad
from invad.data import make_synthetic


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four synthetic classes."""
    root = tmp_path_factory.mktemp("report-data") / "set"
    make_synthetic(root, train=12, good=5, defective=2, size=96)
    return root


def small_run(data: Path, out: Path, seed: int) -> Path:
    """A run of two epochs, evaluated."""
    settings = invad.TrainSettings(
        data=(f"folder:{data}",),
        encoder="analytic",
        image_size=(64,),
        blocks=(1, 1, 1),
        epochs=2,
        batch_size=8,
        seed=seed,
    )
    run = invad.train(settings, out, quiet=True)
    invad.evaluate(run, bootstrap=5, quiet=True)
    return run.path


@pytest.fixture(scope="session")
def two_runs(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Runs that differ in their seed; copy them to write into them."""
    folder = tmp_path_factory.mktemp("report-runs")
    return small_run(pictures, folder / "one", 1), small_run(pictures, folder / "two", 2)
