"""Marks: kept on disk, exported, calibrated and trained from."""

import hashlib
import io
import os
import shutil
import sqlite3
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from served import png

import invad
from invad.cli.main import run
from invad.errors import RunError
from invad.inference import Predictor
from invad.serving import Limits, create_app
from invad.serving.manifest import write_folder
from invad.serving.marks import APPLICATION, FILE, FORMAT, Marks
from invad.serving.schemas import Decision
from invad.serving.spool import Recent, Spool


def recent(data: bytes, **known: object) -> Recent:
    values = dict(
        id=hashlib.sha256(data).hexdigest(), name="a.png", class_name="nut", width=96, height=96, score=0.25,
        threshold=0.3, decision="good", model="f" * 64,
    )  # fmt: skip
    return Recent(**{**values, **known})  # type: ignore[arg-type]


def saved(kind: str, **options: object) -> bytes:
    """An image of 96 x 96 in a file of a kind."""
    file = io.BytesIO()
    Image.open(io.BytesIO(png())).save(file, kind, **options)
    return file.getvalue()


def test_a_mark_keeps_image_score_and_model(client: TestClient, predictor: Predictor, images: list[Path]) -> None:
    path = images[-1]
    result = client.post("/predict?class_name=" + path.parts[-4], files={"files": path.read_bytes()}).json()["results"][
        0
    ]
    answer = client.put(f"/marks/{result['id']}", json={"mark": "good", "name": "seen by Ada"})
    assert answer.status_code == 200
    mark = answer.json()
    assert client.get("/marks").json() == {"marks": [mark]}
    assert (mark["mark"], mark["name"], mark["class_name"]) == ("good", "seen by Ada", path.parts[-4])
    assert (mark["score"], mark["threshold"], mark["decision"]) == (
        result["score"], result["threshold"], result["decision"],
    )  # fmt: skip
    assert mark["model"] == predictor.checksum
    image = client.get(f"/marks/{result['id']}/image")
    assert image.content == path.read_bytes() and image.headers["content-type"] == "image/png"
    changed = client.put(f"/marks/{result['id']}", json={"mark": "defective"}).json()
    assert changed["mark"] == "defective" and len(client.get("/marks").json()["marks"]) == 1
    assert client.delete(f"/marks/{result['id']}").status_code == 204
    assert client.get("/marks").json() == {"marks": []}
    assert client.get(f"/marks/{result['id']}/image").status_code == 404
    assert client.delete(f"/marks/{result['id']}").status_code == 404


def test_only_images_that_were_predicted_of_late_are_marked(predictor: Predictor, tmp_path: Path) -> None:
    first, second = png(seed=1), png(seed=2)
    size = len(second) + 1000  # for one of them, and for what a body holds beside it
    app = create_app(predictor, marks=tmp_path / "marks", limits=Limits(recent_bytes=size, body_bytes=size))
    with TestClient(app) as client:
        ids = [client.post("/predict", files={"files": data}).json()["results"][0]["id"] for data in (first, second)]
        assert client.put(f"/marks/{ids[1]}", json={"mark": "good"}).status_code == 200
        refused = client.put(f"/marks/{ids[0]}", json={"mark": "good"})
        assert refused.status_code == 404 and "predict it again" in refused.json()["detail"]
        client.post("/predict", files={"files": first})
        assert client.put(f"/marks/{ids[0]}", json={"mark": "good"}).status_code == 200
        again = client.put(f"/marks/{ids[1]}", json={"mark": "defective"})  # no longer recent, but marked
        assert again.status_code == 200 and again.json()["mark"] == "defective"
        assert client.get(f"/marks/{ids[1]}/image").content == second


def test_marks_outlive_the_server(predictor: Predictor, tmp_path: Path) -> None:
    for seed in range(3):
        with TestClient(create_app(predictor, marks=tmp_path / "marks")) as client:
            id = client.post("/predict", files={"files": png(seed=seed)}).json()["results"][0]["id"]
            client.put(f"/marks/{id}", json={"mark": "good"})
            assert len(client.get("/marks").json()["marks"]) == seed + 1


def test_kept_images_are_named_by_their_content(tmp_path: Path) -> None:
    marks = Marks(tmp_path)
    for kind, suffix in (("JPEG", ".jpg"), ("TIFF", ".tif"), ("WEBP", ".webp"), ("BMP", ".bmp")):
        data = saved(kind)
        mark = marks.put(recent(data), data, "good", class_name=None, name=None)
        assert marks.path(mark).name == mark.id + suffix and marks.path(mark).read_bytes() == data


def test_photos_with_a_second_picture_inside_are_marked(client: TestClient) -> None:
    small = Image.new("RGB", (8, 8))
    data = saved("MPO", save_all=True, append_images=[small])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    result = client.post("/predict", files={"files": ("IMG_1.jpg", data)}).json()["results"][0]
    assert (result["error"], result["width"], result["height"]) == (None, 96, 96)
    assert client.put(f"/marks/{result['id']}", json={"mark": "good"}).status_code == 200
    image = client.get(f"/marks/{result['id']}/image")
    assert image.content == data and image.headers["content-type"] == "image/jpeg"


