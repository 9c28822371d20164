"""The short form of benchmarks/serving.py: load by all kinds of clients, with a kill, a stop and reloads."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/serving.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_load(trained: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--requests", "400", "--clients", "8", "--model", str(trained)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "\n0 faults" in ended.stdout and "| one image |" in ended.stdout
