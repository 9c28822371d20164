"""Build the wheel, install it into a fresh environment, and use it there: what a stranger gets from `pip install`.

The environment takes the packages that this one has (they are large) and InvAD from the wheel alone.
"""

import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Build, install, try; any failure ends with its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run(sys.executable, "-m", "build", "--wheel", "--outdir", work, ROOT)
        (wheel,) = work.glob("*.whl")
        python = fresh_environment(work / "venv")
        run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel)
        home = subprocess.check_output([python, "-c", "import invad; print(invad.__file__)"], text=True, cwd=work)
        if not Path(home.strip()).is_relative_to(work):
            raise SystemExit(f"the environment took InvAD from {home.strip()}, not from the wheel")
        invad = python.with_name("invad")
        data, out = f"synthetic:{work / 'data'}", work / "run"
        run(invad, "--version", cwd=work)
        small = ("--encoder", "analytic", "--image-size", "64", "--blocks", "1", "1", "1", "--epochs", "1", "--quiet")
        run(invad, "train", "--data", data, "--out", out, *small, cwd=work)
        run(invad, "evaluate", out, cwd=work)
        if not (out / "evaluation" / "report.html").is_file():
            raise SystemExit("the installed wheel wrote no report")
        find = "import importlib.resources as r; print(r.files('invad.serving').joinpath('page/index.html').is_file())"
        if subprocess.check_output([python, "-c", find], text=True, cwd=work).strip() != "True":
            raise SystemExit("the installed wheel has no inspection page")
        print(f"the wheel works: {wheel.name}, {wheel.stat().st_size / 1024:.0f} KiB")


def fresh_environment(folder: Path) -> Path:
    """Return the Python of a new environment that sees this one's packages, but not what is installed for editing."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    paths = {key: str(folder) for key in ("base", "platbase")}
    site_packages = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    # A path file adds the folder itself; the `.pth` files inside it, editable installs among them, are not read.
    (site_packages / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def run(*command: object, cwd: Path = ROOT) -> None:
    """Run a command, shown, and end with its exit status where it fails."""
    print("$", *command, flush=True)
    code = subprocess.call([str(part) for part in command], cwd=cwd)
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    main()
