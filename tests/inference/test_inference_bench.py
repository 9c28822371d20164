"""`invad bench` refuses what it cannot time or compute with, each by one sentence."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from invad.cli.main import run as invad_command
from invad.inference import opening

NUMBERS = [
    *(("--seconds", text, "above 0") for text in ("nan", "inf", "0", "-1")),
    *(("--price-per-hour", text, "0 or more") for text in ("nan", "inf", "-0.34")),
    *(("--watts", text, "0 or more") for text in ("nan", "inf", "-120")),
    ("--batches", "0", "above 0"),
]


@pytest.mark.parametrize(("name", "text", "expected"), NUMBERS)
def test_numbers_that_cannot_be_meant_are_refused(
    name: str, text: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invad_command(["bench", "model.onnx", name, text]) == 2
    shown = capsys.readouterr().err
    assert f"{name} must be a finite number" in shown and expected in shown and text in shown


@pytest.mark.parametrize(("name", "text"), [("empty.csv", "image,class\n"), ("empty.jsonl", "\n"), ("-", "")])
def test_nothing_to_time_it_on_is_said(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(opening, "open_model", lambda *_, **__: SimpleNamespace(scorer=None))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    assert invad_command(["bench", "model.onnx", "--images", name]) == 2
    shown = capsys.readouterr().err
    assert name in shown and ("no image is named" in shown or "names no image" in shown)
