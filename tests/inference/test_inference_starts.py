"""How predictions begin: several processes, started at different times, and what earlier jobs left in the folder."""

import json
import os
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from invad.colours import ColourScale
from invad.errors import DataError, RunError, SettingsError
from invad.inference.journal import WORK
from invad.inference.predicting import Output, Predicting
from invad.inference.predictor import Predictor
from invad.inference.sharding import Shard, from_first
from invad.inference.tables import Format

COLOURS = ColourScale(0.0, 1.0)
NOT_UTF_8 = os.fsdecode(b"caf\xe9.png")


class Brightness:
    """The smallest thing that scores."""

    size = (8, 8)

    def __call__(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        maps = images.mean(axis=3, dtype=np.float32) / 255
        return maps, maps.max(axis=(1, 2))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photos(names: str) -> None:
    """Let the folder hold these photos and no others, a letter each."""
    folder = Path("photos")
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    add(names)


def add(names: str) -> None:
    for name in names:
        Image.fromarray(np.full((8, 8, 3), ord(name), np.uint8)).save(f"photos/{name}.png")


def job(
    rank: int = 0,
    count: int = 1,
    *,
    roots: Sequence[str] = ("photos",),
    format: Format = "jsonl",
    scale: ColourScale | None = None,
    threshold: float | None = None,
) -> Predicting:
    return Predicting(
        Predictor(Brightness(), threshold=threshold),
        roots,
        Output(folder=Path("out"), format=format, scale=scale),
        batch_size=2,
        shard=Shard(rank=rank, count=count),
        on_drift=lambda drift: None,
    )


def begun(one: Predicting, *, resume: bool = False, overwrite: bool = False) -> str:
    token = one.begin(resume=resume, overwrite=overwrite)
    assert token is not None
    return token


def do(one: Predicting, lines: int | None = None) -> None:
    """Predict all, or a few and then stop as a kill would."""
    with closing(one.run()) as found:  # type: ignore[type-var]
        list(islice(found, lines))


def whole(**options: object) -> None:
    """Predict everything in one process."""
    overwrite = bool(options.pop("overwrite", False))
    one = job(**options)  # type: ignore[arg-type]
    begun(one, overwrite=overwrite)
    do(one)
    one.finish()


def lines() -> list[dict[str, object]]:
    return [json.loads(line) for line in Path("out/predictions.jsonl").read_text().splitlines()]


def names() -> str:
    """The photos that the result has lines for, in its order."""
    return "".join(Path(str(line["image"])).stem for line in lines())


def files(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def test_a_photo_that_comes_between_two_starts_moves_no_other(here: Path) -> None:
    photos("ace")
    first, second = job(0, 2), job(1, 2)
    token = begun(first)
    add("b")
    second.join(token)
    do(first)
    do(second)
    first.finish()
    assert names() == "ace"


def test_what_was_done_is_gone_on_with_and_later_photos_are_left_for_later(here: Path) -> None:
    photos("abcd")
    first, second = job(0, 2), job(1, 2)
    second.join(begun(first))
    do(second)
    do(first, 1)  # killed
    add("0ef")
    first, second = job(0, 2), job(1, 2)
    token = begun(first, resume=True)
    do(first)
    assert first.resumed and first.summary.kept == 1
    assert next(first.wait()) == [1], "its mark is of the start before"
    second.join(token)
    do(second)
    assert second.summary.kept == 2 and not list(first.wait())
    first.finish()
    assert names() == "abcd"
    with pytest.raises(RunError, match="holds predictions of 4 images, which are not the 7 named now"):
        job(0, 2).begin(resume=True, overwrite=False)


def test_a_lone_process_goes_on_with_its_list_too(here: Path) -> None:
    photos("bcd")
    one = job()
    begun(one)
    do(one, 2)
    add("a")
    one = job()
    begun(one, resume=True)
    do(one)
    one.finish()
    assert names() == "bcd" and one.summary.kept == 2


def test_overwriting_in_several_processes_takes_nothing_of_the_job_before(here: Path) -> None:
    photos("abcd")
    first, second = job(0, 2), job(1, 2)
    second.join(begun(first))
    do(second)
    do(first, 1)
    photos("wxyz")
    first, second = job(0, 2, threshold=0.1), job(1, 2, threshold=0.1)
    token = begun(first, overwrite=True)
    do(first)
    assert next(first.wait()) == [1]
    second.join(token)
    do(second)
    assert not list(first.wait())
    first.finish()
    assert names() == "wxyz" and all(line["anomalous"] for line in lines())
    assert files("out") == ["predictions.job.json", "predictions.jsonl"]


def test_a_process_with_other_options_is_refused(here: Path) -> None:
    photos("ab")
    token = begun(job(0, 2))
    with pytest.raises(RunError, match="another threshold"):
        job(1, 2, threshold=0.5).join(token)


def test_other_images_are_not_gone_on_with(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos("ab")
    (here / "more/photos").mkdir(parents=True)
    one = job()
    begun(one)
    do(one, 1)
    with pytest.raises(RunError, match="another inputs"):
        job(roots=["photos/b.png"]).begin(resume=True, overwrite=False)
    assert begun(job(roots=["photos/"]), resume=True)


def test_a_line_that_a_process_of_an_earlier_start_spoils_is_not_merged(here: Path) -> None:
    photos("abc")
    one = job()
    begun(one)
    do(one)
    part = Path("out", WORK, "00000-of-00001.jsonl")
    written = part.read_bytes().splitlines(keepends=True)
    for spoilt in (
        [written[0], written[0], written[2]],
        written[:2],
        [written[0], written[1][:9] + b"\n", written[2]],
        [*written, written[0]],
    ):
        part.write_bytes(b"".join(spoilt))
        with pytest.raises(RunError, match=r"has no line for photos/[bc]\.png at its place|more images than its list"):
            one.finish()
        assert not Path("out/predictions.jsonl").exists()


def test_a_faulty_manifest_is_refused_before_anything_is_deleted(here: Path) -> None:
    photos("ab")
    whole(scale=COLOURS)
    before = files("out/overlays")
    Path("list.jsonl").write_text('{"image": "photos/a.png"}\n{"picture": "photos/b.png"}\n')
    one = job(roots=["list.jsonl"], scale=COLOURS)
    with pytest.raises(DataError, match="line 2: no image"):
        one.begin(resume=False, overwrite=True)
    assert files("out/overlays") == before and names() == "ab" and not Path("out", WORK).exists()


def test_a_folder_holds_the_results_of_one_job(here: Path) -> None:
    pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    photos("ab")
    whole()
    before = Path("out/predictions.job.json").read_bytes()
    with pytest.raises(RunError, match=r"predictions\.job\.json exists; choose another --out, or pass --overwrite"):
        job(format="parquet").begin(resume=False, overwrite=False)
    assert Path("out/predictions.job.json").read_bytes() == before
    assert job().begin(resume=True, overwrite=False) is None, "complete"
    whole(format="parquet", overwrite=True)
    assert files("out") == ["predictions.job.json", "predictions.parquet"]
    whole(overwrite=True)
    assert files("out") == ["predictions.job.json", "predictions.jsonl"]


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_overwriting_deletes_the_pictures_of_the_job_before_and_no_other_file(here: Path, format: Format) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    photos("abcd")
    whole(scale=COLOURS, format=format)
    assert len(files("out/overlays")) == 4
    Path("out/overlays/mine.jpg").write_text("mine")
    Path("out/overlays/0000001_mine.jpg").write_text("mine")
    photos("z")
    whole(scale=COLOURS, overwrite=True)
    assert files("out/overlays") == ["0000000_photos_z.png.jpg", "0000001_mine.jpg", "mine.jpg"]
    assert names() == "z"


def test_overwriting_deletes_the_pictures_of_a_job_that_was_killed(here: Path) -> None:
    photos("abcdefgh")
    one = job(scale=COLOURS)
    begun(one)
    do(one, 1)
    assert len(files("out/overlays")) > 1, "pictures are ahead of their lines"
    photos("z")
    whole(scale=COLOURS, overwrite=True)
    assert files("out/overlays") == ["0000000_photos_z.png.jpg"]


def test_a_job_without_pictures_has_none_to_delete(here: Path) -> None:
    photos("a")
    whole()
    Path("out/overlays").mkdir()
    Path("out/overlays/0000000_photos_a.png.jpg").write_text("mine")
    whole(overwrite=True)
    begun(job(), overwrite=True)
    whole(overwrite=True)
    assert files("out/overlays") == ["0000000_photos_a.png.jpg"]


def test_lines_of_an_unknown_origin_stay_until_they_are_replaced(here: Path) -> None:
    photos("a")
    for name in ("predictions.jsonl", "predictions.parquet", "overlays/x.jpg"):
        Path("out", name).parent.mkdir(parents=True, exist_ok=True)
        Path("out", name).write_text('{"image": "x", "overlay": "out/overlays/x.jpg"}\n')
    one = job()
    begun(one, overwrite=True)
    assert names() == "x"
    do(one)
    one.finish()
    assert names() == "a" and files("out/overlays") == ["x.jpg"]
    assert Path("out/predictions.parquet").exists()


@pytest.fixture
def strange(here: Path) -> str:
    """A folder with a photo whose name is not UTF-8, where there can be one."""
    photos("ab")
    try:
        Path("photos/b.png").rename(f"photos/{NOT_UTF_8}")
    except (OSError, UnicodeError):
        pytest.skip("this file system has UTF-8 names only")
    return "photos"


def as_said(found: Sequence[dict[str, object]]) -> None:
    assert [line["image"] for line in found] == ["photos/a.png", r"photos/caf\xe9.png"]
    assert found[0]["score"] == pytest.approx(ord("a") / 255) and found[1]["score"] == pytest.approx(ord("b") / 255)
    assert str(found[1]["overlay"]) == "out/overlays/0000001_photos_caf_.png.jpg"


def test_a_name_that_is_not_utf_8_reads_as_escapes(strange: str) -> None:
    one = job(scale=COLOURS)
    begun(one)
    do(one)
    one = job(scale=COLOURS)
    begun(one, resume=True)
    do(one)
    one.finish()
    as_said(lines())
    Path("out/predictions.jsonl").read_bytes().decode()
    assert job(scale=COLOURS).begin(resume=True, overwrite=False) is None, "complete"
    photos("a")
    whole(overwrite=True)
    assert files("out/overlays") == []


def test_parquet_takes_a_name_that_is_not_utf_8(strange: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    Path("photos/broken.png").write_bytes(b"no image")
    Path("photos/broken.png").rename(Path("photos", NOT_UTF_8.replace("caf", "gone")))
    whole(scale=COLOURS, format="parquet")
    *good, broken = parquet.read_table("out/predictions.parquet").to_pylist()
    as_said(good)
    assert r"gone\xe9.png" in broken["error"]


def test_lists_name_what_is_not_utf_8(strange: str, monkeypatch: pytest.MonkeyPatch) -> None:
    named = ["photos/a.png", f"photos/{NOT_UTF_8}"]
    Path("list.jsonl").write_text("".join(json.dumps({"image": name}) + "\n" for name in named))
    whole(roots=["list.jsonl"], scale=COLOURS)
    as_said(lines())
    Path("list.csv").write_bytes(b"image\n" + b"\n".join(os.fsencode(name) for name in named))
    with pytest.raises(DataError, match=r"list\.csv cannot be read as a manifest: 'utf-8' codec"):
        job(roots=["list.csv"], scale=COLOURS).begin(resume=False, overwrite=True)
    monkeypatch.setattr("sys.stdin", _Input(b"\n".join(os.fsencode(name) for name in named)))
    whole(roots=["-"], scale=COLOURS, overwrite=True)
    as_said(lines())


def test_a_name_that_no_file_can_have_is_one_bad_line(here: Path) -> None:
    photos("a")
    bad = ["\ud800.png", "nul\0.png", "x" * 5000 + ".png"]
    Path("list.jsonl").write_text("".join(json.dumps({"image": name}) + "\n" for name in (*bad, "photos/a.png")))
    whole(roots=["list.jsonl"])
    assert ["error" in line for line in lines()] == [True, True, True, False]
    assert lines()[0]["image"] == r"\ud800.png"


class _Input:
    """Standard input that holds some bytes."""

    def __init__(self, data: bytes) -> None:
        self.buffer = iter(data.splitlines(keepends=True))


def test_processes_that_no_launcher_joined_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert from_first(Shard(), lambda: "alone") == "alone"
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(SettingsError, match="must be started by torchrun, by which they meet"):
        from_first(Shard(rank=1, count=2), lambda: None)
