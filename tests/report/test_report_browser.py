"""The page in a real browser: what a person sees and does, on real bottles where they are and on synthetic images."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import invad
from invad.reporting import report
from invad.side_by_side import report_beside

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SIZES = {"wide": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go, to be looked at."""
    given = os.environ.get("INVAD_SCREENSHOTS")
    folder = Path(given) if given else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def bottle_page(bottles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = Path(shutil.copytree(bottles, tmp_path_factory.mktemp("bottle-report") / "bottles"))
    invad.evaluate(run, bootstrap=20, quiet=True)
    return report(run)


@pytest.fixture(scope="module")
def small_page(two_runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(two_runs[0], out=tmp_path_factory.mktemp("small-report") / "report.html")


@pytest.fixture(scope="module")
def beside_page(two_runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report_beside(*two_runs, resamples=5, out=tmp_path_factory.mktemp("beside") / "beside.html", quiet=True)


@contextmanager
def opened(browser: "Browser", path: Path, *, size: str = "wide", scheme: Any = "light") -> Iterator["Page"]:
    """The page opened from disk; nothing leaves the file, and the console stays silent."""
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.resolve().as_uri())
    yield page
    assert [url for url in asked if not url.startswith("data:")] == [path.resolve().as_uri()]
    assert said == []
    page.close()


def read_scores(run: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Class -> scores and labels, from what the evaluation keeps."""
    lines = (run / "evaluation/images.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return {
        name: (
            np.array([row["score"] for row in rows if row["class"] == name], dtype=np.float32).astype(np.float64),
            np.array([row["defect"] != "good" for row in rows if row["class"] == name]),
        )
        for name in {row["class"] for row in rows}
    }


def check_counts(section: "Locator", scores: np.ndarray, bad: np.ndarray) -> float:
    """The counts in the page are those of Python at the threshold that it says it is at; return that."""
    threshold = float(section.get_attribute("data-threshold") or "nan")
    above = scores >= threshold
    expected = {
        "false_alarms": (above & ~bad).sum(),
        "misses": (~above & bad).sum(),
        "hits": (above & bad).sum(),
        "passed": (~above & ~bad).sum(),
    }
    for name, count in expected.items():
        shown = section.locator(f"[data-n={name}]").all_text_contents()
        assert shown and {int(text) for text in shown} == {count}, (name, threshold)
    rows = [int(text) for text in section.locator("[data-above]").all_text_contents()]
    assert rows[0] == expected["false_alarms"] and sum(rows[1:]) == expected["hits"]
    return threshold


def move_and_check(page: "Page", run: Path) -> None:
    """Move every class's slider over its whole range, onto scores and just above them, and count."""
    for name, (scores, bad) in read_scores(run).items():
        section = page.locator("article", has=page.get_by_role("heading", name=name, exact=True))
        slider = section.get_by_role("slider")
        start = check_counts(section, scores, bad)
        places = np.linspace(float(slider.get_attribute("min") or 0), float(slider.get_attribute("max") or 0), 9)
        for value in places.tolist():
            slider.evaluate(
                "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", repr(value)
            )
            assert check_counts(section, scores, bad) == pytest.approx(value, rel=1e-12)  # a slider rounds
        on_scores = np.sort(scores)[::5]
        for value in np.concatenate((on_scores, np.nextafter(on_scores, np.inf))).tolist():
            section.get_by_label("as a number").fill(repr(value))
            assert check_counts(section, scores, bad) == value
        slider.focus()
        for key in ("Home", "ArrowRight", "PageUp", "End"):
            page.keyboard.press(key)
            check_counts(section, scores, bad)
        section.get_by_label("as a number").fill("0.3")
        assert check_counts(section, scores, bad) == 0.3
        section.locator("[data-cut]").first.click()
        assert check_counts(section, scores, bad) == start


@pytest.mark.shared
def test_the_counts_of_real_bottles_follow_the_slider(browser: "Browser", bottle_page: Path, shots: Path) -> None:
    run = bottle_page.parents[1]
    calibration = json.loads((run / "calibration.json").read_text(encoding="utf-8"))
    with opened(browser, bottle_page) as page:
        section = page.locator("article")
        assert float(section.get_attribute("data-threshold") or 0) == calibration["classes"]["bottle"]["image"]
        assert "that the run is calibrated to" in section.inner_text()
        move_and_check(page, run)
        section.screenshot(path=shots / "bottle-class.png")


def test_the_counts_of_several_classes_follow_their_sliders(
    browser: "Browser", small_page: Path, two_runs: tuple[Path, Path]
) -> None:
    with opened(browser, small_page) as page:
        assert page.locator("article").count() == 4
        move_and_check(page, two_runs[0])


def test_the_dots_on_the_curves_are_where_the_rates_are(
    browser: "Browser", small_page: Path, two_runs: tuple[Path, Path]
) -> None:
    with opened(browser, small_page) as page:
        for name, (scores, bad) in read_scores(two_runs[0]).items():
            section = page.locator("article", has=page.get_by_role("heading", name=name, exact=True))
            above = scores >= check_counts(section, scores, bad)
            x, y = _dot(section, "roc-images")
            assert x == pytest.approx(above[~bad].mean(), abs=1e-3)
            assert y == pytest.approx(above[bad].mean(), abs=1e-3)
            covered = re.search(r"about ([\d.]+) %.* and ([\d.]+) % of the normal", section.inner_text())
            assert covered is not None
            if float(covered[2]) <= 30:
                x, y = _dot(section, "pro-regions")
                assert (30 * x, 100 * y) == pytest.approx((float(covered[2]), float(covered[1])), abs=0.1)


def _dot(section: "Locator", name: str) -> tuple[float, float]:
    """Where a dot is in its plot, in [0, 1]."""
    x, y = re.findall(r"[\d.]+", section.locator(f"[data-at={name}]").get_attribute("d") or "")[:2]
    return float(x) / 1000, 1 - float(y) / 1000


def test_the_gallery_is_gone_through_by_keyboard(browser: "Browser", small_page: Path, shots: Path) -> None:
    with opened(browser, small_page) as page:
        gallery = page.locator("[data-gallery]").first
        openers = gallery.locator("[data-open]")
        openers.nth(1).focus()
        page.keyboard.press("Enter")
        viewer = page.get_by_role("dialog")
        viewer.wait_for()
        count = openers.count()
        assert f"2 of {count}" in viewer.inner_text() and viewer.locator("svg").count() >= 3
        box = viewer.bounding_box()
        assert box is not None and box["y"] >= 0 and box["y"] + box["height"] <= SIZES["wide"][1]
        page.wait_for_timeout(600)  # the page scrolls smoothly to what has the focus
        page.screenshot(path=shots / "gallery-dialog.png")
        page.keyboard.press("ArrowRight")
        assert f"3 of {count}" in viewer.inner_text()
        for _ in range(3):
            page.keyboard.press("ArrowLeft")
        assert f"{count} of {count}" in viewer.inner_text()
        for _ in range(8):  # the focus goes round inside
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement === document.body || viewer.contains(document.activeElement)")
        page.keyboard.press("Escape")
        viewer.wait_for(state="hidden")
        assert openers.nth(count - 1).evaluate("one => document.activeElement === one")


def test_the_gallery_shows_one_kind_at_a_time(browser: "Browser", small_page: Path) -> None:
    with opened(browser, small_page) as page:
        gallery = page.locator("[data-gallery]").first
        everything = gallery.locator("[data-card]").count()
        gallery.get_by_role("button", name="Worst misses").click()
        shown = gallery.locator("[data-card]:visible")
        assert 0 < shown.count() < everything
        assert set(shown.evaluate_all("cards => cards.map(card => card.dataset.card)")) == {"miss"}
        assert gallery.locator(".group:visible").count() == gallery.locator(".group").count() - 1  # not the good ones
        gallery.get_by_role("button", name="All", exact=True).click()
        assert gallery.locator("[data-card]:visible").count() == everything


CONTRAST = """() => {
  const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92
    : ((c + 0.055) / 1.055) ** 2.4).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const numbers = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const found = numbers(getComputedStyle(one).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest("svg, script, .mark")) continue;
    const [a, b] = [numbers(getComputedStyle(element).color).slice(0, 3), behind(element)].map(luminance);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${element.tagName}.${element.className}: ${ratio.toFixed(2)}`);
  }
  return [...new Set(poor)];
}"""
"""Text whose contrast with what is behind it is below 4.5 : 1 (WCAG 2.2, 1.4.3)."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("which", ["small_page", "beside_page"])
def test_it_looks_right_light_and_dark_wide_and_on_a_phone(
    browser: "Browser", request: pytest.FixtureRequest, shots: Path, which: str, size: str, scheme: str
) -> None:
    with opened(browser, request.getfixturevalue(which), size=size, scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
        assert dark == (scheme == "dark")
        assert page.evaluate(CONTRAST) == []
        page.screenshot(path=shots / f"{which}-{size}-{scheme}.png", full_page=True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("which", ["small_page", "beside_page"])
def test_a_long_name_of_a_class_leaves_its_numbers_in_view(
    browser: "Browser", request: pytest.FixtureRequest, tmp_path: Path, which: str, size: str
) -> None:
    name = "fabric" * 40
    text = request.getfixturevalue(which).read_text(encoding="utf-8").replace("fabric", name)
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    with opened(browser, tmp_path / "page.html", size=size) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
        for table in page.locator("table.numbers").all():
            row = table.locator("tbody tr", has=page.get_by_role("rowheader", name=name))
            named, number = row.locator("th").bounding_box(), row.locator("td").first.bounding_box()
            assert named is not None and number is not None
            assert named["x"] + named["width"] <= number["x"] + 1
            assert number["x"] + number["width"] <= 0.75 * SIZES[size][0]


@pytest.mark.parametrize("which", ["small_page", "beside_page"])
def test_it_can_be_read_without_seeing_it(browser: "Browser", request: pytest.FixtureRequest, which: str) -> None:
    with opened(browser, request.getfixturevalue(which)) as page:
        unnamed = "all => all.filter(one => !(one.textContent.trim() || one.ariaLabel || one.labels?.length)).length"
        assert page.locator("button, input, a").evaluate_all(unnamed) == 0
        assert (
            page.locator("table").evaluate_all("all => all.filter(one => !one.querySelector('th[scope]')).length") == 0
        )
        untitled = "all => all.filter(one => !one.querySelector('title')).length"
        assert page.locator("svg[role=img]").evaluate_all(untitled) == 0
        assert page.locator("h1").count() == 1 and page.locator("html[lang=en]").count() == 1
        levels = page.locator("h1, h2, h3, h4, h5").evaluate_all("all => all.map(one => Number(one.tagName[1]))")
        assert all(after - before <= 1 for before, after in pairwise(levels))
        names = page.locator("[id]").evaluate_all("all => all.map(one => one.id)")
        assert len(names) == len(set(names))


SAID = """() => [...document.querySelectorAll("article")].map((section) => ({
  texts: [...section.querySelectorAll(".verdict, .row .count b")].map((one) => one.textContent),
  lines: [...section.querySelectorAll("[data-limit]")].map((one) => one.getBoundingClientRect().x),
  dots: [...section.querySelectorAll("[data-at]")].map((one) => one.getAttribute("d")),
}))"""
"""What the page says at its threshold."""


def test_on_paper_it_is_at_its_first_threshold(browser: "Browser", small_page: Path, shots: Path) -> None:
    with opened(browser, small_page) as page:
        first = page.evaluate(SAID)
        page.evaluate(f"addEventListener('beforeprint', () => {{ window.printed = ({SAID})(); }})")
        for value in page.get_by_label("as a number").all():
            value.fill("0.0001")
        moved = page.evaluate(SAID)
        assert all(one["texts"] != other["texts"] for one, other in zip(first, moved, strict=True))
        page.pdf(path=shots / "report.pdf", format="A4")
        assert (shots / "report.pdf").read_bytes().startswith(b"%PDF")
        assert page.evaluate("window.printed") == first
        assert page.evaluate(SAID) == moved
        page.emulate_media(media="print")
        for section in page.locator("article").all():
            said = re.search(r"The page starts at ([\d.]+), the threshold", section.inner_text())
            assert said is not None
            section.locator("[data-cut]").first.evaluate("one => one.click()")
            assert float(said[1]) == pytest.approx(float(section.get_attribute("data-threshold") or 0), rel=1e-5)


def test_without_its_script_it_is_the_same(browser: "Browser", small_page: Path) -> None:
    with opened(browser, small_page) as page:
        with_script = page.evaluate(SAID)
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(small_page.resolve().as_uri())
    for section, expected in zip(page.locator("article").all(), with_script, strict=True):
        assert section.locator(".verdict, .row .count b").all_text_contents() == expected["texts"]
        dots = [dot.get_attribute("d") or "" for dot in section.locator("[data-at]").all()]
        assert any(dots) and len(dots) == len(expected["dots"])
        for found, drawn in zip(dots, expected["dots"], strict=True):
            assert numbers(found) == pytest.approx(numbers(drawn), abs=0.2)  # the script has rates of 5 digits
    context.close()


def numbers(path: str) -> list[float]:
    """The numbers in SVG path data."""
    return [float(number) for number in re.findall(r"[\d.]+", path)]


@pytest.mark.shared
def test_real_bottles_look_right(browser: "Browser", bottle_page: Path, shots: Path) -> None:
    for size in SIZES:
        for scheme in ("light", "dark"):
            with opened(browser, bottle_page, size=size, scheme=scheme) as page:
                assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
                assert page.evaluate(CONTRAST) == []
                page.screenshot(path=shots / f"bottle-{size}-{scheme}.png", full_page=True)
