"""The page's own arithmetic, run in the browser and compared with Python's."""

import base64
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from desk import PATIENCE
from numpy.typing import NDArray
from served import server

from invad.inference.regions import find_regions
from invad.serving.pictures import values_png

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
PAGE = Path(__file__).parents[2] / "src/invad/serving/page"


@pytest.fixture(scope="module")
def modules(browser: "Browser", trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Page"]:
    """A page that the modules can be loaded into."""
    with server(trained, tmp_path_factory.mktemp("module-marks")) as served:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(served.url)
        yield page
        page.close()


def run(page: "Page", file: str, function: str, *values: Any) -> Any:
    """What a function of a module returns."""
    script = "async ([file, name, values]) => (await import(`/page/${file}`))[name](...values)"
    return page.evaluate(script, [file, function, list(values)])


def as_map(codes: NDArray[np.uint16]) -> dict[str, Any]:
    return {"codes": codes.ravel().tolist(), "width": codes.shape[1], "height": codes.shape[0]}


def test_a_map_is_read_to_the_last_bit(modules: "Page") -> None:
    values = np.random.default_rng(0).uniform(0, 2, (31, 57)).astype(np.float32)
    script = """async (text) => {
        const { readMap } = await import("/page/map.js");
        const map = await readMap(text);
        return { ...map, codes: [...map.codes] };
    }"""
    found = modules.evaluate(script, base64.b64encode(values_png(values)).decode())
    assert (found["height"], found["width"]) == values.shape
    assert found["codes"] == np.rint(values.astype(np.float64).ravel() * (65535 / 2)).astype(int).tolist()


@pytest.mark.parametrize("seed", range(4))
def test_regions_are_those_of_python(modules: "Page", seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width = random.integers(5, 40, 2)
    codes = (random.random((height, width)) ** 2 * 65536).astype(np.uint16)
    size = {"width": int(random.integers(3, 900)), "height": int(random.integers(3, 900))}
    values = codes * (2 / 65535)
    found = run(modules, "regions.js", "findRegions", as_map(codes), float(values.max() / 2), size)
    expected = find_regions(values.astype(np.float32), values.max() / 2, (size["height"], size["width"]))
    assert len(found) == len(expected) > 3
    boxes = [(one["x"], one["y"], one["x"] + one["width"], one["y"] + one["height"], one["area"]) for one in found]
    assert boxes == [(*one.box, one.area) for one in expected]
    assert [one["peak"] for one in found] == pytest.approx([one.peak for one in expected])


def test_outlines_are_closed_and_around_what_is_inside(modules: "Page") -> None:
    """Each end of a line is another's too; and a point's being inside, by counting crossings, is its value's."""
    codes = (np.random.default_rng(0).random((14, 17)) * 65536).astype(np.uint16)
    # The path is rounded to hundredths of a pixel: so no line comes close to a pixel's middle.
    codes[(codes > 25_000) & (codes < 40_000)] = 25_000
    path = run(modules, "map.js", "outline", as_map(codes), 32_000)
    lines = [[tuple(map(float, end.split())) for end in part.split("L")] for part in path.split("M")[1:]]
    ends = Counter(end for line in lines for end in line if 0 < end[0] < 17 and 0 < end[1] < 14)
    assert all(count % 2 == 0 for count in ends.values())
    for y, x in np.ndindex(codes.shape):
        crossings = 0
        level = y + 0.5 + 1e-4  # beside the ends of lines, which lie on multiples of a hundredth
        for (x1, y1), (x2, y2) in lines:
            if (y1 > level) != (y2 > level):
                crossings += x1 + (level - y1) * (x2 - x1) / (y2 - y1) > x + 0.5
        assert crossings % 2 == (codes[y, x] >= 32_000)


def test_the_colours_are_even(modules: "Page") -> None:
    """Equal steps of the map are equal steps of colour in Oklab, and ever lighter ones in CIELAB."""
    rgb = np.array(run(modules, "colours.js", "evenColours", 256)) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    # From linear sRGB to the cones' answers, and from their cube roots to Oklab (Ottosson 2020).
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    oklab = np.cbrt(linear @ cones.T) @ lab.T
    steps = np.linalg.norm(np.diff(oklab[::15], axis=0), axis=1)
    assert steps.std() / steps.mean() < 0.05
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    lightness = 116 * np.cbrt(luminance) - 16
    assert (np.diff(lightness) > -0.2).all() and lightness[-1] - lightness[0] > 55


def test_shares_of_the_distribution(modules: "Page") -> None:
    scores = np.sort(np.random.default_rng(0).gamma(3, 0.1, 500))
    quantiles = np.quantile(scores, np.linspace(0, 1, 101))
    for value in (-1, quantiles[0], 0.1, 0.25, 0.3, 0.9, quantiles[-1], 9):
        share = run(modules, "distribution.js", "shareBelow", quantiles.tolist(), float(value))
        assert share == pytest.approx(np.interp(value, quantiles, np.linspace(0, 1, 101)), abs=1e-12)
        assert share == pytest.approx(np.searchsorted(scores, value) / 500, abs=0.011)
    shares = run(modules, "distribution.js", "histogram", quantiles.tolist(), 0, 2, 40)
    assert sum(shares) == pytest.approx(1) and np.argmax(shares) == np.argmax(np.histogram(scores, 40, (0, 2))[0])
    assert [one["text"] for one in run(modules, "distribution.js", "ticks", 0.245, 0.47, 5)] == [
        "0.25",
        "0.30",
        "0.35",
        "0.40",
        "0.45",
    ]


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (1, "100 %"), (0.985, "98.5 %"), (0.9999, "99.9 %"), (1e-5, "0.1 %"), (0.25, "25 %")],
)
def test_a_share_never_rounds_to_all_or_none(modules: "Page", share: float, text: str) -> None:
    assert run(modules, "words.js", "percent", share).replace("\u00a0", " ") == text


@pytest.mark.parametrize(("name", "count"), [("own", 7), ("few", 90), ("", 90)])
def test_the_normal_images_that_a_score_is_compared_with(modules: "Page", name: str, count: int) -> None:
    """They are those of the class where the service names some, whatever decides: a threshold given by hand, too."""
    calibration = {"scores": [0, 1], "count": 90, "class_scores": {"own": [0, 2]}, "class_counts": {"own": 7, "few": 2}}
    found = run(modules, "model.js", "reference", {"thresholds": {"few": 1}, "calibration": calibration}, name)
    assert found == {"quantiles": [0, 2] if name == "own" else [0, 1], "count": count}


def test_which_images_leave_the_strip(modules: "Page") -> None:
    """Good ones first, then those without a decision, defective ones, and last what could not be inspected."""
    kinds = ["failed", "defective", "good", None, "good", "good", "good", "defective", "good"]
    entries = [
        {"state": "failed", "time": time}
        if kind == "failed"
        else {"state": "done", "time": time, "result": {"decision": kind}}
        for time, kind in enumerate(kinds)
    ]
    for most, expected in ((9, []), (8, [2]), (6, [2, 4, 5]), (3, [2, 4, 5, 6, 3, 1])):
        assert [one["time"] for one in run(modules, "work.js", "leaving", entries[::-1], most)] == expected


def test_no_address_of_another_host() -> None:
    """The files name none but XML's own name for SVG."""
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, path.name
        assert "<script>" not in text and " style=" not in text and " onclick=" not in text, path.name
