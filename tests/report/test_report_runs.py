"""From run folders to pages: what an evaluation keeps, when it is no longer good, and two runs side by side."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import invad
from invad.cli.main import run as command
from invad.data import make_fixture
from invad.errors import RunError, SettingsError
from invad.evaluation import found_at_thresholds
from invad.inference import Calibration
from invad.inference.checksum import model_checksum
from invad.inference.thresholds import from_normal
from invad.metrics import KEYS, from_json
from invad.provenance import look_at_data
from invad.records import Record
from invad.reporting import class_contents, is_evaluated, report
from invad.runs import Run, load_model
from invad.saved_evaluation import Evaluation, read_kept
from invad.side_by_side import report_beside


@pytest.fixture
def run(two_runs: tuple[Path, Path], tmp_path: Path) -> Run:
    return Run.open(Path(shutil.copytree(two_runs[0], tmp_path / "run")))


def test_what_is_kept_is_what_was_found(run: Run) -> None:
    evaluation = invad.evaluate(run, bootstrap=3, quiet=True)
    kept = read_kept(run, model_checksum(load_model(run)))
    assert kept is not None and kept.request.bootstrap == 3 and kept.request.arguments() == "--bootstrap 3"
    assert kept.evaluation.results == evaluation.results
    assert kept.evaluation.scores.tobytes() == evaluation.scores.tobytes()
    assert [r.image for r in kept.evaluation.records] == [r.image for r in evaluation.records]
    assert [r.defect for r in kept.evaluation.records] == [r.defect for r in evaluation.records]
    assert kept.evaluation.sweeps.keys() == evaluation.sweeps.keys()
    for name, sweep in evaluation.sweeps.items():
        assert np.array_equal(kept.evaluation.sweeps[name].recall, sweep.recall)
        assert kept.evaluation.sweeps[name].best == sweep.best
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in kept.hashes)


def test_a_report_after_an_evaluation_scores_nothing_but_its_galleries(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("evaluated again")

    monkeypatch.setattr("invad.cli.evaluation.evaluate", refuse)
    assert command(["report", str(run.path)]) == 0
    assert (run.evaluation / "report.html").is_file()


def test_paths_with_brackets_are_printed_as_they_are(
    two_runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copytree(two_runs[0], tmp_path / "[final][/b]"))
    assert command(["report", str(path)]) == 0
    assert command(["report", str(path), str(two_runs[1]), "--bootstrap", "1"]) == 0
    said = capsys.readouterr()
    assert f"report: {path / 'evaluation/report.html'}\n" in said.out
    assert f"by{path}" in "".join(said.err.split()), "wherever the line is broken"


@pytest.mark.parametrize("change", ["nothing", "calibration", "model", "never evaluated"])
def test_an_evaluation_is_good_as_long_as_model_and_calibration_are(run: Run, change: str) -> None:
    if change == "calibration":
        invad.calibrate(run, false_alarms=0.2, overwrite=True, quiet=True)
    if change == "model":
        other = load_model(run)
        with (run.evaluation / "evaluation.json").open(encoding="utf-8") as file:
            assert json.load(file)["model"] == model_checksum(other)
        text = (run.evaluation / "evaluation.json").read_text(encoding="utf-8")
        text = text.replace(model_checksum(other), "0" * 64)
        (run.evaluation / "evaluation.json").write_text(text, encoding="utf-8")
    if change == "never evaluated":
        shutil.rmtree(run.evaluation)
    assert is_evaluated(run) == (change == "nothing")
    if change != "nothing":
        with pytest.raises(RunError, match="invad evaluate"):
            report(run)


def test_a_damaged_evaluation_is_named(run: Run) -> None:
    (run.evaluation / "images.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match="damaged"):
        report(run)


def test_the_page_says_the_versions_of_the_run_and_when_it_was_trained(run: Run) -> None:
    found = {**run.environment(), "torch": "1.2.3-of-then"}
    run.environment_file.write_text(json.dumps(found), encoding="utf-8")
    text = report(run).read_text(encoding="utf-8")
    assert "1.2.3-of-then" in text and "Different in the evaluation" in text
    (finished,) = [event for event in run.events() if event["event"] == "finished"]
    assert finished["time"] in text and "by the date of its files" not in text


def test_thresholds_are_the_runs_own_first(run: Run) -> None:
    kept = read_kept(run, model_checksum(load_model(run)))
    calibration = invad.load(run.path).calibration
    assert kept is not None and calibration is not None
    for content in class_contents(kept.evaluation, calibration):
        assert content.cuts[0].value == calibration.threshold(content.name).image
        assert content.pixel_cut is not None and content.pixel_cut.value == calibration.threshold(content.name).pixel
        assert [cut.name for cut in content.cuts] == ["calibrated", "best F1"]
    for content in class_contents(kept.evaluation, None):
        assert [cut.name for cut in content.cuts] == ["best F1"]


def trained_on(path: Path, **settings: Any) -> Run:
    """A run folder that knows its settings and nothing else."""
    path.mkdir()
    invad.TrainSettings(**settings).save(path / "settings.toml")
    return Run(path)


def test_several_data_sets_are_looked_at_as_they_were_trained_on(tmp_path: Path) -> None:
    for name in ("realiad", "mvtec", "medical"):
        make_fixture(name, tmp_path / name)
    again = f"mvtec:{shutil.copytree(tmp_path / 'mvtec', tmp_path / 'again')}"
    realiad, mvtec, medical = (f"{name}:{tmp_path / name}" for name in ("realiad", "mvtec", "medical"))
    one_view = look_at_data(trained_on(tmp_path / "a", data=(realiad, mvtec), views=("C1",)))
    spread = look_at_data(trained_on(tmp_path / "b", data=(mvtec, medical), classes=("bottle", "brain")))
    prefixed = look_at_data(trained_on(tmp_path / "c", data=(mvtec, again), classes=("mvtec/bottle", "again/cable")))
    assert all(found.said.startswith("All ") for found in (one_view, spread, prefixed))
    gone = look_at_data(trained_on(tmp_path / "d", data=("folder:/nowhere/to/be/found",)))
    unknown = look_at_data(trained_on(tmp_path / "e", data=(realiad,), views=("C9",)))
    assert all("cannot be opened any more" in found.said for found in (gone, unknown))


def test_two_runs_side_by_side(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    page = report_beside(*two_runs, resamples=5, out=tmp_path / "beside.html", quiet=True)
    text = page.read_text(encoding="utf-8")
    assert page.stat().st_size < 15_000_000
    for path in two_runs:
        results = from_json((path / "evaluation/results-exact.json").read_text(encoding="utf-8"))
        assert all(f">{100 * results.mean[key]:.2f}</td>" in text for key in KEYS)
    assert "5 resamples" in text and re.search(r"is better|could be chance|the same", text)
    assert 'scope="row">seed</th><td>1</td><td>2</td>' in text


def test_a_run_beside_itself_is_the_same(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    page = report_beside(two_runs[0], two_runs[0], resamples=3, out=tmp_path / "beside.html", quiet=True)
    assert page.read_text(encoding="utf-8").count(">the same</td>") == len(KEYS)


def test_runs_over_other_test_images_are_refused(
    two_runs: tuple[Path, Path], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(pictures, tmp_path / "other"))
    gone = sorted((other / "capsule/test/good").iterdir())[0]
    gone.unlink()
    run = Path(shutil.copytree(two_runs[1], tmp_path / "run"))
    settings = run / "settings.toml"
    settings.write_text(settings.read_text(encoding="utf-8").replace(str(pictures), str(other)), encoding="utf-8")
    assert command(["report", str(two_runs[0]), str(run)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "cannot be compared" in said and "1 only of" in said and gone.name in said


def test_a_report_shows_one_run_or_two(two_runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["report", *map(str, (*two_runs, two_runs[0]))]) == 2
    assert "one run, or two" in capsys.readouterr().err
    with pytest.raises(SettingsError, match="resampling"):
        report_beside(*two_runs, resamples=0)


def test_the_notes_at_a_threshold_just_above_a_score_do_not_count_it() -> None:
    record = Record(image=Path("a.png"), class_name="nut", split="test", defect="good")
    score = np.float32(0.3)
    threshold = from_normal([float(score)], 0.5)
    assert threshold.image > float(score)
    calibration = Calibration(
        method="false-alarms",
        wanted=0.5,
        overall=threshold,
        scores={"nut": (float(score),)},
        images="held back",
        model="0" * 64,
    )
    found = found_at_thresholds(calibration, Evaluation(results=(), records=(record,), scores=np.array([score])))
    assert "0 false alarms in 1 normal ones" in found[0]
