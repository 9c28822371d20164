"""What a person does on the inspection page, done in a browser on a real server."""

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from desk import FOCUSED, OVERFLOWING, PHONE, desk, pictures
from PIL import Image
from served import Server, png, server

import invad

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

__all__ = ["pictures"]
pytestmark = pytest.mark.browser
TOKEN = "a-token-of-enough-letters"


@pytest.fixture(scope="module")
def parts_server(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(trained, tmp_path_factory.mktemp("parts-marks"), "--body-bytes", "200000") as found:
        yield found


def test_what_cannot_be_inspected(
    browser: "Browser", parts_server: Server, images: list[Path], pictures: Path, tmp_path: Path
) -> None:
    """A broken file and one too large say why, come first in the strip, and stop nothing; a folder is walked."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("left out")
    (folder / "large.png").write_bytes(png(400, 400))
    shutil.copy(images[0], folder / "part.png")
    with desk(browser, parts_server.url, pictures, refusals=True) as at:
        at.drop(folder)  # at once: what is given before the service has said who it is waits for that
        at.options.nth(2).wait_for()
        at.settle()
        labels = at.labels()
        assert len(labels) == 3
        assert {label.split(",")[0] for label in labels[:2]} == {"broken.jpg", "large.png"}
        assert any("is not an image that can be read" in label for label in labels)
        assert any("the service takes at most 195 kB" in label for label in labels)
        at.options.first.click()
        at.settle()
        assert at.text("decision") == "Could not be inspected" and at.page.locator("#retry").is_visible()
        assert "2 could not be inspected" in at.text("recent-counts")
        at.picture("unreadable")


LOCKS = """() => {
    const locked = ({ name }, call, lost) => (name.startsWith("locked") ? lost(new DOMException()) : call());
    const lock = (entry) => ({
        name: entry.name, isFile: entry.isFile, isDirectory: entry.isDirectory,
        file: (found, lost) => locked(entry, () => entry.file(found, lost), lost),
        createReader: () => {
            const reader = entry.createReader();
            const read = (found, lost) => reader.readEntries((some) => found(some.map(lock)), lost);
            return { readEntries: (found, lost) => locked(entry, () => read(found, lost), lost) };
        },
    });
    const given = DataTransferItem.prototype.webkitGetAsEntry;
    DataTransferItem.prototype.webkitGetAsEntry = function () { return lock(given.call(this)); };
}"""
"""What is called `locked` cannot be read, whoever runs the test."""


def test_folders_with_what_is_no_image(
    browser: "Browser", parts_server: Server, images: list[Path], pictures: Path, tmp_path: Path
) -> None:
    """What cannot be read is counted, hidden files are left out, and a folder without images says so."""
    folder, empty = tmp_path / "folder", tmp_path / "empty"
    for one in (folder / "locked", folder / ".Trashes", empty):
        one.mkdir(parents=True)
    for name in ("part.png", "locked.png", "._part.png", "locked/part.png", ".Trashes/part.png"):
        shutil.copy(images[0], folder / name)
    (empty / "notes.txt").write_text("left out")
    with desk(browser, parts_server.url, pictures) as at:
        at.page.locator("#model dt").first.wait_for()
        at.page.evaluate(LOCKS)
        at.give(folder)
        assert [label.split(",")[0] for label in at.labels()] == ["part.png"]
        assert at.text("banner") == "2 files or folders could not be read."
        at.drop(empty)
        at.page.locator("#banner", has_text="No images were found").wait_for()
        at.settle()
        assert at.options.count() == 1


def test_more_images_than_the_strip_keeps(
    browser: "Browser", parts_server: Server, images: list[Path], pictures: Path, tmp_path: Path
) -> None:
    """Good ones leave first, what leaves is counted, and nothing of it stays in memory, whoever still knows of it."""

    def enlarge(route: "Route") -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "image_size": [4096, 2048]})  # room for eight

    broken = [tmp_path / f"broken{number}.png" for number in range(2)]
    for path in broken:
        path.write_bytes(b"no image")
    with parts_server.client() as client:

        def score(path: Path) -> float:
            found = client.post("/predict", files={"files": path.read_bytes()}).json()["results"][0]["score"]
            return float(found)

        good = sorted((images[0].parents[1] / "good").iterdir(), key=score)  # first what the model, too, calls good
    with desk(browser, parts_server.url, pictures, refusals=True) as at:
        at.page.route("**/info", enlarge)
        at.page.reload()
        at.page.locator("#model dt").first.wait_for()
        at.give(good[0])
        at.press("g")
        at.page.locator("#undo:enabled").wait_for()
        at.give(*broken)
        at.drop(*good[1:])
        at.page.locator("#left", has_text="left the strip").wait_for()
        at.settle()
        assert {path.name for path in broken} <= {label.split(",")[0] for label in at.labels()}
        left = re.fullmatch("([0-9]+) older images left the strip: ([0-9]+) good.", at.text("left"))
        assert left is not None and left[1] == left[2], at.text("left")
        assert at.options.count() + int(left[1]) == len([*broken, *good])
        known = """async () => {
            const { entry } = (await import("/page/state.js")).state.undo[0];
            return [entry.name, entry.map, entry.thumb, entry.option, entry.result.map];
        }"""
        assert at.page.evaluate(known) == [good[0].name, None, None, None, None]
        at.page.locator("#clear").click()
        at.settle()
        assert at.page.locator("#left").is_hidden()


def test_what_the_browser_cannot_show(
    browser: "Browser", parts_server: Server, images: list[Path], pictures: Path, tmp_path: Path
) -> None:
    """TIFF files are inspected like others, on a picture that the service makes."""
    path = tmp_path / "scan.tif"
    with Image.open(images[-1]) as image:
        image.save(path)
    with desk(browser, parts_server.url, pictures) as at:
        at.give(path)
        assert at.text("viewer-note").startswith("The browser cannot show this kind of file")
        assert at.page.locator("#image").evaluate("image => image.naturalWidth") > 0


def test_wide_numbers_on_a_phone(browser: "Browser", parts_server: Server, pictures: Path, tmp_path: Path) -> None:
    """A region of twelve megapixels fits, and so do the dialogs."""
    path = tmp_path / "a-name-without-any-place-to-break-it-that-is-longer-than-the-window-is-wide.png"
    Image.new("RGB", (4000, 3000), (120, 130, 140)).save(path)
    with desk(browser, parts_server.url, pictures, size=PHONE) as at:
        at.give(path)
        at.slide("threshold", float(at.page.locator("#threshold").get_attribute("min") or 0))
        assert "score" in at.labels()[0]
        at.page.locator("#regions button").first.wait_for()
        assert "4,000 × 3,000 px" in at.page.locator("#regions button").first.inner_text()
        at.picture("phone-wide-numbers")
        for key in ("", "?", "m", "c"):
            if key:
                at.page.keyboard.press(key)
                at.page.locator("dialog[open]").wait_for()
            assert at.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
            assert at.page.evaluate(OVERFLOWING) == []
            at.page.keyboard.press("Escape")


def test_a_drop_on_what_was_reached_a_moment_ago(
    browser: "Browser", parts_server: Server, images: list[Path], pictures: Path
) -> None:
    """No element has to be hovered before it takes files, so one that moves below the pointer takes them too."""
    with desk(browser, parts_server.url, pictures) as at:
        at.page.locator("#model dt").first.wait_for()
        at.drop(images[0], at=(700, 30))
        at.options.first.wait_for()
        assert at.page.locator("#drop").is_hidden()


def test_pasting(browser: "Browser", parts_server: Server, images: list[Path], pictures: Path) -> None:
    with desk(browser, parts_server.url, pictures) as at:
        at.page.locator("#model dt").first.wait_for()
        at.page.evaluate(
            """(bytes) => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(bytes)], "image.png", { type: "image/png" }));
                document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
            }""",
            list(images[0].read_bytes()),
        )
        at.options.first.wait_for()
        assert at.labels()[0].startswith("pasted ")


def test_a_full_queue_is_waited_for(
    browser: "Browser", trained: Path, images: list[Path], pictures: Path, tmp_path: Path
) -> None:
    """While others fill the queue the page says so and tries again; nothing is lost."""
    enough = threading.Event()
    large = png(2000, 2000)
    with server(trained, tmp_path / "marks", "--queue", "1", "--batch", "1") as served:

        def fill() -> None:
            with served.client() as client:
                while not enough.is_set():
                    assert client.post("/predict", files={"files": ("large.png", large)}).status_code in (200, 503)

        others = [threading.Thread(target=fill) for _ in range(3)]
        for one in others:
            one.start()
        try:
            with desk(browser, served.url, pictures, refusals=True) as at:
                at.page.locator("#model dt").first.wait_for()
                at.drop(*images[:8])
                at.page.locator("#progress-text", has_text="The service is busy; trying again in").wait_for()
                at.picture("busy", whole=False)
                enough.set()
                at.options.nth(7).wait_for()
                at.settle()
                assert not any("error" in label for label in at.labels())
        finally:
            enough.set()
            for one in others:
                one.join()


def test_the_service_goes_away_and_comes_back(
    browser: "Browser", trained: Path, images: list[Path], pictures: Path, tmp_path: Path
) -> None:
    """Images wait for it, marks are where they were, and a file that went meanwhile stops nothing."""
    with server(trained, tmp_path / "marks") as first, desk(browser, first.url, pictures, refusals=True) as at:
        at.give(images[0])
        at.press("d")
        at.page.locator("#marks-count", has_text="1").wait_for()
        port = first.port
        assert first.stop() == 0
        doomed = shutil.copy(images[2], tmp_path / "doomed.png")
        at.drop(images[1], doomed)
        at.page.locator("#progress-text", has_text="The service does not answer; trying again in").wait_for()
        doomed.unlink()
        at.picture("away", whole=False)
        with server(trained, tmp_path / "marks", "--port", str(port)):
            at.options.nth(2).wait_for()
            at.settle()
            assert ["doomed.png is gone or was changed" in label for label in at.labels()] == [True, False, False]
            at.page.reload()
            at.page.locator("#marks-count", has_text="1").wait_for()
            at.give(images[0])
            assert at.labels()[0].endswith("marked really defective")


CUT = """() => {
    const ask = window.fetch;
    window.fetch = async (...values) => {
        window.fetch = ask;
        const bytes = new Uint8Array(await (await ask(...values)).arrayBuffer());
        const half = bytes.slice(0, bytes.length / 2);
        return new Response(new ReadableStream({ pull: (stream) => {
            if (stream.sent) return stream.error(new TypeError("network error"));
            stream.sent = true;
            stream.enqueue(half);
        }}));
    };
}"""
"""The next answer ends in its middle, as where a connection is lost."""


def test_an_answer_cut_off_midway(browser: "Browser", parts_server: Server, images: list[Path], pictures: Path) -> None:
    """The image waits and is sent again, as where no answer came at all."""
    with desk(browser, parts_server.url, pictures) as at:
        at.page.locator("#model dt").first.wait_for()
        at.page.evaluate(CUT)
        at.drop(images[0])
        at.page.locator("#progress-text", has_text="The service does not answer; trying again in").wait_for()
        at.options.first.wait_for()
        assert "score" in at.labels()[0]


def test_another_calibration_is_noticed(
    browser: "Browser", trained: Path, images: list[Path], pictures: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    with (
        server(run, tmp_path / "marks") as served,
        desk(browser, served.url, pictures) as at,
        served.client() as client,
    ):
        at.give(images[0])
        before = at.text("threshold-value")
        calibration = json.loads((run / "calibration.json").read_text())
        calibration["overall"]["image"] = calibration["overall"]["pixel"] = 1.5
        (run / "calibration.json").write_text(json.dumps(calibration))
        assert client.post("/reload").status_code == 200
        assert at.text("threshold-value") == before
        at.give(images[1])
        assert at.text("threshold-value") == "1.500"


RELOADS = """(models) => {
    const ask = window.fetch;
    window.fetch = async (address, options) => {
        const answer = await ask(address, options);
        const path = new URL(address).pathname;
        if (!["/info", "/predict"].includes(path)) return answer;
        const state = path === "/info" ? window.serving : window.answers.shift();
        return Response.json({ ...(await answer.json()), state, ...(path === "/info" && models[state]) });
    };
}"""
"""Models as /info describes them; `serving` is the one there now, `answers` names those of the next answers."""


def test_answers_around_a_reload(browser: "Browser", parts_server: Server, images: list[Path], pictures: Path) -> None:
    """Each image goes by what /info said of the model that scored it, however late its answer comes."""
    models = {name: {"checksum": name * 64, "scale": [low, 1.5]} for name, low in (("a", 0.25), ("b", 0.5))}
    with desk(browser, parts_server.url, pictures) as at:
        at.page.locator("#model dt").first.wait_for()
        at.page.evaluate(RELOADS, models)
        steps = (
            ("a", "a", "a"),
            ("b", "b", "b"),
            ("b", "a", "a"),  # late
            ("b", "cb", "b"),  # c is replaced before the page asks for it; so the image is scored again
            ("a", "a", "a"),  # back again
        )
        for path, (serving, answers, by) in zip(images, steps, strict=False):
            at.page.evaluate(
                "([serving, answers]) => Object.assign(window, { serving, answers })", [serving, [*answers]]
            )
            at.give(path)
            assert at.page.evaluate("window.answers") == []
            assert at.text("legend-low") == f"≤ {models[by]['scale'][0]:.3f}"
            assert ("scored by an earlier model" in at.text("file")) == (by != serving)
            assert at.text("model-chip").endswith(serving * 8)


@pytest.fixture(scope="module")
def fewer(data: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained on all classes but the first."""
    settings = invad.TrainSettings(
        data=(f"folder:{data}",),
        classes=invad.Run.open(trained).trained_classes()[1:],
        encoder="analytic",
        image_size=(64,),
        blocks=(1, 1, 1),
        epochs=3,
        batch_size=8,
    )
    return invad.train(settings, tmp_path_factory.mktemp("fewer") / "run", quiet=True).path


