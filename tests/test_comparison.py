"""The published table: its means recomputed, what is wrong in print pinned, and runs beside it."""

import csv
import json
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import invad
from invad import comparison
from invad.cli.main import run
from invad.comparison import compare, to_csv
from invad.data import LAYOUTS, make_synthetic
from invad.data.catalog import PUBLISHED
from invad.metrics import KEYS
from invad.metrics.results import MEANS, ClassResult, Results
from invad.metrics.table import to_json
from invad.presets import MODELS
from invad.reference import downloads, published_rows
from invad.runs import Run
from invad.saved_evaluation import Evaluation, Request, forget, keep
from invad.settings import TrainSettings

WRONG = {
    ("invad", "realiad"): (53.4, 55.6),
    ("invad", "medical"): (61.4, 64.0),
    ("invad-lite", "mvtec"): (68.6, 70.1),
    ("invad-lite", "visa"): (59.0, 61.1),
    ("invad-lite", "coco"): (26.6, 37.4),
    ("invad-lite", "mvtec3d"): (57.6, 59.1),
    ("invad-lite", "realiad"): (53.7, 55.9),
    ("invad-lite", "medical"): (55.3, 59.0),
}
TOLERANCE = 0.1
"""What the mean of rounded parts may differ from a rounded mean: half a last digit each."""
SHIFTED = ("aupro", "auroc_pixel", "ap_pixel", "f1max_pixel")


def mean_of_parts(values: Mapping[str, float], key: str) -> float:
    """The mean of the metrics that a mean such as `mad_pixel` is made of."""
    return sum(values[part] for part in MEANS[key]) / len(MEANS[key])


def test_the_wrong_means_of_the_printed_table() -> None:
    found = {}
    for was, row in zip(published_rows(printed=True), published_rows(), strict=True):
        for key in MEANS:
            mean = mean_of_parts(row.values, key)
            if abs(was.values[key] - mean) > TOLERANCE:
                found[row.model, row.dataset, key] = (was.values[key], round(mean, 1))
    assert found == {(*of, "mad_pixel"): means for of, means in WRONG.items()}


def test_every_other_mean_and_the_shifted_columns() -> None:
    printed, corrected = published_rows(printed=True), published_rows()
    assert len(printed) == len(corrected) == 12
    for was, row in zip(printed, corrected, strict=True):
        assert row.model in MODELS and row.dataset in LAYOUTS
        for key in MEANS:
            assert abs(row.values[key] - mean_of_parts(row.values, key)) < TOLERANCE
        wrong = (row.model, row.dataset) in WRONG
        order = (*SHIFTED[1:], SHIFTED[0]) if wrong else SHIFTED
        assert [was.values[key] for key in SHIFTED] == [row.values[key] for key in order]
        if wrong:
            mean = (row.values["ap_pixel"] + row.values["f1max_pixel"] + row.values["aupro"]) / 3
            assert abs(was.values["mad_pixel"] - mean) < 0.1, "printed is the mean of AP_P, F1-max_P and AU-PRO"