def test_files_that_are_none_of_ours_are_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as other:
        other.execute("CREATE TABLE prices (euro REAL)")
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(RunError, match="no file of marks"):
        Marks(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before
    newer = tmp_path / "newer"
    Marks(newer).close()
    with sqlite3.connect(newer / FILE) as file:
        file.execute("PRAGMA user_version = 2")
    with pytest.raises(RunError, match="version 2"):
        Marks(newer)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / FILE).write_bytes(b"rubbish" * 1000)
    with pytest.raises(RunError, match="Move it away"):
        Marks(damaged)
    with pytest.raises(RunError, match="Choose another folder"):
        Marks(damaged / FILE / "below")


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (sqlite3.SQLITE_CORRUPT_INDEX, "Move it away"),
        (sqlite3.SQLITE_BUSY_RECOVERY, "try again"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, "as the user of the server"),
        (sqlite3.SQLITE_FULL, "Free space"),
        (sqlite3.SQLITE_IOERR_WRITE, "try again"),
    ],
)
def test_only_a_broken_file_is_to_be_moved_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, remedy: str
) -> None:
    def fail(marks: Marks) -> None:
        error = sqlite3.OperationalError("as SQLite says it")
        error.sqlite_errorcode = code
        raise error

    monkeypatch.setattr(Marks, "_prepare", fail)
    with pytest.raises(RunError, match=f"as SQLite says it. .*{remedy}") as caught:
        Marks(tmp_path)
    assert ("Move it away" in str(caught.value)) == (remedy == "Move it away")


def test_a_file_that_another_program_writes_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Marks(tmp_path).close()
    monkeypatch.setattr("invad.serving.marks.WAIT_SECONDS", 0.05)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RunError, match=r"database is locked\. Another program is writing it; try again"):
            Marks(tmp_path)