def test_a_model_without_the_chosen_part(
    browser: "Browser", trained: Path, fewer: Path, images: list[Path], pictures: Path, tmp_path: Path
) -> None:
    """The page says so, offers the parts that there are now, and goes on with the one chosen then."""
    gone, there = invad.Run.open(trained).trained_classes()[:2]
    run = shutil.copytree(trained, tmp_path / "run")
    with (
        server(run, tmp_path / "marks") as served,
        desk(browser, served.url, pictures, refusals=True) as at,
        served.client() as client,
    ):
        at.page.locator("#part").select_option(gone)
        shutil.rmtree(run)
        shutil.copytree(fewer, run)
        assert client.post("/reload").status_code == 200
        at.give(images[0])
        assert f"which does not know the part {gone}" in at.text("failure-text")
        assert f"which does not know the part {gone}" in at.text("banner")
        assert gone not in at.page.locator("#part option").all_inner_texts()
        at.page.locator("#part").select_option(there)
        at.page.locator("#retry").click()
        at.page.locator("#file", has_text=f"as {there}").wait_for()
        at.settle()
        assert "score" in at.labels()[0]


def test_marks_of_two_people(
    browser: "Browser", trained: Path, images: list[Path], pictures: Path, tmp_path: Path
) -> None:
    """What another person marked is neither overwritten nor undone unseen, and comes back by an undo as it was."""
    id = hashlib.sha256(images[0].read_bytes()).hexdigest()
    with (
        server(trained, tmp_path / "marks") as served,
        desk(browser, served.url, pictures) as at,
        served.client() as client,
    ):

        def mark_elsewhere() -> None:
            assert client.put(f"/marks/{id}", json={"mark": "defective", "name": "theirs"}).status_code == 200

        def kept() -> list[tuple[str, str]]:
            return [(one["mark"], one["name"]) for one in client.get("/marks").json()["marks"]]

        at.give(images[0])
        mark_elsewhere()
        at.press("g")
        at.page.locator("#banner", has_text="somebody else marked it really defective meanwhile").wait_for()
        at.settle()
        assert at.labels()[0].endswith("marked really defective") and kept() == [("defective", "theirs")]
        assert at.page.locator("#undo").is_disabled()
        at.press("g")  # now that it is seen
        at.page.locator("#mark-good[aria-pressed=true]").wait_for()
        assert kept() == [("good", images[0].name)]
        at.press("u")
        at.page.locator("#mark-defective[aria-pressed=true]").wait_for()
        assert kept() == [("defective", "theirs")]
        at.press("d")
        at.page.locator("#marks-count", has_text="0").wait_for()
        at.press("g")
        at.page.locator("#mark-good[aria-pressed=true]").wait_for()
        mark_elsewhere()
        at.press("u")
        at.page.locator("#mark-defective[aria-pressed=true]").wait_for()
        assert kept() == [("defective", "theirs")] and at.page.locator("#undo").is_disabled()


