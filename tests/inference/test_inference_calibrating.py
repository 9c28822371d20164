"""A run is calibrated, and evaluates and predicts by it."""

import dataclasses
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import invad
from invad.cli.calibration import promise, show
from invad.cli.main import run
from invad.errors import DataError, RunError, SettingsError
from invad.inference import Calibration
from invad.inference.calibration import FILE, ridden_calibration
from invad.inference.thresholds import from_normal
from invad.reporting import report
from invad.runs import Run


@pytest.fixture
def fresh(trained: Path, tmp_path: Path) -> Path:
    """The run in a folder of its own."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="module")
def normal(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Normal images that are neither trained nor tested on, in folders of their classes."""
    root = tmp_path_factory.mktemp("normal")
    invad.data.make_synthetic(root / "made", train=30, good=1, defective=1, size=96, seed=0)
    old = {path.relative_to(data) for path in data.glob("*/train/good/*.png")}
    for path in (root / "made").glob("*/train/good/*.png"):
        if path.relative_to(root / "made") not in old:
            target = root / "line" / path.parts[-4] / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return root / "line"


def test_thresholds_from_normal_images(fresh: Path, normal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["calibrate", str(fresh), "--normal", str(normal), "--false-alarms", "0.05", "--quiet"]
    assert run(argv) == 0
    out = capsys.readouterr().out
    assert "overall" in out and "at most 10 % with 119 normal images" in out
    calibration = invad.Calibration.from_json((fresh / FILE).read_text())
    names = sorted(path.name for path in normal.iterdir())
    assert sorted(calibration.classes) == sorted(calibration.scores) == names
    assert calibration.test_images == 0 and calibration.notices == ()
    predictor = invad.load(fresh, class_name=names[0])
    for name in names:
        paths = sorted((normal / name).iterdir())
        scores = sorted(prediction.score for prediction in predictor.stream(paths, batch_size=16))
        assert calibration.scores[name] == pytest.approx(scores, rel=1e-5)
        k = int(np.ceil((len(paths) + 1) * 0.95)) - 1
        assert calibration.classes[name].image == np.nextafter(calibration.scores[name][k], np.inf)
    assert run(argv) == 2
    assert "exists; pass --overwrite" in capsys.readouterr().err
    assert run([*argv, "--overwrite"]) == 0


def test_predictions_decide_by_it(fresh: Path, normal: Path, data: Path, tmp_path: Path) -> None:
    calibration = invad.calibrate(fresh, normal=[normal], false_alarms=0.2, quiet=True)
    name = sorted(calibration.classes)[0]
    path = sorted(data.glob(f"{name}/test/*/*.png"))[0]
    overall, own = invad.load(fresh)(path), invad.load(fresh, class_name=name)(path)
    assert overall.score == own.score
    assert overall.anomalous == (overall.score >= calibration.overall.image)
    assert own.anomalous == (own.score >= calibration.classes[name].image) == bool(own.regions)
    assert own.share_below == np.mean(np.array(calibration.scores[name]) < own.score)
    assert overall.share_below == calibration.share_below(overall.score)
    by_hand = invad.load(fresh, threshold=0.0)(path)
    assert by_hand.anomalous and by_hand.regions[0].box == (0, 0, 96, 96) and by_hand.regions[0].area == 96 * 96
    with pytest.raises(SettingsError, match="knows no class 'teapot'"):
        invad.load(fresh, class_name="teapot")
    out = tmp_path / "out"
    manifest = tmp_path / "list.csv"
    shutil.copy(path, tmp_path / "nowhere.png")
    manifest.write_text(f"image,class\nnowhere.png,{name}\nnowhere.png,\n")
    assert run(["predict", str(fresh), str(manifest), "--out", str(out), "--quiet"]) == 0
    first, second = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert (first["class"], first["share_below"]) == (name, own.share_below)
    assert "class" not in second and second["share_below"] == overall.share_below


def test_images_of_unknown_class_are_said(fresh: Path, normal: Path, tmp_path: Path) -> None:
    (flat := tmp_path / "flat").mkdir()
    for number, path in enumerate(sorted(normal.rglob("*.png"))[:8]):
        shutil.copy(path, flat / f"{number}.png")
    said = "what 8 of 8 images show is not known, so they count for the overall threshold alone"
    assert any(said in text for text in invad.calibrate(fresh, normal=[flat], false_alarms=0.2, quiet=True).notices)
    again = invad.calibrate(fresh, normal=[normal], false_alarms=0.2, overwrite=True, quiet=True)
    assert not any("is not known, so" in text for text in again.notices)


def test_regions_may_have_a_rate_of_their_own(fresh: Path, normal: Path) -> None:
    calibration = invad.calibrate(fresh, normal=[normal], false_alarms=0.05, regions=0.3, quiet=True)
    assert calibration.overall.pixel < calibration.overall.image
    predictor = invad.load(fresh)
    found = list(predictor.stream(sorted(normal.rglob("*.png"))))
    assert np.mean([bool(prediction.regions) for prediction in found]) == pytest.approx(0.3, abs=0.02)
    assert np.mean([prediction.anomalous for prediction in found]) <= 0.05


def test_evaluation_goes_by_it(fresh: Path, normal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calibration = invad.calibrate(fresh, normal=[normal], false_alarms=0.1, quiet=True)
    evaluation = invad.evaluate(fresh, protocols=("exact",), quiet=True)
    for one in evaluation.results[0].classes:
        chosen = [i for i, record in enumerate(evaluation.records) if record.class_name == one.name]
        for defect in one.defects:
            scores = [evaluation.scores[i] for i in chosen if evaluation.records[i].defect == defect.defect]
            assert defect.recall == np.mean(np.array(scores) >= calibration.classes[one.name].image)
        assert any(text.startswith(f"{one.name}: the calibrated threshold") for text in evaluation.results[0].warnings)
    assert "| recall |" in (fresh / "evaluation/results-exact.md").read_text()
    by_hand = invad.evaluate(fresh, protocols=("exact",), threshold=0.1, quiet=True)
    assert by_hand.results[0].threshold == 0.1
    assert not any("calibrated threshold" in text for text in by_hand.results[0].warnings)


def test_training_images_are_left_out(fresh: Path, normal: Path, data: Path) -> None:
    with pytest.raises(DataError, match="no normal image is left: the run was trained on 32"):
        invad.calibrate(fresh, normal=sorted(data.glob("*/train/good")), quiet=True)
    mixed = invad.calibrate(fresh, normal=[*data.glob("*/train/good"), normal, normal], false_alarms=0.2, quiet=True)
    assert mixed.notices[0] == "32 images were left out: the run was trained on them"
    assert mixed.overall.normal == len(list(normal.rglob("*.png"))), "each image counts once"


def test_copies_count_once(fresh: Path, normal: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        shutil.copytree(normal / "wood", tmp_path / "copies" / name / "wood")
    found = invad.calibrate(fresh, normal=[tmp_path / "copies"], false_alarms=0.2, quiet=True)
    count = len(list((normal / "wood").iterdir()))
    assert found.overall.normal == len(found.scores["wood"]) == count
    assert f"{2 * count} images are copies of others, byte for byte, and do not count again" in found.notices


def test_classes_without_an_image_are_said(fresh: Path, normal: Path) -> None:
    found = invad.calibrate(fresh, normal=[normal / "wood", normal / "washer"], false_alarms=0.2, quiet=True)
    assert any("no normal image of capsule, fabric was calibrated on" in text for text in found.notices)
    evaluation = invad.evaluate(fresh, protocols=("exact",), quiet=True)
    said = {text.partition(":")[0] for text in evaluation.results[0].warnings if "of other classes" in text}
    assert said == {"capsule", "fabric"}


def test_a_run_that_does_not_know_its_training_images_says_so(fresh: Path, normal: Path) -> None:
    (fresh / "records.jsonl").unlink()
    found = invad.calibrate(fresh, normal=[normal], false_alarms=0.2, quiet=True)
    assert any("which images the model was trained on is not known" in text for text in found.notices)


def test_test_images_are_used_only_where_named_and_it_says_so(fresh: Path, data: Path) -> None:
    calibration = invad.calibrate(fresh, normal=[str(data / "*/test/good/*.png")], false_alarms=0.2, quiet=True)
    assert calibration.test_images == calibration.overall.normal == 24
    assert "24 of the 24 images are test images" in calibration.notices[0]
    evaluation = invad.evaluate(fresh, protocols=("exact",), quiet=True)
    assert any("24 test images were calibrated on" in text for text in evaluation.results[0].warnings)


def test_training_data_that_is_laid_out_otherwise_by_now_is_said(fresh: Path, normal: Path) -> None:
    settings = Run.open(fresh).settings()
    dataclasses.replace(settings, views=("C1",)).save(fresh / "settings.toml")
    calibration = invad.calibrate(fresh, normal=[normal], quiet=True)
    assert any("is not known: the run's data cannot be used" in text for text in calibration.notices)
    assert any("no view C1" in text for text in calibration.places)


def test_labelled_images(fresh: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["calibrate", str(fresh), "--labelled", f"folder:{data}", "--quiet"]
    assert run(argv) == 0
    assert "recall" in capsys.readouterr().out
    best = invad.Calibration.from_json((fresh / FILE).read_text())
    assert best.method == "f1-max" and best.overall.normal == 24, "training images are left out"
    evaluation = invad.evaluate(fresh, protocols=("exact",), quiet=True)
    anomalous = np.array([record.anomalous for record in evaluation.records])
    above = evaluation.scores >= best.overall.image - 1e-6
    assert best.overall.recall == pytest.approx(above[anomalous].mean())
    assert best.overall.false_alarms == pytest.approx(above[~anomalous].mean())
    assert run([*argv, "--overwrite", "--recall", "0.8"]) == 0
    found = invad.Calibration.from_json((fresh / FILE).read_text())
    assert (found.method, found.wanted) == ("recall", 0.8)
    assert found.overall.recall is not None and found.overall.recall >= 0.8


def test_unknown_classes_are_pooled_and_small_ones_too(fresh: Path, normal: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    name = sorted(path.name for path in normal.iterdir())[0]
    for path in sorted((normal / name).iterdir())[:12]:
        shutil.copy(path, flat)
    pooled = invad.calibrate(fresh, normal=[flat], false_alarms=0.1, quiet=True)
    assert pooled.classes == {} and list(pooled.scores) == [""]
    named = invad.calibrate(fresh, normal=[flat], class_name=name, false_alarms=0.1, overwrite=True, quiet=True)
    assert list(named.classes) == [name]
    few = [*sorted((normal / "wood").iterdir())[:5], *sorted((normal / name).iterdir())[:12]]
    small = invad.calibrate(fresh, normal=few, false_alarms=0.1, overwrite=True, quiet=True)
    assert list(small.classes) == [name] and any("wood (5)" in text for text in small.notices)
    assert small.threshold("wood") == small.overall


def test_marks_of_no_class_are_of_unknown_class(fresh: Path, normal: Path, data: Path, tmp_path: Path) -> None:
    """As `invad marks export` writes them."""
    photos = [(path, "normal") for path in sorted((normal / "wood").iterdir())]
    photos += [(path, "anomalous") for path in sorted((data / "wood/test").rglob("*.png")) if "good" not in path.parts]
    for number, (path, _) in enumerate(photos):
        shutil.copy(path, tmp_path / f"{number}.png")
    kinds = [("train", label) if label == "normal" else ("test", label) for _, label in photos]
    rows = [f"{number}.png,unknown,{','.join(kind)}" for number, kind in enumerate(kinds)]
    (tmp_path / "manifest.csv").write_text("\n".join(["image,class,split,label", *rows]))
    calibration = invad.calibrate(fresh, labelled=f"folder:{tmp_path / 'manifest.csv'}", quiet=True)
    assert list(calibration.scores) == [""] and calibration.classes == {}


def test_labelled_classes_are_called_as_in_training(fresh: Path, data: Path) -> None:
    records = fresh / "records.jsonl"
    rows = [json.loads(line) for line in records.read_text().splitlines()]
    shared = sorted({row["class"] for row in rows})[0]

    def train_as(*roots: str) -> None:
        """Have classes of these roots in the place of one."""
        own = [{**row, "class": f"{root}/{shared}"} for root in roots for row in rows if row["class"] == shared]
        others = [row for row in rows if row["class"] != shared]
        records.write_text("".join(json.dumps(row) + "\n" for row in (*own, *others)))

    train_as(data.name, "elsewhere")
    found = invad.calibrate(fresh, labelled=f"folder:{data}", quiet=True)
    assert f"{data.name}/{shared}" in found.scores and shared not in found.scores
    train_as("elsewhere", "nowhere")
    found = invad.calibrate(fresh, labelled=f"folder:{data}", overwrite=True, quiet=True)
    assert shared in found.scores
    said = f"{shared} of the labelled images may be elsewhere/{shared} or nowhere/{shared}, which"
    assert any(said in text for text in found.notices)


def test_commands_in_messages_can_be_given_to_a_shell(fresh: Path, tmp_path: Path) -> None:
    run_path, file = tmp_path / "my run's", tmp_path / "my parts.onnx"
    fresh.rename(run_path)
    file.touch()
    calibration = Calibration(
        method="false-alarms", wanted=0.5, overall=from_normal([0.1], 0.5), scores={"": (0.1,)}, images="", model="x"
    )

    def of_another_model() -> None:
        ridden_calibration(json.loads(calibration.to_json()), "y", str(file))

    failing: dict[str, Callable[[], object]] = {
        f"invad calibrate {shlex.quote(str(run_path))} --normal FOLDER": lambda: invad.calibrate(run_path, quiet=True),
        f"invad calibrate '{file}' --normal FOLDER": lambda: invad.calibrate(file, quiet=True),
        f"invad calibrate '{file}' --normal FOLDER --overwrite": of_another_model,
        f"`invad evaluate {shlex.quote(str(run_path))}`": lambda: report(run_path),
    }
    for said, fails in failing.items():
        with pytest.raises(RunError) as caught:
            fails()
        assert str(caught.value).endswith(said)
    assert promise(calibration, file).endswith(f"invad calibrate '{file}' --normal FOLDER --overwrite")


def test_a_class_with_brackets_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    threshold = from_normal([0.1, 0.2, 0.3], 0.5)
    show(
        Calibration(
            method="false-alarms",
            wanted=0.5,
            overall=threshold,
            classes={"[/b]": threshold},
            scores={},
            images="held back",
            model="0" * 64,
        )
    )
    assert "[/b]" in capsys.readouterr().out


def test_too_few_images_say_what_they_reach(fresh: Path, normal: Path) -> None:
    few = sorted(normal.rglob("*.png"))[:9]
    calibration = invad.calibrate(fresh, normal=few, quiet=True)
    assert calibration.wanted == 0.01 and calibration.overall.false_alarms == 0.1
    assert "9 normal images cannot promise a false-alarm rate of 0.01" in calibration.notices[0]
    assert calibration.overall.image > max(score for scores in calibration.scores.values() for score in scores)


def test_bad_input(fresh: Path, normal: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv, word in (
        ([], "held back no image in training"),
        (["--normal", str(normal / "absent")], "there is no image or folder"),
        (["--normal", str(normal), "--false-alarms", "5"], "between 0 and 1"),
        (["--normal", str(normal), "--recall", "0.9"], "needs images of defects"),
        (["--labelled", f"folder:{data}", "--false-alarms", "0.05"], "Leave out --false-alarms or --labelled"),
        (["--class", "wood"], "name some"),
        (["--labelled", f"folder:{normal}/wood"], "anomalous image"),
    ):
        assert run(["calibrate", str(fresh), "--quiet", *argv]) == 2
        assert word in capsys.readouterr().err
    assert not (fresh / FILE).exists()


def test_names_that_lead_nowhere_end_in_a_sentence(
    fresh: Path, normal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "circle.png").symlink_to("circle.png")
    for name in ("circle.png", "nul\0.png"):
        (tmp_path / "list.jsonl").write_text(json.dumps({"image": name}))
        assert run(["calibrate", str(fresh), "--quiet", "--normal", str(normal), str(tmp_path / "list.jsonl")]) == 2
        said = capsys.readouterr().err
        assert name.partition(".")[0][:3] in said and "Traceback" not in said
    assert not (fresh / FILE).exists()


def test_a_calibration_of_another_model_is_refused(fresh: Path, normal: Path, data: Path) -> None:
    calibration = invad.calibrate(fresh, normal=[normal], quiet=True)
    other = calibration.to_json().replace(calibration.model, "0" * 64)
    (fresh / FILE).write_text(other)
    with pytest.raises(RunError, match="belongs to another model"):
        invad.load(fresh)
    with pytest.raises(RunError, match="belongs to another model"):
        invad.evaluate(fresh, quiet=True)


def test_drift_is_said(fresh: Path, normal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    invad.calibrate(fresh, normal=[normal], quiet=True)
    capsys.readouterr()
    argv = ["predict", str(fresh), "--quiet", "--no-overlays"]
    assert run([*argv, str(normal), "--out", str(tmp_path / "same")]) == 0
    assert "drift:" not in capsys.readouterr().err
    dark = tmp_path / "dark"
    dark.mkdir()
    from PIL import Image

    for number, path in enumerate(sorted(normal.rglob("*.png"))):
        Image.fromarray(np.asarray(Image.open(path)) // 3).save(dark / f"{number}.png")
    assert run([*argv, str(dark), "--out", str(tmp_path / "other")]) == 0
    err = capsys.readouterr().err
    assert "are not like those calibrated on" in err and "1 of 1 windows" in err


def test_images_held_back_are_calibrated_on(data: Path, tmp_path: Path) -> None:
    from invad.data import make_synthetic
    from invad.inference import calibrate_run

    make_synthetic(tmp_path / "set", train=20, good=1, defective=1, size=64)
    settings = invad.TrainSettings(
        data=(f"folder:{tmp_path / 'set'}",),
        encoder="analytic",
        image_size=(64,),
        blocks=(1, 1, 1),
        epochs=1,
        batch_size=8,
        held_back=0.5,
    )
    trained = invad.train(settings, tmp_path / "run", quiet=True)
    calibration = calibrate_run(trained, quiet=True)
    assert calibration.images == "held back in training" and calibration.test_images == 0
    assert calibration.overall.normal == len(trained.held_back()) == 40
    assert {name: len(scores) for name, scores in calibration.scores.items()} == dict.fromkeys(
        ("capsule", "fabric", "washer", "wood"), 10
    )
    assert "40 normal images cannot promise a false-alarm rate of 0.01" in calibration.notices[0]
    assert invad.load(trained.path).calibration == calibration
    again = invad.calibrate(trained, false_alarms=0.1, overwrite=True, quiet=True)
    assert len(again.classes) == 4 and again.scores == calibration.scores
    copies = tmp_path / "copies"
    copies.mkdir()
    for number, line in enumerate(trained.records_file.read_text().splitlines()):
        shutil.copy(json.loads(line)["image"], copies / f"{number}.png")
    with pytest.raises(DataError, match="was trained on 40 of those named"):
        invad.calibrate(trained, normal=[copies], overwrite=True, quiet=True)
    learnt, held = trained.records_file.read_text().splitlines(), trained.held_back_file.read_text().splitlines()
    for line in held[:3]:
        shutil.copy(json.loads(learnt[0])["image"], json.loads(line)["image"])
    fewer = invad.calibrate(trained, false_alarms=0.1, overwrite=True, quiet=True)
    assert fewer.overall.normal == 37 and "1 images were left out: the run was trained on them" in fewer.notices
    assert any(text.startswith("2 images are copies") for text in fewer.notices)
    for line in held:
        shutil.copy(json.loads(learnt[0])["image"], json.loads(line)["image"])
    said = invad.calibrate(trained, overwrite=True, quiet=True).notices
    assert any("copies of images that the run was trained on" in text for text in said)


def test_images_that_chose_the_weights_are_not_quite_new(data: Path, tmp_path: Path) -> None:
    from invad.data import make_synthetic

    make_synthetic(tmp_path / "set", train=10, good=1, defective=1, size=64)
    settings = invad.TrainSettings(
        data=(f"folder:{tmp_path / 'set'}",),
        encoder="analytic",
        image_size=(64,),
        blocks=(1, 1, 1),
        epochs=1,
        batch_size=8,
        held_back=0.5,
        keep="best",
    )
    trained = invad.train(settings, tmp_path / "run", quiet=True)
    calibration = invad.calibrate(trained, false_alarms=0.2, overwrite=True, quiet=True)
    assert "when to end the training" in calibration.notices[0]
