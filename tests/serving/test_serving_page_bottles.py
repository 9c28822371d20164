"""What a person does on the inspection page with real bottles, compared with what Python says of them."""

import csv
import io
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from desk import FAINT, PHONE, WIDE, desk, pictures
from numpy.typing import NDArray
from served import Server, server

import invad
from invad.data.images import read_size
from invad.inference.regions import find_regions

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["pictures"]
pytestmark = [pytest.mark.browser, pytest.mark.shared, pytest.mark.slow]


@pytest.fixture(scope="module")
def bottle_server(bottles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(bottles, tmp_path_factory.mktemp("bottle-marks")) as found:
        yield found


@pytest.fixture(scope="module")
def tested(shared: Path) -> Path:
    return shared / "data/mvtec/bottle/test"


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_defective_and_good_bottles(
    browser: "Browser",
    bottle_server: Server,
    bottles: Path,
    tested: Path,
    pictures: Path,
    scheme: str,
    size: tuple[int, int],
) -> None:
    """What the page says is what Python says; and everything fits the window and can be read."""
    predictor = invad.load(bottles, device="cpu")
    name = f"{'wide' if size[0] > 390 else 'phone'}-{scheme}"
    broken, good = tested / "broken_large/001.png", tested / "good/003.png"
    with desk(browser, bottle_server.url, pictures, scheme=scheme, size=size) as at:  # type: ignore[arg-type]
        at.page.locator("#model dt").first.wait_for()
        at.picture(f"{name}-empty")
        at.give(broken)
        expected = predictor(broken)
        assert expected.anomalous and expected.share_below == 1
        assert at.text("decision") == "Defective" and at.text("score") == f"{expected.score:.3f}"
        assert at.text("share") == "Higher than all 104 normal images it was calibrated on."
        rows = at.page.locator("#regions button").all_inner_texts()
        assert len(rows) == len(expected.regions)
        for row, region in zip(rows, expected.regions, strict=True):
            left, top, right, bottom = region.box
            assert f"{right - left} × {bottom - top} px" in row and f"peak {region.peak:.3f}" in row
        assert at.page.locator("#outline .line").get_attribute("d")
        at.give(tested / "broken_small/000.png", tested / "contamination/001.png", good, tested / "good/005.png")
        at.page.locator(f"[role=option][aria-label*='{predictor(good).score:.3f}']").first.click()
        at.settle()
        assert at.text("decision") == ("Defective" if predictor(good).anomalous else "Good")
        if not predictor(good).anomalous:
            assert at.text("regions-none").startswith("None") and not at.page.locator("#outline .line").get_attribute(
                "d"
            )
        scores = [float(label.split("score ")[1].split(",")[0]) for label in at.labels()]
        assert scores == sorted(scores, reverse=True) and len(scores) == 5
        at.options.first.click()
        at.settle()
        at.picture(name)
        assert at.page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert at.page.evaluate(FAINT) == []


def test_the_sliders(browser: "Browser", bottle_server: Server, bottles: Path, tested: Path, pictures: Path) -> None:
    """The opacity reaches the heatmap; the threshold moves decisions, outlines and regions, and says it is a view."""
    predictor = invad.load(bottles, device="cpu")
    paths = [tested / "broken_large/001.png", *sorted((tested / "good").glob("*.png"))[:4]]
    found = [predictor(path) for path in paths]
    with desk(browser, bottle_server.url, pictures) as at:
        at.give(*paths)
        at.slide("opacity", 35)
        assert at.page.locator("#heat").evaluate("heat => getComputedStyle(heat).opacity") == "0.35"
        at.press("h")
        assert at.page.locator("#heat").evaluate("heat => getComputedStyle(heat).opacity") == "0"
        at.press("h")
        outline = at.page.locator("#outline .line").get_attribute("d")
        assert predictor.scale is not None and found[0].map is not None
        low, high = predictor.scale.of("bottle")
        for cut in np.quantile([one.score for one in found], [0.1, 0.4, 0.9]).tolist():
            at.slide("threshold", cut)
            decisions = [", defective," in label for label in at.labels()]
            assert sum(decisions) == sum(one.score >= cut for one in found)
            assert at.text("threshold-text").startswith("Only a view: the service goes on deciding by ")
        cut = between(found[0].map, (low + min(high, found[0].score)) / 2)
        at.slide("threshold", cut)
        assert at.page.locator("#outline .line").get_attribute("d") != outline
        expected = find_regions(found[0].map, cut, read_size(paths[0]))
        rows = at.page.locator("#regions button").all_inner_texts()
        areas = [int(row.split("area ")[1].split("\n")[0].replace(",", "")) for row in rows]
        assert areas == [region.area for region in expected]
        at.picture("threshold")
        at.press("r")
        assert at.page.locator("#outline .line").get_attribute("d") == outline
        assert at.text("threshold-text").startswith("At the calibration's threshold 4.8 % of good images are expected")


def between(values: NDArray[np.float32], target: float) -> float:
    """A threshold near the target that lies clearly between two values: the page has them in 16 bits."""
    near = np.sort(values[abs(values - target) < 0.02])
    widest = int(np.diff(near).argmax())
    return float(near[widest : widest + 2].mean())


def test_marks_by_keyboard_then_calibrate_from_their_export(
    browser: "Browser", bottles: Path, tested: Path, pictures: Path, tmp_path: Path
) -> None:
    good = sorted((tested / "good").glob("*.png"))[:9]
    with (
        server(bottles, tmp_path / "marks") as served,
        desk(browser, served.url, pictures) as at,
        served.client() as client,
    ):
        at.page.locator("#part").select_option("bottle")
        at.give(tested / "broken_large/001.png", *good)
        at.options.first.focus()
        at.press("Home")
        at.press("g")
        at.page.locator("#mark-good[aria-pressed=true]").wait_for()
        at.press("u")
        at.page.locator("#mark-good[aria-pressed=false]").wait_for()
        assert client.get("/marks").json()["marks"] == []
        at.press("d")
        at.page.locator("#mark-defective[aria-pressed=true]").wait_for()
        for count in range(len(good)):
            at.press("ArrowRight")
            at.press("g")
            at.page.locator("#marks-count", has_text=str(count + 2)).wait_for()
        kept = client.get("/marks").json()["marks"]
        assert sorted(one["mark"] for one in kept) == ["defective", *["good"] * len(good)]
        assert {one["class_name"] for one in kept} == {"bottle"}
        at.press("m")
        at.page.locator("#marks-list img").last.wait_for()
        at.picture("marks", whole=False)
        with at.page.expect_download() as coming:
            at.page.locator("#export").click()
        assert coming.value.suggested_filename == "invad-marks.zip"
        with zipfile.ZipFile(coming.value.path()) as archive:
            archive.extractall(tmp_path / "export")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "export/good.csv").read_text())))
    assert len(rows) == len(good)
    copy = shutil.copytree(bottles, tmp_path / "copy")
    command = [
        "calibrate",
        copy,
        "--normal",
        tmp_path / "export/good.csv",
        "--false-alarms",
        "0.1",
        "--overwrite",
        "--quiet",
    ]
    subprocess.run([sys.executable, "-m", "invad", *map(str, command)], check=True)
    calibration = invad.load(copy, device="cpu").calibration
    assert calibration is not None
    predictor = invad.load(bottles, device="cpu")
    assert list(calibration.scores["bottle"]) == pytest.approx(sorted(predictor(path).score for path in good), abs=1e-6)