def test_a_file_that_was_only_begun_is_new(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as begun:
        begun.execute("PRAGMA journal_mode = WAL")
    assert (tmp_path / FILE).stat().st_size > 0
    Marks(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        known = [file.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        assert known == [APPLICATION, FORMAT]
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_several_may_open_a_new_folder_at_once(tmp_path: Path) -> None:
    for turn in range(20):
        together = threading.Barrier(4)

        def opened(folder: Path, together: threading.Barrier = together) -> Marks:
            together.wait()
            return Marks(folder)

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(opened, [tmp_path / str(turn)] * 4))
        data = png()
        found[0].put(recent(data), data, "good", class_name=None, name=None)
        assert [len(marks.all()) for marks in found] == [1] * 4
        for marks in found:
            marks.close()


def test_a_disk_without_room_for_recent_images_does_not_stop_inspection(
    client: TestClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "put", full)
        result = client.post("/predict", files={"files": png()}).json()["results"][0]
    assert result["score"] > 0 and "cannot be kept for a mark" in caplog.text
    assert client.put(f"/marks/{result['id']}", json={"mark": "good"}).status_code == 404


def test_what_a_kill_left_is_deleted_and_nothing_else(tmp_path: Path) -> None:
    marks = Marks(tmp_path)
    data = png()
    marks.put(recent(data), data, "good", class_name=None, name=None)
    marks.close()
    images = tmp_path / "images"
    left = [images / ("a" * 64 + ".png"), images / ("." + "b" * 64 + ".png.x.part")]
    stay = [images / ("c" * 64 + ".png"), images / "my notes.txt"]
    for path in (*left, *stay):
        path.write_bytes(b"")
    for path in (*left, stay[1], *images.glob("*.png")):
        if path != stay[0]:
            os.utime(path, (0, 0))
    Marks(tmp_path).close()
    assert not any(path.exists() for path in left) and all(path.exists() for path in stay)
    assert [mark.id for mark in Marks(tmp_path).all()] == [hashlib.sha256(data).hexdigest()]
    assert (images / f"{hashlib.sha256(data).hexdigest()}.png").read_bytes() == data


def test_a_full_disk_loses_nothing_and_says_so(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = client.post("/predict", files={"files": png()}).json()["results"][0]["id"]
    (tmp_path / "marks" / "images").rmdir()
    (tmp_path / "marks" / "images").write_text("in the way", encoding="utf-8")
    refused = client.put(f"/marks/{id}", json={"mark": "good"})
    assert refused.status_code == 507 and "cannot write" in refused.json()["detail"]
    assert client.get("/marks").json() == {"marks": []}


@pytest.fixture(scope="module")
def marked(trained: Path, predictor: Predictor, images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with marks of all test images, as they really are."""
    folder = tmp_path_factory.mktemp("marked") / "marks"
    with TestClient(create_app(predictor, marks=folder)) as client:
        for path in images:
            asked = f"/predict?class_name={path.parts[-4]}"
            id = client.post(asked, files={"files": (path.name, path.read_bytes())}).json()["results"][0]["id"]
            mark = "good" if path.parent.name == "good" else "defective"
            assert client.put(f"/marks/{id}", json={"mark": mark}).status_code == 200
    return folder


def test_calibrate_and_train_from_an_export(
    marked: Path, trained: Path, images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "export"
    assert run(["marks", "export", str(out), "--marks", str(marked)]) == 0
    said = capsys.readouterr().err
    assert "good.csv" in said and "manifest.csv" in said
    good = [path for path in images if path.parent.name == "good"]
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)

    by_folders = invad.calibrate(copy, normal=[str(path) for path in good], overwrite=True, quiet=True)
    by_marks = invad.calibrate(copy, normal=[out / "good.csv"], overwrite=True, quiet=True)
    assert by_marks.scores == by_folders.scores and by_marks.classes == by_folders.classes
    labelled = invad.calibrate(copy, labelled=f"folder:{out / 'manifest.csv'}", overwrite=True, quiet=True)
    assert labelled.overall.normal == len(good) and labelled.overall.anomalous == len(images) - len(good)
    assert labelled.scores == by_folders.scores

    settings = invad.TrainSettings(
        data=(f"folder:{out / 'manifest.csv'}",), encoder="analytic", image_size=(64,), blocks=(1, 1, 1), epochs=1,
        held_back=0.0,
    )  # fmt: skip
    again = invad.train(settings, tmp_path / "again", quiet=True)
    assert again.trained_classes() == invad.Run.open(trained).trained_classes()
    assert len(again.records_file.read_text().splitlines()) == len(good)

    assert run(["marks", "export", str(out), "--marks", str(marked)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert run(["marks", "export", str(tmp_path / "x"), "--marks", str(tmp_path)]) == 2


def test_the_archive_is_the_folder(marked: Path, predictor: Predictor, tmp_path: Path) -> None:
    run(["marks", "export", str(tmp_path / "folder"), "--marks", str(marked)])
    with TestClient(create_app(predictor, marks=marked)) as client:
        answer = client.get("/marks/export")
    assert answer.headers["content-type"] == "application/zip"
    assert "invad-marks.zip" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path / "archive")
    found = {
        root.name: {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        for root in (tmp_path / "folder", tmp_path / "archive")
    }
    assert found["folder"] == found["archive"] and "manifest.csv" in found["folder"]
    assert len(found["folder"]) == len(Marks(marked).all()) + 3


@pytest.mark.parametrize(
    ("kinds", "commands"),
    [
        (["good"], ["--normal", "train"]),
        (["defective"], []),
        (["good", "defective"], ["--normal", "--labelled", "train"]),
    ],
)
def test_only_what_can_be_done_next_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kinds: list[Decision], commands: list[str]
) -> None:
    marks = Marks(tmp_path / "marks")
    for seed, kind in enumerate(kinds):
        data = png(seed=seed)
        marks.put(recent(data), data, kind, class_name=None, name=None)
    assert run(["marks", "export", str(tmp_path / "out"), "--marks", str(tmp_path / "marks")]) == 0
    said = capsys.readouterr().err
    found = [line for line in said.splitlines() if "  invad " in line]
    assert len(found) == len(commands) and all(word in line for word, line in zip(commands, found, strict=True))
    assert ("mark some" in said) == (not commands)


def test_a_class_that_only_the_model_before_knew(predictor: Predictor, tmp_path: Path, images: list[Path]) -> None:
    part = images[0].parts[-4]
    other = Predictor(predictor.scorer, scale=predictor.scale, checksum="f" * 64, classes=("screws",))
    loads = [(other, "other")]
    app = create_app(predictor, marks=tmp_path / "marks", load=lambda: loads[0])
    with TestClient(app, client=("127.0.0.1", 1)) as client:
        sent = client.post(f"/predict?class_name={part}", files={"files": images[0].read_bytes()}).json()
        id = sent["results"][0]["id"]
        assert client.post("/reload").status_code == 200
        assert client.put(f"/marks/{id}", json={"mark": "good", "class_name": "bolts"}).status_code == 422
        marked = client.put(f"/marks/{id}", json={"mark": "good", "class_name": part})
        assert marked.status_code == 200 and marked.json()["class_name"] == part
    with TestClient(create_app(other, marks=tmp_path / "marks")) as client:  # where it is no longer recent
        changed = client.put(f"/marks/{id}", json={"mark": "defective", "class_name": part})
        assert changed.status_code == 200 and changed.json()["mark"] == "defective"
        assert client.put(f"/marks/{id}", json={"mark": "good", "class_name": "bolts"}).status_code == 422


def test_marks_of_unknown_class(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    for seed, (class_name, mark) in enumerate([(None, "good"), ("a/b ü", "defective")]):
        data = png(seed=seed)
        marks.put(recent(data), data, mark, class_name=class_name, name=None)  # type: ignore[arg-type]
    write_folder(marks, tmp_path / "out")
    data = invad.open_dataset(f"folder:{tmp_path / 'out' / 'manifest.csv'}")
    assert {(r.class_name, r.anomalous, r.image.is_file()) for r in data.records} == {
        ("unknown", False, True), ("a/b ü", True, True),
    }  # fmt: skip
