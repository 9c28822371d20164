"""The page: one file, everything in it, nothing else needed."""

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from invad.colours import ColourScale
from invad.errors import SettingsError
from invad.metrics import KEYS, TITLES, Evaluator, Results
from invad.report import (
    ClassContent,
    Content,
    Cut,
    DataCheck,
    Example,
    Facts,
    LearningCurve,
    Published,
    gallery,
    write_report,
)
from invad.report.gallery import contours, shrink_mask
from invad.report.plots import path, up_to
from invad.report.words import GROUPS, METRICS

NASTY = "<script>alert('x')</script>&\"nut\""
VOID = {"meta", "img", "link", "br", "path", "image", "use", "input"}
DEFECTS = ("good", "bent & torn") * 2


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


def evaluated(*, bootstrap: int = 0) -> tuple[tuple[Results, ...], Evaluator, np.ndarray]:
    rng = np.random.default_rng(0)
    maps = rng.random((8, 16, 16), dtype=np.float32)
    labels = np.array([False, True] * 4)
    masks = (maps > 0.9) & labels[:, None, None]
    evaluator = Evaluator()
    evaluator.update(maps, masks, [NASTY] * 4 + ["cable"] * 4, labels)
    return (evaluator.compute("exact", bootstrap=bootstrap), evaluator.compute("paper")), evaluator, maps.max((1, 2))


def facts(title: str = "parts") -> Facts:
    return Facts(
        title=title,
        model="invad-lite",
        encoder="resnet34",
        data="mvtec:data",
        trained="2025-01-02 03:04 UTC",
        evaluated="2025-01-03 03:04 UTC",
        settings={"epochs": "300", "weights": NASTY},
        versions={"invad": "0.0.7"},
        evaluated_with={"invad": "0.0.8"},
        seeds_and_hashes={"model": "a" * 64},
        commands=("invad reproduce parts --out again",),
        notes=("a note",),
        images={"cable": (10, 2)},
    )


def example(class_name: str = "cable", *, anomalous: bool = True, size: int = 40) -> Example:
    rng = np.random.default_rng(1)
    return Example(
        class_name=class_name,
        defect="bent & torn" if anomalous else "good",
        label=f"test/{NASTY}/000.png",
        score=0.5,
        image=rng.integers(0, 256, (size, size, 3), dtype=np.uint8),
        anomaly_map=rng.random((16, 16), dtype=np.float32),
        mask=np.eye(16, dtype=bool) if anomalous else None,
        kind="miss" if anomalous else "alarm",
    )


def content(*examples: Example, bootstrap: int = 0, title: str = "parts") -> Content:
    results, evaluator, scores = evaluated(bootstrap=bootstrap)
    sweeps = evaluator.sweeps()
    cuts = (Cut(name="calibrated", value=0.99, origin="the calibrated threshold"),)
    return Content(
        facts=facts(title),
        results=results,
        published=Published(values=dict.fromkeys(KEYS, 12.3), classes=15, notes=("another encoder",)),
        classes=tuple(
            ClassContent(
                name=name, defects=DEFECTS, scores=own, cuts=cuts, pixel_cut=cuts[0], sweep=sweeps[name], notes=()
            )
            for name, own in (("cable", scores[4:]), (NASTY, scores[:4]))
        ),
        examples=examples,
        scale=ColourScale(0.1, 0.9),
        curve=LearningCurve(learnt=((1.0, 2.0), (2.0, 1.0)), smoothed=((1.0, 2.0), (2.0, 1.5)), held_back=()),
        check=DataCheck(said="looked at", errors=("error: a leak",), warnings=("odd sizes",)),
    )


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, content(example(), example(anomalous=False), example(NASTY), bootstrap=5, title=NASTY))
    assert path.stat().st_size < 15_000_000
    return path.read_text(encoding="utf-8")


def test_the_page_needs_nothing_from_outside(text: str) -> None:
    elements = Nesting(text).elements
    assert not {tag for tag, _ in elements} & {"link", "iframe", "object", "base", "form"}
    for _, attributes in elements:
        for name in ("src", "href", "srcset", "data"):
            assert (attributes.get(name) or "#").startswith(("data:image/webp;base64,", "#"))
    assert not re.search(r"url\(|@import|https?://", text)
    assert "default-src 'none'" in text


def test_only_the_pages_own_script_may_run(text: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text and "<script>alert" not in text
    assert not re.search(r"\son\w+=", re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))


