"""A run that is done again ends in the same bits, or says what is other."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from small_runs import small

from invad import Run, evaluate, reproduce, train
from invad.checkpoint import list_checkpoints
from invad.cli.main import run as command
from invad.data import make_synthetic
from invad.errors import RunError


def copy_of(run: Run, folder: Path) -> Run:
    return Run(Path(shutil.copytree(run.path, folder / "copy")))


def edit_environment(run: Run, **changes: str) -> None:
    found = json.loads(run.environment_file.read_text())
    run.environment_file.write_text(json.dumps({**found, **changes}))


def other_weights(run: Run, small_set: Path, folder: Path) -> None:
    """Put the weights of a run with another learning rate in place of a run's own."""
    other = train(small(small_set, learning_rate=1e-3), folder / "other", quiet=True)
    shutil.copyfile(list_checkpoints(other.checkpoints)[0], list_checkpoints(run.checkpoints)[0])


def test_identical(untouched: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = copy_of(untouched, tmp_path)
    evaluate(run, protocols=("exact",), quiet=True)
    edit_environment(run, torch="0.1")
    assert command(["reproduce", str(run.path), "--out", str(tmp_path / "again"), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "identical: all weights" in out and "differs: torch: 0.1 then, " in out
    assert "auroc_image" in out and "+0.000" in out


def test_other_bits_are_said(
    untouched: Run, small_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy_of(untouched, tmp_path)
    other_weights(run, small_set, tmp_path)
    assert command(["reproduce", str(run.path), "--out", str(tmp_path / "again"), "--quiet"]) == 2
    assert "although machine and versions are the same" in capsys.readouterr().err
    edit_environment(run, processor="pdp11")
    found = reproduce(run.path, tmp_path / "and again", quiet=True)
    assert not found.identical and found.largest_difference > 0 and found.metrics == {}
    assert [text.split(":")[0] for text in found.environment] == ["processor"]


def test_a_run_that_was_resumed_elsewhere_need_not_come_out_the_same(
    untouched: Run, small_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy_of(untouched, tmp_path)
    other_weights(run, small_set, tmp_path)
    run.log(event="resumed", total_steps=8, environment={**run.environment(), "torch": "0.1", "processes": "2"})
    assert command(["reproduce", str(run.path), "--out", str(tmp_path / "again"), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "differs: torch: 0.1 where it was resumed, " in out and "processes: 2 where it was resumed, 1 now" in out


def test_metrics_are_of_what_the_run_was_evaluated_on(untouched: Run, tmp_path: Path) -> None:
    run, other = copy_of(untouched, tmp_path), tmp_path / "other"
    make_synthetic(other, train=1, good=3, defective=2, size=40)
    data, classes = (f"folder:{other}",), run.trained_classes()[:1]
    before = evaluate(run, data=data, classes=classes, protocols=("exact",), quiet=True).results[0].mean
    found = reproduce(run.path, tmp_path / "again", quiet=True)
    assert found.metrics == {key: (value, value) for key, value in before.items() if value is not None}
    shutil.rmtree(other)
    with pytest.raises(RunError, match="last evaluated on is not there any more"):
        reproduce(run.path, tmp_path / "once more", quiet=True)
    assert not (tmp_path / "once more").exists()


@pytest.mark.parametrize("file", ["records.jsonl", "held_back.jsonl"])
def test_a_changed_image_is_refused(file: str, small_set: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(small_set, tmp_path / "set"))
    run = train(small(root, epochs=1), tmp_path / "run", quiet=True)
    victim = Path(json.loads((run.path / file).read_text().splitlines()[1])["image"])
    victim.write_bytes(victim.read_bytes() + b" ")  # the same picture in another file
    with pytest.raises(RunError, match=f"first that differs: .*{victim.name}"):
        reproduce(run.path, tmp_path / "again", quiet=True)
    assert not (tmp_path / "again").exists()


def test_a_run_that_is_not_complete_is_refused(untouched: Run, tmp_path: Path) -> None:
    run = copy_of(untouched, tmp_path)
    run.scale_file.unlink()
    with pytest.raises(RunError, match="is not complete"):
        reproduce(run.path, tmp_path / "again")


def test_a_run_that_was_compiled_on_a_gpu_is_done_again_elsewhere(untouched: Run, tmp_path: Path) -> None:
    run = copy_of(untouched, tmp_path)
    replace(run.settings(), compile=True).save(run.settings_file)
    found = reproduce(run.path, tmp_path / "again", quiet=True)
    assert found.identical and found.run.settings().compile is False
