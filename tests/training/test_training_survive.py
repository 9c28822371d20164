"""The short form of benchmarks/survive.py: SIGKILL at random moments."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/survive.py"


@pytest.mark.slow
def test_kills_at_random_moments() -> None:
    ended = subprocess.run([sys.executable, str(SCRIPT), "--kills", "3"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "| **all** | **3** |" in ended.stdout and "0 runs lost" in ended.stdout
