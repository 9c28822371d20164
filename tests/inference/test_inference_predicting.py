"""Predictions of many images: no line lost, none twice, whatever stops them; one bad image ends nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

import invad
from invad.cli.main import run
from invad.colours import ColourScale
from invad.data.images import read_image
from invad.errors import ImageError, RunError, SettingsError
from invad.inference.inputs import Item
from invad.inference.journal import WORK, Journal
from invad.inference.predicting import Output, Predicting, output_name
from invad.inference.sharding import Shard, current_shard

Capture = pytest.CaptureFixture[str]
PARTS = ("image", "score", "share_below", "anomalous", "regions", "error")


def lines_of(out: Path) -> list[dict[str, object]]:
    """The lines of a folder of results, without the paths of their pictures."""
    found = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in PARTS if key in line} for line in found]


def same(found: Sequence[dict[str, object]], expected: Sequence[dict[str, object]]) -> None:
    """The same lines; scores may differ in their last bits, as other batches round otherwise."""
    assert [line["image"] for line in found] == [line["image"] for line in expected]
    assert [line["score"] for line in found] == pytest.approx([line["score"] for line in expected], rel=1e-5)


def predict(run_folder: Path, out: Path, *more: str) -> int:
    return run(["predict", str(run_folder), "--out", str(out), "--quiet", "--no-overlays", "--batch-size", "4", *more])


@pytest.fixture(scope="module")
def few(data: Path) -> Path:
    """The images of one class: as many as it takes to stop between them."""
    return data / "fabric"


@pytest.fixture(scope="module")
def expected(trained: Path, few: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    out = tmp_path_factory.mktemp("whole") / "out"
    assert predict(trained, out, str(few)) == 0
    assert not (out / WORK).exists()
    return lines_of(out)


def job(trained: Path, few: Path, out: Path, shard: Shard | None = None) -> Predicting:
    predictor = invad.load(trained)
    output = Output(folder=out)
    return Predicting(predictor, [str(few)], output, batch_size=4, shard=shard or Shard(), on_drift=lambda drift: None)


def test_a_line_for_every_image_in_order(expected: list[dict[str, object]], few: Path, trained: Path) -> None:
    from invad.inference.inputs import list_inputs

    paths = [item.path for item in list_inputs([str(few)])]
    assert [line["image"] for line in expected] == [str(path) for path in paths]
    scores = [prediction.score for prediction in invad.load(trained).stream(paths, batch_size=4)]
    assert [line["score"] for line in expected] == pytest.approx(scores, rel=1e-5)


def test_stopped_anywhere_and_gone_on_with(
    expected: list[dict[str, object]], trained: Path, few: Path, tmp_path: Path
) -> None:
    for stop, cut in ((0, 0), (1, 0), (7, 1), (13, 40), (len(expected), 0), (len(expected), 3)):
        out = tmp_path / f"{stop}-{cut}"
        first = job(trained, few, out)
        assert first.begin(resume=False, overwrite=False)
        lines = first.run()
        for _ in range(stop):
            next(lines)
        lines.close()
        file = out / WORK / "00000-of-00001.jsonl"
        if cut:  # half a line, as a kill or a full disk leaves it
            file.write_bytes(file.read_bytes()[:-cut])
        with pytest.raises(RunError, match=r"--resume, or replace by --overwrite"):
            job(trained, few, out).begin(resume=False, overwrite=False)
        second = job(trained, few, out)
        assert second.begin(resume=True, overwrite=False)
        new = list(second.run())
        assert len(new) == len(expected) - stop + bool(cut)
        second.finish()
        same(lines_of(out), expected)
        assert not job(trained, few, out).begin(resume=True, overwrite=False), "complete"
        with pytest.raises(RunError, match="holds predictions of 22 images, which are not the 22 named now"):
            job(trained, few.parent / "wood", out).begin(resume=True, overwrite=False)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize("pictures", [[], ["--no-overlays"]], ids=["overlays", "lines"])
def test_killed_and_gone_on_with(
    expected: list[dict[str, object]], trained: Path, few: Path, tmp_path: Path, pictures: list[str]
) -> None:
    out = tmp_path / "out"
    argv = [sys.executable, "-m", "invad", "predict", str(trained), str(few), "--out", str(out), *pictures]
    argv += ["--batch-size", "4", "--quiet", "--resume"]
    file = out / WORK / "00000-of-00001.jsonl"
    process = subprocess.Popen(argv)
    while process.poll() is None and not (file.exists() and file.read_bytes().count(b"\n") >= 3):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was too fast to be killed"
    assert not (out / "predictions.jsonl").exists()
    subprocess.run(argv, check=True)
    same(lines_of(out), expected)


@pytest.mark.slow
def test_torchrun_shares_the_work(expected: list[dict[str, object]], trained: Path, few: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = [job(trained, few.parent / "wood", out, Shard(rank=rank, count=2)) for rank in range(2)]
    token = before[0].begin(resume=False, overwrite=False)
    assert token
    before[1].join(token)
    assert len(list(before[1].run())) == 11, "one process of another job is done, one was killed"
    argv = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "3", "-m", "invad", "predict"]
    argv += [str(trained), str(few), "--out", str(out), "--batch-size", "4", "--overwrite"]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.stdout == ""
    same(lines_of(out), expected)
    assert sorted(path.name for path in out.iterdir()) == ["overlays", "predictions.job.json", "predictions.jsonl"]


def test_shards_are_merged_in_the_order_of_the_images(
    expected: list[dict[str, object]], trained: Path, few: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    jobs = [job(trained, few, out, Shard(rank=rank, count=3)) for rank in range(3)]
    token = jobs[0].begin(resume=False, overwrite=False)
    assert token
    for one in jobs[1:]:
        one.join(token)
    counts = [len(list(jobs[rank].run())) for rank in (2, 0)]
    assert list(next(jobs[0].wait())) == [1], "one is missing"
    counts.append(len(list(jobs[1].run())))
    assert list(jobs[0].wait()) == [] and sum(counts) == len(expected)
    jobs[0].finish()
    same(lines_of(out), expected)


def test_two_commands_do_not_write_one_folder_at_a_time(
    trained: Path, few: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    first = job(trained, few, out)
    for more in (["--resume"], ["--overwrite"]):
        with first.alone():
            assert predict(trained, out, str(few), *more) == 2
        said = capsys.readouterr().err
        assert f"another command is writing predictions into {out}; wait until it is done" in said
    assert predict(trained, out, str(few), "--resume") == 0 and len(lines_of(out)) == 22
    assert predict(trained, tmp_path / "other", "nothing") == 2 and not (tmp_path / "other").exists()


def test_processes_of_one_job_write_one_folder_at_a_time(trained: Path, few: Path, tmp_path: Path) -> None:
    first, second = (job(trained, few, tmp_path, Shard(rank=rank, count=2)) for rank in range(2))
    with first.alone(), second.alone():
        for rank in range(2):  # one that outlived the others, too, keeps its place
            again = job(trained, few, tmp_path, Shard(rank=rank, count=2))
            with pytest.raises(RunError, match="another command is writing"), again.alone():
                pass
    assert list(tmp_path.iterdir()) == []


def test_another_job_is_not_gone_on_with(trained: Path, few: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    begun = job(trained, few, out)
    begun.begin(resume=False, overwrite=False)
    lines = begun.run()
    next(lines)
    lines.close()
    with pytest.raises(RunError, match="another job, with another processes"):
        job(trained, few, out, Shard(rank=0, count=2)).begin(resume=True, overwrite=False)
    other = Predicting(
        invad.load(trained, threshold=0.5),
        [str(few)],
        Output(folder=out),
        shard=Shard(),
        on_drift=lambda drift: None,
    )
    with pytest.raises(RunError, match="another threshold"):
        other.begin(resume=True, overwrite=False)
    images = sorted(few.rglob("*.png"), reverse=True)
    turned = Predicting(
        invad.load(trained),
        [str(path) for path in images],
        Output(folder=out),
        shard=Shard(),
        on_drift=lambda drift: None,
    )
    with pytest.raises(RunError, match="another inputs"):
        turned.begin(resume=True, overwrite=False)
    assert job(trained, few, out).begin(resume=False, overwrite=True), "unless it is to be replaced"


def test_one_job_draws_by_the_colours_of_classes_in_all_its_starts(trained: Path, few: Path, tmp_path: Path) -> None:
    """A description that was written and read again is still that of the job."""
    scale = ColourScale(0.1, 0.2, {"fabric": (0.1, 0.3)})
    output = Output(folder=tmp_path / "out", scale=scale)

    def begun(rank: int) -> Predicting:
        shard = Shard(rank=rank, count=2)
        return Predicting(invad.load(trained), [str(few)], output, shard=shard, on_drift=lambda drift: None)

    token = begun(0).begin(resume=False, overwrite=False)
    assert token is not None
    begun(1).join(token)
    assert begun(0).begin(resume=True, overwrite=False)


def test_another_file_of_the_same_model_is_another_job(trained: Path, few: Path, tmp_path: Path) -> None:
    """Files of other precisions score otherwise, and are of the same model."""
    first = job(trained, few, tmp_path)
    assert first.begin(resume=False, overwrite=False)
    opened = invad.load(trained)
    opened.file = "0" * 64
    again = Predicting(opened, [str(few)], Output(folder=tmp_path), shard=Shard(), on_drift=lambda drift: None)
    with pytest.raises(RunError, match="is of another job, with another file;"):
        again.begin(resume=True, overwrite=False)


def test_a_picture_longer_than_a_jpeg_can_be(trained: Path, tmp_path: Path) -> None:
    Image.new("L", (66_000, 40), 90).save(tmp_path / "line.png")
    assert run(["predict", str(trained), str(tmp_path / "line.png"), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    line = json.loads((tmp_path / "out/predictions.jsonl").read_text())
    with Image.open(line["overlay"]) as picture:
        assert picture.width == 65_500 and "score" in line


def test_classes_that_nobody_knows_are_told(trained: Path, few: Path, tmp_path: Path, capsys: Capture) -> None:
    photo = next((few / "test/good").iterdir())
    rows = [{"image": str(photo), "class": name} for name in ("fabric", "fabrik", 0)]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert predict(trained, tmp_path / "out", str(tmp_path / "list.jsonl")) == 0
    assert (
        "2 images are of classes that the model does not know, fabrik for one: the overall" in capsys.readouterr().err
    )
    lines = (tmp_path / "out/predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["class"] for line in lines] == ["fabric", "fabrik", "0"]


@pytest.mark.parametrize("options", [["--threshold", "nan"], ["--scale", "0", "inf"], ["--scale", "nan", "1"]])
def test_what_is_no_number_is_refused(
    options: list[str], trained: Path, few: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run(["predict", str(trained), str(few), "--out", str(tmp_path / "out"), *options]) == 2
    assert "number" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_reader_of_lines_that_goes_away_is_told_of(trained: Path, few: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = "import sys; from invad.cli.main import main; sys.stdin.readline(); main(sys.argv[1:])"
    argv = [sys.executable, "-c", code, "predict", str(trained), str(few), "--out", str(out), "--no-overlays"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert process.stdin and process.stdout and process.stderr
    process.stdout.close()  # before anything is printed
    process.stdin.write(b"now\n")
    process.stdin.close()
    said = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait() == 2 and "nobody reads the lines any more" in said and "Traceback" not in said
    assert predict(trained, out, str(few), "--resume") == 0 and not (out / WORK).exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is Linux's")
def test_a_full_disk_is_told_in_a_sentence(tmp_path: Path) -> None:
    journal = Journal(tmp_path, {}, Shard())
    journal.create("", [Item(path=Path("a.png"))], overwrite=False)
    (tmp_path / WORK / "00000-of-00001.jsonl").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"cannot write .*No space left on device.*--resume"):
        try:
            journal._file = FileIO("/dev/full", "w")
            journal.append({"image": "a.png"})
        finally:
            journal.close()


def test_a_job_that_somebody_else_finished_is_not_begun_anew(tmp_path: Path) -> None:
    journal = Journal(tmp_path, {}, Shard())
    journal.create("", [], overwrite=False)
    shutil.rmtree(tmp_path / WORK)
    with pytest.raises(RunError, match="is gone: another command has finished or replaced this job"):
        journal.complete()
    assert not (tmp_path / WORK).exists()


def test_a_damaged_list_can_be_replaced(trained: Path, few: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    argv = ["predict", str(trained), str(few), "--out", str(out), "--quiet"]
    first = Predicting(
        invad.load(trained), [str(few)], Output(folder=out, maps=True), shard=Shard(), on_drift=lambda drift: None
    )
    assert first.begin(resume=False, overwrite=False)
    listed = out / WORK / "images.jsonl"
    listed.write_bytes(listed.read_bytes()[:-10])
    assert run([*argv, "--overwrite"]) == 0 and len(lines_of(out)) == 22


def test_unreadable_images_have_a_line_and_end_nothing(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = sorted(data.glob("*/train/good/*.png"))[:9]
    cut = tmp_path / "cut.png"
    cut.write_bytes(good[0].read_bytes()[:300])
    listed = [*map(str, good[:4]), str(cut), str(tmp_path / "absent.png"), *map(str, good[4:])]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps({"image": name}) + "\n" for name in listed))
    out = tmp_path / "out"
    assert predict(trained, out, str(tmp_path / "list.jsonl")) == 0
    assert "2 images cannot be read" in capsys.readouterr().err
    lines = lines_of(out)
    assert [line["image"] for line in lines] == listed
    assert [i for i, line in enumerate(lines) if "error" in line] == [4, 5]
    assert "cut.png" in str(lines[4]["error"]) and "there is no image" in str(lines[5]["error"])
    plain = [prediction.score for prediction in invad.load(trained).stream(good, batch_size=4)]
    assert [line["score"] for line in lines if "error" not in line] == pytest.approx(plain, rel=1e-5)
    assert predict(trained, tmp_path / "strict", str(tmp_path / "list.jsonl"), "--strict") == 2
    assert "cut.png" in capsys.readouterr().err
    kept = (tmp_path / "strict" / WORK / "00000-of-00001.jsonl").read_text().splitlines()
    assert [json.loads(line)["image"] for line in kept] == listed[:4], "what came before it is kept"


def test_the_library_takes_any_iterator(trained: Path, data: Path) -> None:
    path = sorted(data.rglob("*.png"))[0]
    array = np.asarray(Image.open(path).convert("RGB"))
    predictor = invad.load(trained)
    found = list(predictor.outcomes(iter([path, str(path), array, Image.open(path), "absent.png", array[..., 0]])))
    assert isinstance(found[4], ImageError) and len(found) == 6
    scores = [prediction.score for prediction in found if isinstance(prediction, invad.Prediction)]
    assert scores[0] == scores[1] == scores[2] == scores[3]
    with pytest.raises(ImageError, match="absent"):
        list(predictor.stream(["absent.png"]))


def test_a_pil_image_scores_as_its_file(trained: Path, data: Path, tmp_path: Path) -> None:
    path, exif = tmp_path / "turned.png", Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    with Image.open(sorted(data.rglob("*.png"))[0]) as image:
        image.convert("LA").save(path, exif=exif)
    predictor = invad.load(trained)
    by_path, by_image = predictor(path), predictor(Image.open(path))
    assert by_image.score == by_path.score and np.array_equal(by_image.map, by_path.map)


def test_an_endless_iterator_is_not_run_ahead_of(trained: Path) -> None:
    taken = 0

    def images() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield np.full((64, 64, 3), taken % 256, dtype=np.uint8)

    for seen, _ in enumerate(invad.load(trained).stream(images(), batch_size=4), start=1):  # type: ignore[arg-type]
        assert taken <= seen + 4 * 4 + 8
        if seen == 60:
            break


def test_parquet_holds_the_same(expected: list[dict[str, object]], trained: Path, few: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    out = tmp_path / "out"
    assert predict(trained, out, str(few), str(tmp_path / "*"), "--format", "parquet") == 2, "no such files"
    assert predict(trained, out, str(few), "--format", "parquet", "--threshold", "0.01") == 0
    rows = parquet.read_table(out / "predictions.parquet").to_pylist()
    same(rows, expected)
    assert all(row["anomalous"] and row["regions"][0]["area"] > 0 and row["error"] is None for row in rows)


def test_without_pyarrow_the_message_says_what_to_install(
    trained: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert predict(trained, tmp_path / "out", str(data), "--format", "parquet") == 2
    assert "pip install 'invad[parquet]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_of_the_users_is_overwritten(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(sorted(data.rglob("*.png"))[0])
    for taken in ("predictions.jsonl", "overlays/0000000_mine.jpg", "maps/a.npy"):
        out = tmp_path / taken.replace("/", "_")
        (out / taken).parent.mkdir(parents=True)
        (out / taken).write_text("mine")
        argv = ["predict", str(trained), image, "--out", str(out), "--quiet"]
        assert run(argv) == 2
        assert "exists; choose another --out, or pass --overwrite" in capsys.readouterr().err
        assert (out / taken).read_text() == "mine" and not (out / WORK).exists()
        assert run([*argv, "--overwrite"]) == 0
        assert len((out / "predictions.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "a/..",
        "..",
        "C:\\x\\y.png",
        "a/b\x00c\n.png",
        "ü" * 300,
        "a/" + "b" * 400,
        "",
    ],
)
def test_output_names_stay_in_their_folder(path: str) -> None:
    name = output_name(12, Path(path))
    assert name.startswith("0000012_") and len(name) < 100
    assert Path(name).name == name and not set(name) & set('/\\:*?"<>|\0\n')
    assert output_name(13, Path(path)) != name


def test_results_inside_the_images_are_no_images(trained: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, path in enumerate(sorted(data.rglob("*.png"))[:3]):
        (folder / f"{number}.png").write_bytes(path.read_bytes())
    argv = ["predict", str(trained), str(folder), "--out", str(folder / "found"), "--quiet"]
    assert run(argv) == 0
    assert run([*argv, "--overwrite"]) == 0
    assert len(lines_of(folder / "found")) == 3


def test_standard_input(trained: Path, data: Path, tmp_path: Path) -> None:
    paths = [str(path) for path in sorted(data.rglob("*.png"))[:5]]
    argv = [sys.executable, "-m", "invad", "predict", str(trained), "-", "--out", str(tmp_path / "o"), "--no-overlays"]
    done = subprocess.run(argv, input="\n".join(paths), capture_output=True, text=True, check=True)
    assert [json.loads(line)["image"] for line in done.stdout.splitlines()] == paths
    with pytest.raises(SettingsError, match="cannot share standard input"):
        Predicting(
            invad.load(trained),
            ["-"],
            Output(folder=tmp_path),
            shard=Shard(rank=0, count=2),
            on_drift=lambda drift: None,
        )


def test_an_answer_before_the_next_question(trained: Path, data: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "invad", "predict", str(trained), "-", "--out", str(tmp_path / "o"), "--batch-size"]
    with subprocess.Popen([*argv, "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        for path in [*sorted(data.rglob("*.png"))[:3], tmp_path / "none.png"]:
            print(path, file=process.stdin, flush=True)
            assert json.loads(process.stdout.readline())["image"] == str(path)  # waits for ever where it comes later
        process.stdin.close()
        assert process.wait() == 0


@pytest.mark.parametrize("environment", [{"WORLD_SIZE": "2", "RANK": "2"}, {"WORLD_SIZE": "x"}, {"WORLD_SIZE": "0"}])
def test_a_senseless_environment_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="RANK below WORLD_SIZE"):
        current_shard(environment)


def written(journal: Journal, names: Sequence[str], *, listed: bool) -> None:
    items = [Item(path=Path(name)) for name in names]
    if journal.look(journal.folder / "predictions.jsonl", (), "", resume=True, overwrite=False) == "absent":
        journal.create("", items if listed else None, overwrite=False)
    journal.start()
    to_come = journal.items() if listed else iter(items)
    list(journal.finished(to_come))
    for item in to_come:
        journal.append({"image": str(item.path), "n": 1.5})
    journal.complete()


@pytest.mark.parametrize("listed", [True, False])
def test_a_journal_cut_at_any_byte_ends_the_same(tmp_path: Path, listed: bool) -> None:
    names = ["a.png", "ü b.png", "c.png"]
    journal = Journal(tmp_path / "out", {"a": 1}, Shard())
    written(journal, names, listed=listed)
    whole = b"".join(journal.merged())
    assert whole.count(b"\n") == 3
    for cut in range(len(whole)):
        (journal.work / "00000-of-00001.jsonl").write_bytes(whole[:cut])
        again = Journal(journal.folder, {"a": 1}, Shard())
        written(again, names, listed=listed)
        assert b"".join(again.merged()) == whole
    with pytest.raises(RunError, match=r"it has ü b\.png where there is now c\.png"):
        list(journal.finished(iter([Item(path=Path("a.png")), Item(path=Path("c.png"))])))


def test_a_class_is_told_by_a_folder_or_a_manifest_and_has_its_own_colours(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    invad.Run.open(folder).write_scale(ColourScale(1.9, 2.0, {"fabric": (0.01, 0.015)}))
    path = next((data / "fabric/test").glob("*/*.png"))
    manifest = tmp_path / "images.jsonl"
    manifest.write_text(json.dumps({"image": "line/1.png", "class": "fabric"}) + "\n")
    for name in ("line", "line/fabric/monday"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / name / "1.png")
    roots = [str(tmp_path / "line"), str(manifest)]
    assert run(["predict", str(folder), *roots, "--out", str(tmp_path / "out"), "--quiet"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert [line.get("class") for line in lines] == [None, "fabric", "fabric"]
    shown = [np.asarray(Image.open(line["overlay"]), dtype=float) for line in lines]
    plain, *coloured = (np.abs(picture - read_image(path)).mean() for picture in shown)
    assert min(coloured) > 3 * plain, "without a class it differs by the JPEG's loss alone"