@pytest.mark.shared
def test_the_table_is_the_one_given(shared: Path) -> None:
    for printed, name in ((True, "as_printed"), (False, "corrected")):
        with (shared / "reference/published_results.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["corrected"] == name]
        found = [(row.model, row.dataset, row.values) for row in published_rows(printed=printed)]
        assert found == [(row["model"], row["dataset"], {k: float(row[k]) for k in KEYS}) for row in rows]


def test_downloads(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(downloads()) == 12 and all(row["log_url"].startswith("https://") for row in downloads())
    for how in ("markdown", "csv", "json"):
        assert run(["results", "--downloads", "--format", how]) == 0
        assert downloads()[0]["log_url"] in capsys.readouterr().out


def evaluated(
    path: Path,
    value: float,
    data: str = "mvtec:/data",
    split: int | None = None,
    evaluated_on: tuple[str, ...] = (),
    classes: tuple[str, ...] = (),
    views: tuple[str, ...] = (),
) -> Path:
    """A run folder with what an evaluation of these classes leaves, or of all that are published, and nothing else."""
    values: dict[str, float | None] = dict.fromkeys(KEYS, value)
    layout = (*evaluated_on, data)[0].partition(":")[0]
    names = classes or (PUBLISHED[layout].classes if layout in PUBLISHED else ("bottle",))
    found = tuple(ClassResult(name=name, images=2, anomalous=1, values=values, reasons={}) for name in names)
    results = Results(protocol="paper", classes=found, mean=values, skipped={})
    (path / "evaluation").mkdir(parents=True)
    (path / "evaluation/results-paper.json").write_text(to_json(results))
    TrainSettings(data=(data,), model="invad", split=split).save(path / "settings.toml")  # type: ignore[arg-type]
    nothing = Evaluation(results=(results,), records=(), scores=np.zeros(0, dtype=np.float32))
    keep(Run(path), nothing, Request(data=evaluated_on, split=split, views=views), model="a checksum")
    return path


def test_runs_beside_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = evaluated(tmp_path / "a", 0.9), evaluated(tmp_path / "b", 0.5, "folder:/x")
    lines = compare([a, b])
    assert [line.what for line in lines[:3]] == ["published", str(a), "difference"]
    assert lines[2].protocol == "paper - paper" and lines[1].classes == 15
    assert lines[2].values["mad"] == pytest.approx(90 - 86.7)
    assert lines[-1].what == str(b), "what nothing is published of stands at the end"
    rows = list(csv.reader(to_csv(lines).splitlines()))
    assert rows[3][-2:] == ["+3.3", ""] and len(rows) == 1 + 12 + 2 + 1
    assert run(["results", str(a)]) == 0
    assert "| +3.3 |" in capsys.readouterr().out
    assert run(["results", str(a), "--printed", "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["lines"][0]["what"] == "published, as printed" and len(content["lines"]) == 14
    forget(Run(a))
    assert not list((a / "evaluation").glob("results-*")), "no table is taken for one of the next evaluation"
    assert run(["results", str(a)]) == 2
    assert "has not been evaluated; run `invad evaluate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "chosen", "note"),
    [
        ("mvtec", {"classes": ("bottle", "cable")}, "its mean is over 2 of the 15 classes that the published one"),
        ("mvtec", {"classes": ("nut",)}, "over 0 of the 15 classes that the published one is over, and over 1 more"),
        ("realiad", {"views": ("C1", "C2")}, "its images are of C1, C2 alone, the published ones of all 5 views"),
        ("realiad", {"views": ("C5", "C4", "C3", "C2", "C1")}, ""),
        ("mvtec", {"classes": tuple(f"set/{name}" for name in PUBLISHED["mvtec"].classes)}, ""),
    ],
)
def test_a_mean_over_something_else_has_no_difference(
    data: str, chosen: dict[str, tuple[str, ...]], note: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = evaluated(tmp_path / "a", 0.9, f"{data}:/data", **chosen)  # type: ignore[arg-type]
    lines = compare([path])
    (line,) = (line for line in lines if line.what == str(path))
    assert note in line.note and bool(note) == bool(line.note)
    assert [one.what for one in lines].count("difference") == (0 if note else 1)
    assert [row[-1] for row in csv.reader(to_csv(lines).splitlines())].count(line.note) == (1 if note else 14)
    assert run(["results", str(path)]) == 0
    assert (f"\n\n- {path}: " in (out := capsys.readouterr().out)) == bool(note) and note in out


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step, that was evaluated."""
    root = tmp_path_factory.mktemp("trained")
    make_synthetic(root / "set", train=4, good=2, defective=1, size=32)
    settings = TrainSettings(
        data=(f"folder:{root / 'set'}",), encoder="analytic", image_size=(32,), blocks=(1, 1, 1), epochs=1
    )
    path = invad.train(settings, root / "run", quiet=True).path
    invad.evaluate(path, bootstrap=3, quiet=True)
    return path


def test_an_evaluation_from_before_the_model_was_what_it_is(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shutil.copytree(trained, tmp_path / "a run")
    assert compare([path])[-1].what == str(path)
    data = Run(path).settings().data[0].partition(":")[2]
    invad.calibrate(path, normal=[data], overwrite=True, quiet=True)
    assert compare([path])[-1].what == str(path), "thresholds change none of these numbers"
    (path / "calibration.json").unlink()  # they are of the model that goes now
    further = invad.train(replace(Run(path).settings(), epochs=2), tmp_path / "further", quiet=True)
    shutil.rmtree(path / "checkpoints")
    shutil.copytree(further.checkpoints, path / "checkpoints")
    assert [line.what for line in compare([path])[-2:]] == [f"{path}, an earlier model"] * 2
    assert run(["results", str(path)]) == 0
    renew = f"`invad evaluate '{path}' --bootstrap 3`"
    assert f"{path}, an earlier model: evaluated before its model was what it is" in (out := capsys.readouterr().out)
    assert renew in out and out.count(renew) == 1
    assert run(shlex.split(renew.strip("`").removeprefix("invad "))) == 0
    assert compare([path])[-1].what == str(path)
    for weights in (path / "checkpoints").rglob("*.safetensors"):
        weights.write_bytes(b"")
    assert "whether its model is still the one evaluated is not known" in compare([path])[-1].note
    shutil.rmtree(path / "checkpoints")
    assert compare([path])[-1].what == str(path), "results that are kept without their weights"


def test_an_earlier_model_has_no_difference_and_no_part_in_a_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = evaluated(tmp_path / "a", 0.9)
    splits = [evaluated(tmp_path / str(split), 0.5, "coco:/x", split) for split in range(4)]
    monkeypatch.setattr(comparison, "_is_earlier", lambda run: (run.path in (path, splits[2]), []))
    found = [line.what for line in compare([path, *splits])]
    assert f"{path}, an earlier model" in found and str(path) not in found and str(splits[1]) in found
    assert "difference" not in found and comparison.MEAN not in found


def test_a_run_stands_with_the_data_that_it_was_evaluated_on(tmp_path: Path) -> None:
    path = evaluated(tmp_path / "a", 0.9, evaluated_on=("visa:/elsewhere",))
    (line,) = (line for line in compare([path]) if line.what == str(path))
    assert line.dataset == "visa"


def test_the_mean_of_the_four_splits(tmp_path: Path) -> None:
    runs = [evaluated(tmp_path / str(split), 0.1 * (split + 1), "coco:/x", split) for split in range(4)]
    lines = [line for line in compare(runs) if (line.model, line.dataset) == ("invad", "coco")]
    assert [line.what for line in lines][-2:] == ["mean of the four splits", "difference"]
    assert lines[-2].values["mad"] == pytest.approx(25) and lines[-1].values["mad"] == pytest.approx(25 - 50.1)
    assert len(lines) == 1 + 4 + 2, "one split has no difference: nothing is published of it"
    assert not any(line.what.startswith("mean") for line in compare(runs[:3]))