def test_removing_a_mark_is_confirmed(
    browser: "Browser", trained: Path, images: list[Path], pictures: Path, tmp_path: Path
) -> None:
    with server(trained, tmp_path / "marks") as served, desk(browser, served.url, pictures) as at:
        at.give(images[0])
        at.press("g")
        at.page.locator("#undo:enabled").wait_for()
        at.press("m")
        button = at.page.locator("#marks-list button")
        at.page.once("dialog", lambda dialog: dialog.dismiss())
        button.click()
        assert button.count() == 1 and at.text("marks-count") == "1"
        at.page.once("dialog", lambda dialog: dialog.accept())
        button.click()
        at.page.locator("#marks-text", has_text="No image is marked yet").wait_for()
        at.settle()
        assert at.text("marks-count") == "0" and at.page.locator("#undo").is_disabled()


@pytest.fixture(scope="module")
def token_server(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("token")
    (folder / "token").write_text(TOKEN)
    with server(trained, folder / "marks", "--token-file", str(folder / "token")) as found:
        yield found


def test_the_token(browser: "Browser", token_server: Server, images: list[Path], pictures: Path) -> None:
    """It is asked for, refused when wrong, sent when right, and gone with the tab."""
    with desk(browser, token_server.url, pictures, refusals=True) as at:
        box = at.page.locator("#token-input")
        for answer in ("", "wrong"):
            box.fill(answer)
            at.picture("token", whole=False)
            if answer:
                at.page.keyboard.press("Enter")
                at.page.locator("#token-text", has_text="The token was not taken").wait_for()
            for _ in range(4):  # Chrome closes at the second, whatever the page says
                at.page.keyboard.press("Escape")
            at.settle()
            box.wait_for()
        at.drop(images[1])
        at.page.locator("#banner", has_text="The images wait until the token is given").wait_for()
        box.fill(TOKEN)
        at.page.keyboard.press("Enter")
        at.page.locator("#model dt").first.wait_for()
        at.options.first.wait_for()
        assert at.page.locator("#banner").is_hidden()
        at.give(images[0])
        at.press("g")
        at.page.locator("#marks-count", has_text="1").wait_for()
        at.press("m")
        image = at.page.locator("#marks-list img")
        image.wait_for()
        at.page.wait_for_function("image => image.naturalWidth > 0", arg=image.element_handle())
        assert at.page.evaluate("Object.values(localStorage).join() + document.cookie") == ""
        assert at.page.evaluate("Object.values(sessionStorage).join()") == TOKEN


@pytest.mark.parametrize(
    "wrong",
    [TOKEN.replace("-", "\N{EN DASH}"), f"\N{ZERO WIDTH SPACE}{TOKEN}", f"{TOKEN}\N{LATIN SMALL LETTER E WITH ACUTE}"],
)
def test_a_token_that_no_header_can_carry(browser: "Browser", token_server: Server, pictures: Path, wrong: str) -> None:
    """Chats put typographic signs into what is pasted from them: the page says so and asks again."""
    with desk(browser, token_server.url, pictures, refusals=True) as at:
        box = at.page.locator("#token-input")
        sentence = at.page.locator("#token-text", has_text="a token has only plain letters, digits and signs")
        box.fill(wrong)
        at.page.keyboard.press("Enter")
        sentence.wait_for()
        at.page.reload()
        sentence.wait_for()
        assert at.page.locator("#banner").is_hidden()
        box.fill(f" {TOKEN} ")
        at.page.keyboard.press("Enter")
        at.page.locator("#model dt").first.wait_for()


def test_where_the_browser_keeps_nothing(
    browser: "Browser", token_server: Server, images: list[Path], pictures: Path
) -> None:
    """With site data blocked all works; what was chosen is forgotten when the page is loaded again."""
    blocked = """for (const name of ["localStorage", "sessionStorage"])
        Object.defineProperty(window, name, { get() { throw new DOMException("denied", "SecurityError"); } });"""
    with desk(browser, token_server.url, pictures, refusals=True, before=blocked) as at:
        box = at.page.locator("#token-input")
        for _ in range(2):
            box.fill(TOKEN)
            at.page.keyboard.press("Enter")
            at.page.locator("#model dt").first.wait_for()
            at.give(images[0])
            for on in (False, True):
                at.press("?")
                at.page.locator("#keys-on").set_checked(on)
                at.page.keyboard.press("Escape")
                before = at.text("opacity-value")
                at.press("h")
                assert (at.text("opacity-value") != before) is on
            at.page.reload()
        box.wait_for()


def test_by_keyboard_alone(browser: "Browser", parts_server: Server, images: list[Path], pictures: Path) -> None:
    """Every control is reached by Tab, has a name and shows its focus; letters do the rest."""
    with desk(browser, parts_server.url, pictures) as at:
        at.page.locator("#model dt").first.wait_for()
        with at.page.expect_file_chooser() as choosing:
            at.page.keyboard.press("o")
        choosing.value.set_files(images[-3:])
        at.options.nth(2).wait_for()
        at.settle()
        at.press("g")
        at.page.locator("#undo:enabled").wait_for()
        reached = []
        for _ in range(60):
            at.page.keyboard.press("Tab")
            name, label, outline = at.page.evaluate(FOCUSED)
            if name == "BODY" or name in reached:
                break
            assert label, f"{name} has no name"
            assert outline >= 2, f"{name} does not show its focus"
            reached.append(name)
        wanted = "marks-open help-open choose camera-open part opacity outlines zoom mark-good mark-defective undo"
        assert {*wanted.split(), "threshold", "sort", "clear"} <= set(reached)
        assert any(name.startswith("image-") for name in reached)
        at.options.first.focus()
        for key, place in (("End", 2), ("ArrowLeft", 1), ("Home", 0), ("ArrowRight", 1)):
            at.press(key)
            assert at.options.nth(place).get_attribute("aria-selected") == "true"
            assert at.options.nth(place).evaluate("one => one === document.activeElement")
        at.page.locator("#help-open").focus()
        at.page.keyboard.press("Enter")
        at.page.locator("#help[open]").wait_for()
        at.picture("help", whole=False)
        at.page.locator("#keys-on").uncheck()
        at.page.keyboard.press("Escape")
        assert at.page.evaluate("document.activeElement.id") == "help-open"
        at.press("h")
        assert at.text("opacity-value") == "60 %"  # single letters are off
        at.press("?")
        at.page.locator("#keys-on").check()
        at.page.keyboard.press("Escape")
        at.press("h")
        assert at.text("opacity-value") == "off"


@pytest.mark.parametrize("case", ["there", "refused", "none"])
def test_the_camera(parts_server: Server, browser: "Browser", pictures: Path, case: str) -> None:
    """A picture is taken and scored; where there is no camera or it is refused, a sentence says so."""
    flags = {
        "there": ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
        "refused": ["--use-fake-device-for-media-stream"],
        "none": [],
    }[case]
    with_camera = browser.browser_type.launch(
        executable_path=shutil.which("chromium") or "/usr/bin/chromium", args=["--no-sandbox", *flags]
    )
    try:
        permissions = () if case == "refused" else ("camera",)
        with desk(with_camera, parts_server.url, pictures, permissions=permissions) as at:
            at.page.locator("#model dt").first.wait_for()
            at.page.keyboard.press("c")
            if case == "there":
                at.page.locator("#shoot:enabled").wait_for()
                at.picture("camera", whole=False)
                at.page.keyboard.press("Space")
                at.options.first.wait_for()
                at.page.keyboard.press("Escape")
                assert at.labels()[0].startswith("camera ") and "score" in at.labels()[0]
                assert at.page.locator("#video").evaluate("video => video.srcObject") is None
            else:
                said = {"refused": "The camera was refused", "none": "There is no camera"}[case]
                at.page.locator("#camera-text", has_text=said).wait_for()
    finally:
        with_camera.close()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_camera_closed_while_the_browser_asks(
    parts_server: Server, browser: "Browser", pictures: Path, order: tuple[int, int]
) -> None:
    """Opened again before the first answer: only the camera of the second is on, and none after closing."""
    asking = """
        window.answers = [];
        window.streams = [0, 1].map(() => {
            const canvas = document.createElement("canvas");
            const context = canvas.getContext("2d");
            setInterval(() => context.fillRect(0, 0, canvas.width, canvas.height), 50);
            return canvas.captureStream(20);
        });
        navigator.mediaDevices.getUserMedia = () => new Promise((answer) => window.answers.push(answer));
    """
    states = "window.streams.map((one) => one.getTracks()[0].readyState)"
    with desk(browser, parts_server.url, pictures, before=asking) as at:
        at.page.locator("#model dt").first.wait_for()
        at.press("c")
        at.press("Escape")
        at.press("c")
        for turn in order:
            at.page.evaluate("turn => window.answers[turn](window.streams[turn])", turn)
            at.settle()
        at.page.locator("#shoot:enabled").wait_for()
        assert at.page.evaluate(states) == ["ended", "live"]
        assert at.page.evaluate("document.getElementById('video').srcObject === window.streams[1]")
        at.press("Escape")
        at.page.locator("#shoot:disabled").wait_for(state="attached")
        assert at.page.evaluate(states) == ["ended", "ended"]
