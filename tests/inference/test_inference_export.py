"""Every format and precision: a file that scores as its run does, whatever size the photos have, or is refused."""

import errno
import json
import math
import os
import runpy
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import invad
from invad.cli import evaluation as cli_evaluation
from invad.cli.main import run as invad_command
from invad.colours import ColourScale
from invad.data import make_synthetic, read_image
from invad.data.hashing import content_hash
from invad.errors import InvadError, ModelFileError, RunError, SettingsError
from invad.inference import bench as timing
from invad.inference import export_images, exporting, selfcheck
from invad.inference.exporting import Target, export
from invad.inference.onnx_file import providers
from invad.inference.opening import open_model
from invad.inference.openvino_file import OpenVinoScorer
from invad.inference.rewriting import write_decision
from invad.inference.scorer import plain_scorer
from invad.inference.selfcheck import BOUND, Loss, cases, compare
from invad.inference.sharding import Shard
from invad.runs import Run, load_model

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

FILES = {"onnx": "model.onnx", "openvino": "model.xml", "pt2": "model.pt2"}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("export")
    make_synthetic(root / "set", train=6, good=3, defective=2, size=96)
    settings = invad.TrainSettings(
        data=(f"folder:{root / 'set'}",), encoder="resnet18", weights="random", image_size=(64, 96),
        blocks=(1, 1, 2), epochs=2, batch_size=8,
    )  # fmt: skip
    invad.train(settings, root / "run", quiet=True)
    invad.calibrate(root / "run", normal=[root / "set/capsule/test/good"], false_alarms=0.3, quiet=True)
    return root / "run"


@pytest.fixture(scope="session")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("files")

    def make(kind: str) -> Path:
        path = folder / FILES[kind]
        if not path.exists():
            found = export(trained, path, to=kind)  # type: ignore[arg-type]
            assert found.differences.map < 1e-4 and found.differences.score < 1e-4
        return path

    return make


def photos(batch: int, height: int, width: int) -> NDArray[np.uint8]:
    """Photos that are smooth enough for a resize to be unambiguous, and not symmetrical."""
    rng = np.random.default_rng(height)
    coarse = [Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)) for _ in range(batch)]
    return np.stack([np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)) for image in coarse])


def test_a_file_is_evaluated_as_its_run(trained: Path, exported: Callable[[str], Path], tmp_path: Path) -> None:
    run = Run.open(trained)
    file, data = str(exported("onnx")), run.settings().data
    invad_command(["evaluate", file, "--data", *data, "--bootstrap", "0", "--out", str(tmp_path / "found")])
    names = {f"results-{protocol}.{kind}" for protocol in ("exact", "paper") for kind in ("json", "csv", "md")}
    assert {path.name for path in (tmp_path / "found").iterdir()} == names
    found, wanted = invad.evaluate(file, data=data, quiet=True), invad.evaluate(trained, quiet=True)
    assert np.allclose(found.scores, wanted.scores, atol=1e-5)
    for one, other in zip(found.results, wanted.results, strict=True):
        assert one.mean == pytest.approx(other.mean, abs=1e-6)
        assert one.classes[0].defects == other.classes[0].defects, "found by the thresholds that ride inside"
    assert any("the calibrated threshold" in text for text in found.results[0].warnings)
    assert json.loads((tmp_path / "found/results-exact.json").read_text())["mean"] == found.results[0].mean


