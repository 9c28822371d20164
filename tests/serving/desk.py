"""The inspection page as a person uses it: in a real browser, on a real server, with an eye on what must not happen."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDE, PHONE = (1440, 1000), (390, 844)
PATIENCE = 120_000
"""Milliseconds until a page that hangs ends a test; not a bound on speed."""


@dataclass(kw_only=True, slots=True)
class Desk:
    """One open page."""

    page: "Page"
    pictures: Path
    """Where screenshots go."""
    problems: list[str] = field(default_factory=list)
    """Errors, refused content and requests to other hosts."""

    def drop(self, *paths: Path, at: tuple[int, int] = (200, 300)) -> None:
        """Drop files or folders as a file manager does; they come in at one place and are let go at another."""
        session = self.page.context.new_cdp_session(self.page)
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind, (x, y) in (("dragEnter", (200, 300)), ("dragOver", (200, 300)), ("drop", at)):
            session.send("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})
        session.detach()

    def give(self, *paths: Path) -> None:
        """Drop files, and wait until each is in the strip."""
        before = self.options.count()
        self.drop(*paths)
        self.options.nth(before + len(paths) - 1).wait_for()
        self.settle()

    def settle(self) -> None:
        """Wait until nothing is on its way and the page is drawn."""
        self.page.locator("#progress-row").wait_for(state="hidden")
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    @property
    def options(self) -> Any:
        """The images of the strip."""
        return self.page.locator("#strip [role=option]")

    def labels(self) -> list[str]:
        """What is said of each image of the strip, in its order."""
        return [str(text) for text in self.options.evaluate_all("all => all.map(one => one.ariaLabel)")]

    def text(self, name: str) -> str:
        """The text of the element with an id."""
        return str(self.page.locator(f"#{name}").inner_text()).replace("\u00a0", " ").strip()

    def slide(self, name: str, value: float) -> None:
        """Move a slider."""
        self.page.locator(f"#{name}").evaluate(
            "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', {bubbles: true})) }",
            value,
        )
        self.settle()

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)
        self.settle()

    def picture(self, name: str, *, whole: bool = True) -> None:
        """Keep a screenshot, to be looked at."""
        self.page.screenshot(path=self.pictures / f"page-{name}.png", full_page=whole)


@contextmanager
def desk(
    browser: "Browser",
    url: str,
    pictures: Path,
    *,
    scheme: Literal["light", "dark"] = "light",
    size: tuple[int, int] = WIDE,
    permissions: Sequence[str] = (),
    refusals: bool = False,
    before: str = "",
) -> Iterator[Desk]:
    """Open the page; at the end nothing must have gone wrong unseen.

    Args:
        browser: the browser.
        url: of the server.
        pictures: where screenshots go.
        scheme: the colours that the person likes.
        size: of the window.
        permissions: what the browser grants the page.
        refusals: whether answers that are no success belong to the test; browsers log them as errors.
        before: a script that runs before those of the page.
    """
    context = browser.new_context(
        color_scheme=scheme,
        viewport={"width": size[0], "height": size[1]},
        permissions=list(permissions),
        accept_downloads=True,
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE)
    context.add_init_script(before)
    page = context.new_page()
    found = Desk(page=page, pictures=pictures)

    def logged(kind: str, text: str) -> None:
        if kind in ("error", "warning") and not (refusals and text.startswith("Failed to load resource")):
            found.problems.append(f"{kind}: {text}")

    def asked(address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("blob", "data") and parts.netloc != urlsplit(url).netloc:
            found.problems.append(f"asked {address}")

    page.on("console", lambda message: logged(message.type, message.text))
    page.on("pageerror", lambda error: found.problems.append(f"raised {error}"))
    page.on("request", lambda request: asked(request.url))
    # Playwright looks out for file choosers only while somebody listens, and takes a moment to begin.
    page.on("filechooser", lambda _: None)
    try:
        page.goto(url)
        yield found
        assert found.problems == []
    except BaseException as error:
        error.add_note(f"problems: {found.problems}; in the strip: {found.labels()}")
        raise
    finally:
        context.close()


FOCUSED = """() => {
    const one = document.activeElement;
    const name = one.id || one.dataset.key || one.ariaLabel || one.tagName;
    const label = one.ariaLabel || one.labels?.[0]?.innerText || one.innerText || one.getAttribute("aria-labelledby");
    return [name, label, parseFloat(getComputedStyle(one).outlineWidth)];
}"""
"""Name, label and width of the outline of what has the focus."""

OVERFLOWING = """() => [...document.querySelectorAll("dialog[open], .card, .viewer, .recent")]
    .filter((one) => one.scrollWidth > one.clientWidth + 1)
    .map((one) => one.id || one.className)"""
"""What is wider inside than outside."""

FAINT = """() => {
    const numbers = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
    const light = (rgb) => {
        const [r, g, b] = rgb.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        for (let one = element; one; one = one.parentElement) {
            const colour = numbers(getComputedStyle(one).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const faint = [];
    for (const element of document.body.querySelectorAll("*")) {
        const words = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        const style = getComputedStyle(element);
        const skipped = "svg, :disabled, .unseen, option, noscript";
        if (!words || !element.checkVisibility() || element.closest(skipped)) continue;
        const [one, other] = [light(numbers(style.color)), light(ground(element))].sort((a, b) => b - a);
        const size = parseFloat(style.fontSize);
        const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        const ratio = (one + 0.05) / (other + 0.05);
        if (ratio < (large ? 3 : 4.5)) faint.push(`${element.textContent.trim()}: ${ratio.toFixed(2)}`);
    }
    return faint;
}"""
"""Texts whose contrast is below WCAG's AA."""


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: the folder that INVAD_SCREENSHOTS names, to look at them."""
    named = os.environ.get("INVAD_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
