"""Fixtures for every test."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images, weights and golden files; a stranger's clone does not have it."""
    folder = os.environ.get("INVAD_TEST_DATA")
    if not folder:
        pytest.skip("real data: set INVAD_TEST_DATA to the folder that holds data/, weights/ and golden/")
    return Path(folder).resolve()