def test_a_file_without_tables_is_not_resampled(
    trained: Path, exported: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Intervals stand in written tables alone."""
    asked: list[int] = []
    monkeypatch.setattr(cli_evaluation, "evaluate", lambda *args, **options: asked.append(options["bootstrap"]))
    monkeypatch.setattr(cli_evaluation, "is_first", lambda: False)
    data = ["--data", *Run.open(trained).settings().data]
    for more in ([str(exported("onnx"))], [str(exported("onnx")), "--out", "found"], [str(trained)]):
        assert invad_command(["evaluate", *more, *data]) == 0
    assert asked == [0, 200, 200]


def test_a_file_says_what_it_needs_to_be_evaluated(
    trained: Path, exported: Callable[[str], Path], tmp_path: Path
) -> None:
    file, data = exported("onnx"), Run.open(trained).settings().data
    with pytest.raises(SettingsError, match="does not say where its data lie; name some: --data"):
        invad.evaluate(file, quiet=True)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(SettingsError, match="is no empty folder"):
        invad.evaluate(file, data=data, out=tmp_path, quiet=True)
    with pytest.raises(SettingsError, match="go into its own folder"):
        invad.evaluate(trained, out=tmp_path / "found", quiet=True)


@pytest.mark.parametrize("kind", FILES)
def test_a_file_scores_as_its_run(kind: str, trained: Path, exported: Callable[[str], Path]) -> None:
    scorer = open_model(exported(kind), device="cpu").scorer
    reference = plain_scorer(load_model(Run.open(trained)), (64, 96))
    assert scorer.size == (64, 96)
    for shape in ((1, 64, 96), (5, 64, 96)):
        (maps, scores), (wanted, wanted_scores) = scorer(photos(*shape)), reference(photos(*shape))
        bound = 1e-4 * (wanted.max() - wanted.min())
        assert maps.dtype == np.float32 and maps.shape == wanted.shape == (shape[0], 64, 96)
        assert np.abs(maps - wanted).max() < bound and np.abs(scores - wanted_scores).max() < bound
    for shape in ((1, 200, 300), (2, 33, 500), (1, 97, 40), (1, 1, 1)):  # the graph resizes; a grey level is little
        (maps, scores), (wanted, wanted_scores) = scorer(photos(*shape)), reference(photos(*shape))
        assert np.abs(maps - wanted).max() < 0.02 * wanted.max()
        assert np.abs(scores - wanted_scores).max() < 0.02 * wanted.max()


def test_the_example_turns_photos_as_they_are_turned_here(exported: Callable[[str], Path], tmp_path: Path) -> None:
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples/run_the_exported_file.py"))
    flags = Image.Exif()
    flags[0x0112] = 6  # to be turned by a quarter, to the model's size
    Image.fromarray(photos(1, 96, 64)[0]).save(tmp_path / "photo.png", exif=flags)
    (score,), _ = example["alone"](exported("onnx"), [tmp_path / "photo.png"])
    assert score == pytest.approx(invad.load(exported("onnx"))(tmp_path / "photo.png").score, abs=1e-6)


@pytest.mark.parametrize("kind", FILES)
def test_predictor_takes_any_model(kind: str, trained: Path, exported: Callable[[str], Path]) -> None:
    image = photos(1, 130, 110)[0]
    ours, theirs = invad.load(trained)(image), invad.load(exported(kind), threshold=0.0)(image)
    assert theirs.score == pytest.approx(ours.score, abs=1e-5) and theirs.anomalous
    inside, outside = invad.load(exported(kind)).calibration, invad.load(trained).calibration
    assert inside is not None and outside is not None and inside.overall == outside.overall
    assert np.abs(ours.map - theirs.map).max() < 1e-5


@pytest.mark.parametrize("kind", ["run", "pt2"])
def test_torch_computes_with_the_threads_asked_for(
    kind: str, trained: Path, exported: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = trained if kind == "run" else exported(kind)
    wanted = torch.get_num_threads() + 1
    scorer: Any = open_model(path, device="cpu", threads=wanted).scorer
    module, seen = scorer._module, []
    monkeypatch.setattr(scorer, "_module", lambda images: seen.append(torch.get_num_threads()) or module(images))
    scorer(photos(1, 64, 96))
    assert seen == [wanted] and torch.get_num_threads() == wanted - 1, "what others compute with is as before"
    with pytest.raises(SettingsError, match="threads must be 1 or more, not 0"):
        open_model(path, device="cpu", threads=0)


@pytest.mark.parametrize("kind", FILES)
def test_what_rides_inside(kind: str, trained: Path, exported: Callable[[str], Path]) -> None:
    opened = open_model(exported(kind), device="cpu")
    assert opened.decision == {**(own := json.loads((trained / "calibration.json").read_text())), "places": []}
    assert own["images"] == "good" and all(place.startswith("images: /") for place in own["places"])
    assert opened.scale == Run.open(trained).scale()
    assert opened.model == open_model(trained, device="cpu").model
    manifest = opened.scorer.manifest  # type: ignore[attr-defined]
    assert set(manifest.classes) == {"capsule", "fabric", "washer", "wood"}
    assert manifest.settings["blocks"] == [1, 1, 2] and "torch" in manifest.versions
    for data in (path.read_bytes() for path in exported(kind).parent.glob("model.*")):
        assert str(trained.parent).encode() not in data, "no path of this machine"


@pytest.mark.parametrize("kind", FILES)
def test_a_changed_file_is_refused(kind: str, exported: Callable[[str], Path], tmp_path: Path) -> None:
    good = exported(kind)
    whole = bytearray(good.with_suffix(".bin").read_bytes() if kind == "openvino" else good.read_bytes())
    whole[len(whole) // 2] ^= 1
    bad = tmp_path / good.name
    bad.write_bytes(good.read_bytes() if kind == "openvino" else whole)
    if kind == "openvino":
        bad.with_suffix(".bin").write_bytes(whole)
    with pytest.raises(ModelFileError, match=r"damaged|checksum"):
        open_model(bad, device="cpu")
    bad.write_bytes(good.read_bytes()[: len(good.read_bytes()) // 3])
    with pytest.raises(ModelFileError, match=r"damaged|checksum|cut short"):
        open_model(bad, device="cpu")
    bad.write_bytes(b"")
    with pytest.raises(InvadError):
        open_model(bad, device="cpu")


def test_openvino_needs_both_files(exported: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "alone.xml"
    path.write_bytes(exported("openvino").read_bytes())
    with pytest.raises(ModelFileError, match=r"two files"):
        open_model(path)


def test_another_format_version_is_refused(exported: Callable[[str], Path], tmp_path: Path) -> None:
    import onnx

    from invad.inference.manifest import EMPTY, FORMAT, KEY, MARK, seal

    model = onnx.load(exported("onnx"))
    text = next(p.value for p in model.metadata_props if p.key == KEY)
    other = text.replace(f'"version": {FORMAT}', f'"version": {FORMAT + 1}')
    newer = MARK.sub(EMPTY.encode(), other.encode()).decode()
    onnx.helper.set_model_props(model, {KEY: newer})
    path = tmp_path / "newer.onnx"
    path.write_bytes(seal(model.SerializeToString()))
    with pytest.raises(ModelFileError, match=f"reads 'invad-model' {FORMAT}"):
        open_model(path)


def test_a_manifest_of_before_classes_had_colours_is_read() -> None:
    from invad.inference.manifest import Manifest

    manifest = Manifest(size=(64, 96), precision="fp32", scale=ColourScale(0.1, 0.9), model="0" * 64)
    values = {**json.loads(manifest.to_json()), "version": 1, "scale": [0.1, 0.9]}
    assert Manifest.from_json(json.dumps(values), "old.onnx") == manifest


def test_command_line(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep/model.onnx"
    argv = ["export", str(trained), "--to", "onnx", "--out", str(out)]
    out.parent.mkdir()
    out.with_suffix(".bin").write_bytes(bytes(2**20))  # somebody else's
    assert invad_command(argv) == 0
    shown = capsys.readouterr().out
    assert "fp32" in shown and "of its range" in shown
    assert "checked on 8 of the run's training images (24 of 24 are there): largest" in shown
    assert f"model.onnx: fp32, {out.stat().st_size / 2**20:.1f} MiB\n" in shown
    before = out.read_bytes()
    assert invad_command(argv) == 2 and "--overwrite" in capsys.readouterr().err and out.read_bytes() == before
    photo = tmp_path / "photo.png"
    Image.fromarray(photos(1, 80, 70)[0]).save(photo)
    assert invad_command(["predict", str(out), str(photo), "--out", str(tmp_path / "p")]) == 0
    line = json.loads((tmp_path / "p/predictions.jsonl").read_text())
    assert Path(line["overlay"]).is_file()
    capsys.readouterr()
    argv = ["bench", str(out), "--seconds", "0.01", "--batches", "1", "2", "--price-per-hour", "2", "--watts", "100"]
    assert invad_command(argv) == 0
    shown = capsys.readouterr().out
    assert "p99" in shown and "kWh" in shown and "price" in shown
    assert invad_command(["predict", str(tmp_path / "none.onnx"), str(photo)]) == 2
    assert "there is no model" in capsys.readouterr().err


@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_calibrated_by_its_own_scores(
    kind: str, trained: Path, exported: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy_of(exported(kind), tmp_path)
    weights = path.with_suffix(".bin").read_bytes() if kind == "openvino" else b""
    before, manifest = path.read_bytes(), open_model(path, device="cpu").manifest
    argv = ["calibrate", str(path), "--quiet", "--device", "cpu", "--false-alarms", "0.2"]
    assert invad_command(argv) == 2 and "does not know which images its training held back" in capsys.readouterr().err
    photos = Run.open(trained).settings().data[0].partition(":")[2]
    argv += ["--normal", f"{photos}/fabric/test/good", f"{photos}/wood/test/good"]
    assert invad_command(argv) == 2 and "pass --overwrite" in capsys.readouterr().err and path.read_bytes() == before
    assert invad_command([*argv, "--overwrite"]) == 0
    predictor = invad.load(path, device="cpu", class_name="fabric")
    found = predictor.calibration
    assert found is not None and found.images == "good, good" and sorted(found.scores) == ["fabric", "wood"]
    own = [one.score for one in predictor.stream(sorted(Path(photos).glob("fabric/test/good/*")))]
    assert sorted(own) == pytest.approx(found.scores["fabric"], rel=1e-6)
    for text in ("which images the model was trained on is not known", "no normal image of capsule, washer"):
        assert any(text in notice for notice in found.notices)
    after = open_model(path, device="cpu").manifest
    assert manifest is not None and after is not None and replace(after, decision=manifest.decision) == manifest
    assert not weights or path.with_suffix(".bin").read_bytes() == weights
    assert not list(tmp_path.glob(".*")), "nothing is left beside it"


def copy_of(path: Path, folder: Path) -> Path:
    """An exported file elsewhere."""
    for file in path.parent.glob(f"{path.stem}.*"):
        if file.suffix in (path.suffix, ".bin"):
            shutil.copy(file, folder)
    return folder / path.name


def test_a_file_that_was_replaced_meanwhile_stays_as_it_is(exported: Callable[[str], Path], tmp_path: Path) -> None:
    path = copy_of(exported("onnx"), tmp_path)
    opened = open_model(path, device="cpu")
    assert opened.manifest is not None and opened.decision is not None
    calibration = invad.Calibration.from_json(json.dumps(opened.decision))
    path.write_bytes(b"another")
    with pytest.raises(ModelFileError, match="was replaced while it was calibrated"):
        write_decision(path, opened.manifest, calibration, expected=content_hash(exported("onnx")))
    assert path.read_bytes() == b"another"


def test_a_calibration_of_another_model_is_refused(
    trained: Path, exported: Callable[[str], Path], tmp_path: Path
) -> None:
    path = copy_of(exported("onnx"), tmp_path)
    opened = open_model(path, device="cpu")
    assert opened.manifest is not None and opened.decision is not None
    other = invad.Calibration.from_json(json.dumps({**opened.decision, "model": "f" * 64}))
    write_decision(path, opened.manifest, other, expected=content_hash(path))
    with pytest.raises(RunError, match="belongs to another model than the file"):
        invad.load(path, device="cpu")
    moved = Path(shutil.copytree(trained, tmp_path / "run"))
    file, text = moved / "calibration.json", (moved / "calibration.json").read_text()
    for damaged, word in (
        (text.replace(opened.model, "f" * 64), "belongs to another model"),
        ("{", "no calibration, or damaged"),
        ('{"format": "x"}', "no calibration, or damaged"),
        ("[]", "no calibration, or damaged"),
    ):
        file.write_text(damaged)
        with pytest.raises(RunError, match=word):
            export(moved, tmp_path / "a.onnx", to="onnx")
    assert not (tmp_path / "a.onnx").exists()


def test_a_lower_precision_says_how_it_decides_and_takes_its_own_thresholds(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scores that all move by as much keep the AUROC; the number of alarms changes."""
    moved = Path(shutil.copytree(trained, tmp_path / "run"))
    photos = Path(Run.open(trained).settings().data[0].partition(":")[2])
    held = [{"image": str(path), "class": path.parts[-4], "split": "train"} for path in photos.glob("*/test/good/*")]
    (moved / "held_back.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held))
    by_run = invad.calibrate(moved, false_alarms=0.2, overwrite=True, quiet=True)
    score = OpenVinoScorer.__call__

    def shifted(scorer: OpenVinoScorer, images: NDArray[np.uint8]) -> Any:
        maps, scores = score(scorer, images)
        return maps, scores + np.float32(0.5)

    (tmp_path / "broken.png").write_bytes(b"no image")  # since
    with (moved / "held_back.jsonl").open("a") as lines:
        lines.write(json.dumps({**held[0], "image": str(tmp_path / "broken.png")}) + "\n")
    monkeypatch.setattr(OpenVinoScorer, "__call__", shifted)
    argv = ["export", str(moved), "--to", "openvino", "--precision", "bf16", "--max-drop", "5"]
    assert invad_command([*argv, "--out", str(tmp_path / "a.xml")]) == 0
    shown = capsys.readouterr().out
    assert " images differently at the run's thresholds; its scores differ by +0.5 in the median" in shown
    assert "decides 0 of" not in shown and "taken from its own scores of the images held back" in shown
    size = sum((tmp_path / name).stat().st_size for name in ("a.xml", "a.bin"))
    assert f"a.xml: bf16, {size / 2**20:.1f} MiB\n" in shown
    own = invad.load(tmp_path / "a.xml", device="cpu").calibration
    assert own is not None and (own.method, own.wanted, own.images) == (by_run.method, 0.2, "held back in training")
    assert own.overall.image == pytest.approx(by_run.overall.image + 0.5, abs=0.02)
    assert "1 images cannot be read and were left out" in own.notices and not own.places
    (moved / "held_back.jsonl").write_text(json.dumps({**held[0], "image": str(tmp_path / "gone.png")}) + "\n")
    assert invad_command([*argv, "--out", str(tmp_path / "b.xml")]) == 0
    assert f"invad calibrate {tmp_path / 'b.xml'} --normal FOLDER --overwrite" in capsys.readouterr().out
    theirs = invad.load(tmp_path / "b.xml", device="cpu").calibration
    assert theirs is not None and theirs.scores == by_run.scores


def test_wishes_that_contradict_each_other(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not bf16"):
        export(trained, tmp_path / "a.onnx", to="onnx", precision="bf16")
    with pytest.raises(SettingsError, match="ends in"):
        export(trained, tmp_path / "a.onnx", to="pt2")


@pytest.mark.parametrize("max_drop", [math.nan, -0.1, -math.inf])
def test_a_loss_that_cannot_be_meant_is_refused_before_anything_is_computed(
    max_drop: float, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "load_model", lambda _: pytest.fail("the model was loaded"))
    with pytest.raises(SettingsError, match=r"--max-drop must be 0 or more points .*, not "):
        export(trained, tmp_path / "a.xml", to="openvino", precision="bf16", max_drop=max_drop)


@pytest.mark.parametrize(
    ("to", "name"), [("onnx", "a.onnx"), ("openvino", "a.xml"), ("openvino", "a.bin"), ("pt2", "a.pt2")]
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_place_that_no_file_can_take_is_refused_before_anything_is_computed(
    to: Target, name: str, overwrite: bool, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "load_model", lambda _: pytest.fail("the model was loaded"))
    taken = tmp_path / name
    taken.mkdir()
    out = taken.with_suffix(exporting.SUFFIX[to])
    with pytest.raises(RunError, match=rf"cannot write .*{name}: it is a folder. Name a file, such as .*{name}/{name}"):
        export(trained, out, to=to, overwrite=overwrite)
    taken.rmdir()
    taken.write_text("no folder")
    with pytest.raises(RunError, match=r"cannot write .*: Not a directory.* choose another folder"):
        export(trained, taken / out.name, to=to, overwrite=overwrite)
    assert list(tmp_path.iterdir()) == [taken]


@pytest.mark.parametrize("too_large", ["model.bin", "model.xml"])
def test_a_full_disk_leaves_the_old_model_whole(
    too_large: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {"model.bin": b"old weights", "model.xml": b"old"}
    new = {"model.bin": b"new weights, which are longer", "model.xml": b"a new graph"}
    for name, data in old.items():
        (tmp_path / name).write_bytes(data)
    sync = os.fsync

    def fails(handle: int) -> None:
        state = os.fstat(handle)
        if stat.S_ISREG(state.st_mode) and state.st_size == len(new[too_large]):
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(RunError, match=f"cannot write .*{too_large}: No space left on device"):
        exporting._write(tmp_path / "model.xml", (new["model.bin"], new["model.xml"]))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_of_two_files_the_weights_are_renamed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renamed: list[str] = []
    rename = Path.replace

    def watched(part: Path, target: Path) -> Path:
        renamed.append(target.name)
        return rename(part, target)

    monkeypatch.setattr(Path, "replace", watched)
    exporting._write(tmp_path / "model.xml", (b"weights", b"graph"))
    assert renamed == ["model.bin", "model.xml"]
    assert (tmp_path / "model.bin").read_bytes() == b"weights" and (tmp_path / "model.xml").read_bytes() == b"graph"
    exporting._write(tmp_path / "model.onnx", (b"alone",))
    assert (tmp_path / "model.onnx").read_bytes() == b"alone" and renamed[2:] == ["model.onnx"]


def test_a_file_names_no_folder_of_the_calibrating_machine(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither as an absolute path nor as a relative one."""
    run = Run.open(shutil.copytree(trained, tmp_path / "run"))
    photos = run.settings().data[0].partition(":")[2]
    shutil.copytree(Path(photos) / "fabric/test/good", tmp_path / "my secrets/line/fabric")
    (tmp_path / "my secrets/line/fabric/broken.png").write_bytes(b"no image")
    replace(run.settings(), data=("folder:my secrets/gone",), skip_unreadable=True).save(run.settings_file)
    monkeypatch.chdir(tmp_path)
    argv = ["--normal", "my secrets/line", "--false-alarms", "0.3", "--overwrite", "--quiet"]
    assert invad_command(["calibrate", "run", *argv]) == 0
    said = capsys.readouterr().out
    assert "images: my secrets/line\n" in said and "cannot be read: my secrets/line/fabric/broken.png\n" in said
    chosen = invad.load("run").calibration
    assert chosen is not None and len(chosen.places) == 3 and chosen.images == "line"
    export("run", "a.onnx", to="onnx", normal=[Path(photos) / "fabric/test/good"])
    for more in ([], argv):
        assert not more or invad_command(["calibrate", "a.onnx", *more]) == 0
        opened = open_model(Path("a.onnx"), device="cpu")
        assert "secrets" not in json.dumps(opened.decision)
        found = invad.load("a.onnx", device="cpu").calibration
        assert found is not None and (found.images, found.places) == ("line", ())
        assert "1 images cannot be read and were left out" in found.notices
    assert "whether there are test images among them is not known: the run's data cannot be used" in chosen.notices


def test_a_precision_that_costs_too_much_is_refused(
    trained: Path, exported: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = exporting.measure_loss

    def dear(*arguments: Any) -> Loss:
        return replace(measure(*arguments), before=99.0, after=96.0)

    monkeypatch.setattr(exporting, "measure_loss", dear)
    path = tmp_path / FILES["onnx"]
    before = exported("onnx").read_bytes()
    path.write_bytes(before)
    with pytest.raises(ModelFileError, match="no file is written"):
        export(trained, path, to="onnx", precision="fp16", overwrite=True)
    assert path.read_bytes() == before, "what stood there still stands"
    found = export(trained, path, to="onnx", precision="fp16", max_drop=math.inf, overwrite=True)
    assert found.loss is not None and found.loss.drop == 3.0


def test_test_images_that_cannot_be_read_are_left_out(trained: Path, tmp_path: Path) -> None:
    settings = Run.open(trained).settings()
    (layout, _, root), copy = settings.data[0].partition(":"), tmp_path / "set"
    shutil.copytree(root, copy)
    settings = replace(settings, data=(f"{layout}:{copy}",))
    images, labels = export_images.labelled_images(settings)
    next(copy.glob("capsule/test/good/*.png")).write_bytes(b"no image")
    fewer, left = export_images.labelled_images(settings)
    assert len(fewer) == len(left) == len(images) - 1
    assert labels.count(("capsule", False)) - left.count(("capsule", False)) == 1
    for path in copy.glob("capsule/test/good/*.png"):
        path.write_bytes(b"no image")
    assert {name for name, _ in labels} - {name for name, _ in export_images.labelled_images(settings)[1]} == {
        "capsule"
    }


def test_int8_of_any_size(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    path = tmp_path / FILES["openvino"]
    found = export(trained, path, to="openvino", precision="int8", max_drop=100)
    assert found.loss is not None and found.differences.map < 0.5
    scorer = open_model(path, device="cpu").scorer
    whole, resized = scorer(photos(1, 64, 96)), scorer(photos(2, 90, 70))
    assert whole[0].shape == (1, 64, 96) and resized[0].shape == (2, 64, 96)


def test_without_the_training_images(trained: Path, tmp_path: Path) -> None:
    moved = tmp_path / "run"
    shutil.copytree(trained, moved)
    (moved / "records.jsonl").unlink()
    found = export(moved, tmp_path / "a.onnx", to="onnx")
    assert found.images == "8 of 8 synthetic images, since no photos were at hand"
    folder = tmp_path / "normal"
    folder.mkdir()
    Image.fromarray(photos(1, 80, 70)[0]).save(folder / "a.png")
    found = export(moved, tmp_path / "b.onnx", to="onnx", normal=(folder,))
    assert found.images == "1 of 1 images of --normal"


def test_an_export_reads_the_photos_it_compares_and_holds_them_at_the_models_size(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "normal"
    folder.mkdir()
    for i in range(selfcheck.COMPARED + 4):
        Image.fromarray(photos(1, 150 + i, 200)[0]).save(folder / f"{i:02d}.png")
    read: list[Path] = []
    held: set[tuple[int, ...]] = set()

    def watched_read(path: Path) -> NDArray[np.uint8]:
        read.append(path)
        return read_image(path)

    def watched_check(reference: object, out: object, asked: Any, *rest: object) -> exporting.Export:
        held.update(image.shape for image in asked.normal)
        return check(reference, out, asked, *rest)  # type: ignore[arg-type]

    check = exporting._check
    monkeypatch.setattr(export_images, "read_image", watched_read)
    monkeypatch.setattr(exporting, "_check", watched_check)
    export(trained, tmp_path / "a.onnx", to="onnx", normal=(folder,))
    assert len(read) == selfcheck.COMPARED and held == {(64, 96, 3)}


def test_a_folder_is_timed_on_a_few_of_its_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing:
        size = (4, 4)

        def __call__(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            return np.zeros((len(images), 4, 4), np.float32), np.zeros(len(images), np.float32)

    read: set[Path] = set()

    def watched(path: Path) -> NDArray[np.uint8]:
        read.add(path)
        return photos(1, 8, 8)[0]

    monkeypatch.setattr(timing, "read_image", watched)
    paths = [Path(f"{i}.png") for i in range(1000)]
    found = timing.bench(Nothing(), paths, seconds=1e-6, batches=(1, 4))
    assert found.photos == len(read) == timing.PHOTOS and paths[-1] in read


def test_group_norms_of_an_encoder_stay_as_they_are() -> None:
    from torch import nn
    from torch.nn import functional as F

    from invad.inference.onnx_file import _group_norm

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.of_encoder = nn.GroupNorm(2, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.of_encoder(x) + F.group_norm(x, 1)

    x, op = torch.randn(2, 4, 5, 6), torch.ops.aten.group_norm.default
    program = torch.export.export(Both(), (x,), strict=False).run_decompositions({op: _group_norm})
    assert sum(node.target == op for node in program.graph.nodes) == 1, "ours is written out, the encoder's is not"
    torch.testing.assert_close(program.module()(x), Both()(x))


def test_openvino_gets_what_its_fast_kernels_need(exported: Callable[[str], Path]) -> None:
    """Norms of one operation, and no resize for images of the model's size: without them only speed is lost."""
    import openvino

    from invad.inference.openvino_file import _for_one

    def kinds(model: openvino.Model) -> list[str]:
        return [op.get_type_name() for op in model.get_ordered_ops()]

    whole = openvino.Core().read_model(exported("openvino"))
    one = _for_one(whole, (64, 96))
    assert "MVN" in kinds(whole) and "Floor" in kinds(whole)
    assert "Floor" not in kinds(one) and one.output("map").shape == openvino.Shape([1, 64, 96])


def test_every_form_of_an_openvino_file_is_checked(trained: Path, exported: Callable[[str], Path]) -> None:
    scorer = open_model(exported("openvino"), device="cpu").scorer
    reference = plain_scorer(load_model(Run.open(trained)), (64, 96))
    found = compare(cases(reference, list(photos(3, 64, 96))), scorer)
    assert found.map < BOUND and found.score < BOUND
    assert {"_one", "_several", "_any_size"} <= set(vars(scorer)), "each is compiled where it is first used"


def test_every_process_has_a_device_that_its_file_can_use(exported: Callable[[str], Path]) -> None:
    device = Shard(rank=3, count=4, local=3).device("auto")
    for kind in FILES:
        assert open_model(exported(kind), device=device).scorer(photos(1, 64, 96))[1].shape == (1,)
    cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    assert providers(device, [cpu]) == providers("cpu", [cuda, cpu]) == [cpu]
    assert providers("auto", [cuda, cpu]) == providers("cuda", [cuda, cpu]) == [(cuda, {"use_tf32": "0"}), cpu]
    assert providers("cuda:2", [cuda, cpu]) == [(cuda, {"use_tf32": "0", "device_id": "2"}), cpu]
    with pytest.raises(SettingsError, match="cannot use the device 'cuda:2'"):
        providers("cuda:2", [cpu])
