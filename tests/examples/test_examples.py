"""Every example runs as it stands, with few steps, and what it prints holds."""

import re
import runpy
import sys
import tempfile
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
ARGUMENTS = {
    "calibrate_for_a_false_alarm_rate": ("--steps", "5", "--rates", "0.2", "0.05"),
    "compare_two_recipes": ("--steps", "5", "--resamples", "20"),
    "metrics_of_another_model": ("--size", "64"),
    "run_the_exported_file": ("--steps", "5"),
    "train_own_photos": ("--steps", "120"),
    "watch_a_camera": ("--steps", "5", "--frames", "80"),
}

SLOW = ("run_the_exported_file",)
"""Exporting alone takes more than ten seconds."""


def run(
    name: str,
    arguments: tuple[str, ...],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    """Run an example as a program, its temporary files in a folder; return what it prints."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    monkeypatch.setenv("COLUMNS", "120")
    runpy.run_path(str(EXAMPLES[0].with_name(f"{name}.py")), run_name="__main__")
    return capsys.readouterr().out


def holds(name: str, printed: str, folder: Path) -> None:
    """Check what an example has printed."""
    if name == "calibrate_for_a_false_alarm_rate":
        promised = re.findall(r"promised (\S+)% \((\S+)% to (\S+)%\); (\d+) of 99", printed)
        assert [one[0] for one in promised] == ["20.00", "5.00"], "99 images promise these rates exactly"
        assert all(float(low) < float(rate) < float(high) for rate, low, high, _ in promised)
        assert int(promised[0][3]) >= int(promised[1][3]), "a higher threshold raises no more alarms"
    elif name == "compare_two_recipes":
        rows = re.findall(r"│ (m\S+) +│ (\S+) +│ (\S+) +│ (\S+) to (\S+) +│ (yes|no) ", printed)
        assert len(rows) == 15
        for _, paper, aligned, low, high, real in rows:
            assert 0 <= float(paper) <= 100 and 0 <= float(aligned) <= 100
            outside, inside = float(low) >= 0 or float(high) <= 0, float(low) <= 0 <= float(high)
            assert outside if real == "yes" else inside, "but for rounding, a real one's interval leaves out zero"
    elif name == "metrics_of_another_model":
        assert re.search(r"│ mean +│ +9\d\.", printed), "the synthetic defects are easy to see"
        apart = re.search(r"scikit-learn's differ by at most (\S+)", printed)
        assert apart and float(apart[1]) < 1e-12
    elif name == "run_the_exported_file":
        apart = re.search(r"file and run differ by at most (\S+)", printed)
        assert apart and float(apart[1]) < 1e-4
        assert len(re.findall(r"by the run  (?:normal|anomalous)\n", printed)) == 7
    elif name == "train_own_photos":
        image_auroc = re.search(r"│ mean +│ +(\S+) ", printed)
        assert image_auroc and float(image_auroc[1]) > 95, "120 steps reach 100"
        assert "anomalous: True" in printed and " pixels in (" in printed
    elif name == "watch_a_camera":
        drifted = [int(number) for number in re.findall(r"frame (\d+): the scores of 20 images are not like", printed)]
        assert drifted and min(drifted) > 40, "the light fades from frame 40 on"
        alarms = set(re.findall(r"frame (\d+): score", printed))
        pictures = {path.name for path in folder.glob("*/*.png")}
        assert {f"{int(number):06d}.png" for number in alarms} == pictures
    else:
        raise AssertionError(f"say here what examples/{name}.py must print")


@pytest.mark.parametrize(
    "name", [pytest.param(path.stem, marks=[pytest.mark.slow] if path.stem in SLOW else []) for path in EXAMPLES]
)
def test_example_runs_and_what_it_prints_holds(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = run(name, ARGUMENTS[name], tmp_path, monkeypatch, capsys)
    holds(name, printed, tmp_path)


def test_calibrating_passes_over_what_is_no_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = runpy.run_path(str(EXAMPLES[0].with_name("calibrate_for_a_false_alarm_rate.py")))
    model, normal, fresh = example["small_run"](tmp_path, 5)
    (fresh / ".DS_Store").write_bytes(b"Bud1")
    arguments = ("--run", str(model), "--normal", str(normal), "--fresh", str(fresh), "--rates", "0.2")
    assert "of 99 fresh ones" in run("calibrate_for_a_false_alarm_rate", arguments, tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_short_and_says_how_to_run_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 100
    assert f"    python examples/{path.name}\n" in text.split('"""')[1]


def test_the_exported_file_is_run_without_invad() -> None:
    text = EXAMPLES[0].with_name("run_the_exported_file.py").read_text(encoding="utf-8")
    alone = text[text.index("def alone") : text.index("def main")]
    imported = set(re.findall(r"^ +(?:import|from) (\w+)", alone, flags=re.MULTILINE))
    assert imported == {"numpy", "onnxruntime", "PIL"} and "invad." not in alone