def test_names_are_escaped(text: str) -> None:
    assert "&lt;script&gt;" in text and "bent &amp; torn" in text
    (data,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert {one["name"] for one in json.loads(data).values()} == {"cable", NASTY}


def test_scores_in_the_page_are_the_scores_to_the_bit(text: str) -> None:
    (data,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    scores = evaluated()[2]
    found = json.loads(data)
    for key, own in (("class-1", scores[4:]), ("class-2", scores[:4])):
        good, bad = found[key]["groups"]
        assert good["good"] and not bad["good"]
        assert np.array_equal(np.array(good["scores"], dtype=np.float32), np.sort(own[::2]))
        assert np.array_equal(np.array(bad["scores"], dtype=np.float32), np.sort(own[1::2]))


def test_every_metric_is_shown_and_explained_for_both_protocols(text: str) -> None:
    assert tuple(key for _, keys in GROUPS for key in keys) == KEYS == tuple(METRICS)
    plain = re.sub(r"<sub>(.*?)</sub>", r"_\1", text)
    for key in KEYS:
        assert plain.count(f">{TITLES[key]}</th>") == 2
        assert f"<dt>{TITLES[key]}</dt>" in plain
    assert "Exact protocol" in text and "Paper protocol" in text
    for results in evaluated()[0]:
        for one in results.classes:
            assert all(f"{100 * value:.2f}" in text for value in one.values.values() if value is not None)


def test_the_published_row_stands_beside_the_paper_protocol(text: str) -> None:
    assert text.count(">published</th>") == 1 and text.count("12.3</td>") == len(KEYS)
    assert "the mean over 15 classes" in text and ">difference</th>" not in text and "another encoder" in text


def test_best_and_worst_class_are_marked(text: str) -> None:
    exact = evaluated()[0][0]
    both = [key for key in KEYS if len({one.values[key] for one in exact.classes}) == 2]
    assert len(re.findall(r'<td class="best"', text)) == len(re.findall(r'<td class="worst"', text)) >= len(both)
    assert "best class: " in text and "worst class: " in text


def test_facts_intervals_pictures_and_notes_are_shown(text: str) -> None:
    assert "intervals from 5 resamples" in text and re.search(r"<small>\d+\.\d–\d+\.\d</small>", text)
    assert text.count("<image ") == 2 * 3 and "no defect" in text
    shown = ("a note", "epochs", "300", "2025-01-02 03:04 UTC", "0.0.7", "0.0.8", "a leak", "odd sizes", "looked at")
    assert all(part in text for part in (*shown, "prefers-color-scheme: dark", "invad reproduce parts"))
    assert "Learning curve" in text and "starts at 0.99, the calibrated threshold" in text


def test_missing_numbers_come_with_their_reason(tmp_path: Path) -> None:
    evaluator = Evaluator()
    maps = np.random.default_rng(0).random((3, 16, 16), dtype=np.float32)
    evaluator.update(maps, np.zeros((3, 16, 16), dtype=bool), ["nut"] * 3, np.zeros(3, dtype=bool))
    results = evaluator.compute("exact")
    bare = ClassContent(name="nut", defects=("good",) * 3, scores=maps.max((1, 2)), cuts=(), pixel_cut=None, sweep=None)
    page = dataclasses.replace(content(), results=(results,), classes=(bare,), published=None)
    write_report(tmp_path / "r.html", page)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    reason = results.classes[0].reasons["auroc_image"]
    assert f"nut, {TITLES['auroc_image']}: {reason}" in text and "–" in text


def test_no_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="evaluate the run"):
        write_report(tmp_path / "r.html", dataclasses.replace(content(), results=()))


def test_pictures_shrink_and_then_are_left_out_to_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "PICTURE_BUDGET", 60_000)
    path = tmp_path / "r.html"
    write_report(path, content(example(size=400)))
    text = path.read_text(encoding="utf-8")
    assert text.count("<image ") == 2 and 'width="400"' not in text
    write_report(path, content(*[example(size=400)] * 30))
    text = path.read_text(encoding="utf-8")
    assert 2 <= text.count("<image ") < 60 and "are left out" in text
    assert len(text) < 60_000 + 250_000


def test_the_same_input_gives_the_same_page(tmp_path: Path) -> None:
    pages = []
    for name in ("a", "b"):
        write_report(tmp_path / name, content(example()))
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1] and "Colours begin at 0.1 and are full at 0.9." in pages[0].decode()


def test_outlines_go_round_each_region_and_its_holes() -> None:
    ring = np.zeros((40, 40), dtype=bool)
    ring[5:35, 5:35] = True
    ring[15:25, 15:25] = False
    found = contours(ring, (80, 80))
    assert found.count("Z") == 2
    corners = np.array([float(number) for number in re.findall(r"[\d.]+", found)])
    assert corners.min() == 10.5 and corners.max() == 69.5
    assert contours(np.zeros((4, 4), dtype=bool), (8, 8)) == ""


def test_a_thin_defect_is_not_lost_in_a_small_picture() -> None:
    mask = np.zeros((1000, 1000), dtype=bool)
    mask[500] = True
    assert shrink_mask(mask, 100).any(axis=0).all()


def test_paths_end_at_the_limit_of_their_axis() -> None:
    x, y = up_to(np.array([0.0, 0.1, 0.5]), np.array([0.0, 0.6, 1.0]), 0.3)
    assert path(x / 0.3, y) == "M0 1000L333.3 400L1000 200"
