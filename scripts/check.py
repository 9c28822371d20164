"""The checks, the same for people (`make check`) and CI: format, lint, strict types, tests; or those that are named."""

import os
import subprocess
import sys

PROCESSES = min(2, os.cpu_count() or 1)
"""That share the tests: each takes up to 4 GB, and has one thread, since programs with many threads slow each other."""
CHECKS = {
    "format": ("ruff", "format", "--check", "src", "tests", "benchmarks", "examples", "scripts"),
    "lint": ("ruff", "check", "src", "tests", "benchmarks", "examples", "scripts"),
    "types": ("mypy",),
    "tests": ("pytest", "--numprocesses", str(PROCESSES), "--dist", "loadfile"),
}


def main() -> int:
    """Run the checks up to the first that fails; return 0 if all pass."""
    for name in sys.argv[1:] or CHECKS:
        command = CHECKS[name]
        print(f"== {name}: {' '.join(command)}", flush=True)
        code = subprocess.call(
            (sys.executable, "-m", *command),
            env={"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **os.environ},
        )
        if code:
            print(f"== {name} failed")
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
