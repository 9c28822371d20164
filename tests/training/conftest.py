"""A set and a run that the tests of training share."""

import shutil
from pathlib import Path

import pytest
from small_runs import small

from invad import Run, train
from invad.data import make_synthetic


@pytest.fixture(scope="session")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 12 normal images."""
    root = tmp_path_factory.mktemp("small") / "set"
    for folder in make_synthetic(root, train=12, good=2, defective=1, size=40)[2:]:
        shutil.rmtree(folder)
    return root


@pytest.fixture(scope="session")
def untouched(small_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing happened to."""
    return train(small(small_set), tmp_path_factory.mktemp("small") / "untouched", quiet=True)
