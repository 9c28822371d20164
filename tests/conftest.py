"""Fixtures for every test."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


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
