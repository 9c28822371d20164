"""All checks, the same for people (`make check`) and CI: format, lint, strict types, tests."""

import subprocess
import sys

CHECKS = (
    ("format", ("ruff", "format", "--check", "src", "tests", "benchmarks", "scripts")),
    ("lint", ("ruff", "check", "src", "tests", "benchmarks", "scripts")),
    ("types", ("mypy",)),
    ("tests", ("pytest",)),
)


def main() -> int:
    """Run the checks up to the first that fails; return 0 if all pass."""
    for name, command in CHECKS:
        print(f"== {name}: {' '.join(command)}", flush=True)
        code = subprocess.call((sys.executable, "-m", *command))
        if code:
            print(f"== {name} failed")
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
