"""The page: one file, everything in it, nothing else needed."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from invad.errors import SettingsError
from invad.metrics import KEYS, TITLES, Evaluator, Results
from invad.report import Example, ReportSummary, page, write_report
from invad.report.words import GROUPS, METRICS

NASTY = "<script>alert('x')</script>&\"nut\""
VOID = {"meta", "img", "link", "br", "path"}


class Nesting(HTMLParser):
    """Collects elements and their attributes; every tag must close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def evaluated(*, bootstrap: int = 0) -> list[Results]:
    rng = np.random.default_rng(0)
    maps = rng.random((8, 16, 16), dtype=np.float32)
    labels = np.array([False, True] * 4)
    masks = (maps > 0.9) & labels[:, None, None]
    evaluator = Evaluator()
    evaluator.update(maps, masks, [NASTY] * 4 + ["cable"] * 4, labels)
    return [evaluator.compute("exact", bootstrap=bootstrap), evaluator.compute("paper")]


def summary(title: str = "parts") -> ReportSummary:
    return ReportSummary(
        title=title,
        model="invad-lite",
        encoder="resnet34",
        data="mvtec:data",
        settings={"epochs": "300", "weights": NASTY},
        versions={"invad": "0.1.0"},
        created="2025-01-02 03:04 UTC",
        notes=("a note",),
    )


def example(class_name: str = "cable", *, anomalous: bool = True, size: int = 40) -> Example:
    rng = np.random.default_rng(1)
    return Example(
        class_name=class_name,
        defect="bent & torn" if anomalous else "good",
        path_label=f"test/{NASTY}/000.png",
        score=0.5,
        anomalous=anomalous,
        image=rng.integers(0, 256, (size, size, 3), dtype=np.uint8),
        anomaly_map=rng.random((16, 16), dtype=np.float32),
        mask=np.eye(16, dtype=bool) if anomalous else None,
        kind="best",
    )


SCORES = [("cable", "good", 0.1), ("cable", "good", 0.6), ("cable", "bent & torn", 0.5), (NASTY, "good", 0.2)]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    examples = [example(), example(anomalous=False), example(NASTY)]
    write_report(path, summary(NASTY), evaluated(bootstrap=5), examples, scores=SCORES)
    assert path.stat().st_size < 15_000_000
    return path.read_text(encoding="utf-8")


def test_the_page_needs_nothing_from_outside(text: str) -> None:
    elements = Nesting(text).elements
    assert not {tag for tag, _ in elements} & {"script", "link", "iframe", "object", "base"}
    for _, attributes in elements:
        for name in ("src", "href", "srcset", "data"):
            assert (attributes.get(name) or "#").startswith(("data:image/webp;base64,", "#"))
    assert not re.search(r"url\(|@import|https?://", text)
    assert "default-src 'none'" in text


def test_names_are_escaped(text: str) -> None:
    assert "<script" not in text and "&lt;script&gt;" in text and "bent &amp; torn" in text


def test_every_metric_is_shown_and_explained_for_both_protocols(text: str) -> None:
    assert tuple(key for _, keys in GROUPS for key in keys) == KEYS == tuple(METRICS)
    plain = re.sub(r"<sub>(.*?)</sub>", r"_\1", text)
    for key in KEYS:
        assert plain.count(f">{TITLES[key]}</th>") == 2
        assert f"<dt>{TITLES[key]}</dt>" in plain
    assert "Exact protocol" in text and "Paper protocol" in text
    for results in evaluated():
        for one in results.classes:
            assert all(f">{100 * value:.2f}" in text for value in one.values.values() if value is not None)


def test_intervals_scores_pictures_settings_and_notes_are_shown(text: str) -> None:
    assert "intervals from 5 resamples" in text and re.search(r"<small>\d+\.\d–\d+\.\d</small>", text)
    assert "1 of 2 good images score as high" in text
    assert "0 of 1 defective images score above every good image" in text
    assert text.count("<img ") == 3 + 2 + 3 and "no defect" in text
    assert all(
        part in text for part in ("a note", "epochs", "300", "2025-01-02 03:04 UTC", "prefers-color-scheme: dark")
    )


def test_missing_numbers_come_with_their_reason(tmp_path: Path) -> None:
    evaluator = Evaluator()
    maps = np.random.default_rng(0).random((3, 16, 16), dtype=np.float32)
    evaluator.update(maps, np.zeros((3, 16, 16), dtype=bool), ["nut"] * 3, np.zeros(3, dtype=bool))
    results = evaluator.compute("exact")
    write_report(tmp_path / "r.html", summary(), [results], [])
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    reason = results.classes[0].reasons["auroc_image"]
    assert f"nut, {TITLES['auroc_image']}: {reason}" in text and ">–" in text


def test_no_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="evaluate the run"):
        write_report(tmp_path / "r.html", summary(), [], [])


def test_pictures_shrink_and_then_are_left_out_to_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PICTURE_BUDGET", 60_000)
    path = tmp_path / "r.html"
    write_report(path, summary(), evaluated(), [example(size=400)])
    text = path.read_text(encoding="utf-8")
    assert text.count("<img ") == 3 and 'width="400"' not in text
    write_report(path, summary(), evaluated(), [example(size=400)] * 30)
    text = path.read_text(encoding="utf-8")
    assert 3 <= text.count("<img ") < 90 and "examples are left out" in text
    assert len(text) < 60_000 + 150_000


def test_the_same_input_gives_the_same_page(tmp_path: Path) -> None:
    pages = []
    for name in ("a", "b"):
        write_report(tmp_path / name, summary(), evaluated(), [example()], scores=SCORES, scale=(0.1, 0.9))
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1] and "≤ 0.1<" in pages[0].decode()
