"""Fixtures for every test."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

import invad

if TYPE_CHECKING:
    from playwright.sync_api import Browser

collect_ignore_glob = ["*conftest.py"]  # they hold no examples, and pytest takes two of one name for one where it looks


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images, weights and golden files; a stranger's clone does not have it."""
    folder = os.environ.get("INVAD_TEST_DATA")
    if not folder:
        pytest.skip("real data: set INVAD_TEST_DATA to the folder that holds data/, weights/ and golden/")
    return Path(folder).resolve()


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A headless Chromium of the machine's own, driven by Playwright; nothing is downloaded.

    It lives for one module and not for the session: as long as Playwright's synchronous interface is open, an event
    loop counts as running in this thread, and `asyncio.run` in any later test would be refused.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="browser: pip install 'invad[dev]' brings playwright")
    program = shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(program).is_file():
        pytest.skip("browser: no chromium on this machine (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def bottles(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of half of the good bottles, the other half held back, calibrated on those; copy it to write into it.

    It takes a minute, so the processes that share the tests share it as well.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    run = root / "bottles"
    with FileLock(root / "bottles.lock"):
        if not run.exists():
            invad.train(_bottle_settings(shared), root / "bottles.new", quiet=True)
            invad.calibrate(root / "bottles.new", false_alarms=0.05, overwrite=True, quiet=True)
            (root / "bottles.new").rename(run)
    return run


def _bottle_settings(shared: Path) -> invad.TrainSettings:
    return invad.TrainSettings(
        data=(f"mvtec:{shared / 'data/mvtec'}",),
        classes=("bottle",),
        encoder="resnet18",
        weights=str(shared / "weights/resnet18_imagenet_layers1to3.safetensors"),
        image_size=(128,),
        blocks=(1, 1, 1),
        epochs=12,
        batch_size=16,
        held_back=0.5,
        recipe="aligned",
    )
