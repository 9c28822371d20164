"""Settings: files, types, and values that cannot be meant."""

import dataclasses
import json
import math
import tomllib
from pathlib import Path
from typing import Any, Literal

import hypothesis
import pytest
from hypothesis import strategies as st

from invad.cli.training import Train
from invad.errors import SettingsError
from invad.presets import EPOCHS, OWN
from invad.settings import TrainSettings, to_toml


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    settings = TrainSettings(data=("folder:a b", 'mvtec:"x"'), epochs=3, blocks=(1, 2, 3), learning_rate=1e-5)
    settings.save(tmp_path / "s.toml")
    assert TrainSettings.load(tmp_path / "s.toml") == settings


def test_later_rates_come_back_from_file_log_and_command_line(tmp_path: Path) -> None:
    settings = TrainSettings(data=("folder:x",), later_rates=((100, 1e-3), (100, 5e-4), (2000, 1.0)))
    settings.save(tmp_path / "s.toml")
    assert TrainSettings.load(tmp_path / "s.toml") == settings
    assert "later_rates = [[100, 0.001], [100, 0.0005], [2000, 1.0]]\n" in (tmp_path / "s.toml").read_text()
    (tmp_path / "by hand.toml").write_text('data = ["folder:x"]\nlater_rates = [[100, 1e-3], [100, 5e-4], [2000, 1]]\n')
    assert TrainSettings.load(tmp_path / "by hand.toml") == settings
    assert json.loads(json.dumps(settings.deciding())) == settings.deciding()
    given = ["--data", "folder:x", "--later-rates", "100", "0.001", "100", "5e-4", "2000", "1"]
    assert Train.parse("invad train", given).settings == settings
    assert Train.parse("invad train", ["--config", str(tmp_path / "s.toml")]).settings == settings


@hypothesis.settings(deadline=None)
@hypothesis.given(
    text=st.text(),
    number=st.floats(min_value=0.0, allow_infinity=True),
    names=st.lists(st.text(), max_size=3).map(tuple),
)
def test_any_text_and_number_comes_back_from_toml(text: str, number: float, names: tuple[str, ...]) -> None:
    settings = TrainSettings(data=names, weights=text, checkpoint_every=number)
    assert TrainSettings.from_mapping(tomllib.loads(to_toml(dataclasses.asdict(settings)))) == settings


def test_infinity_and_unusual_paths_come_back_from_a_file(tmp_path: Path) -> None:
    settings = TrainSettings(data=("folder:📷/\x7f\n\\é",), gradient_clip=math.inf, checkpoint_every=math.inf)
    settings.save(tmp_path / "s.toml")
    assert TrainSettings.load(tmp_path / "s.toml") == settings


def test_published_values_fill_in_what_is_not_given() -> None:
    lite = TrainSettings(data=("mvtec:x",)).resolved(("mvtec",), fastest="fp32")
    assert (lite.encoder, lite.blocks, lite.loss_weight, lite.epochs) == ("resnet34", (4, 4, 4), 5.0, 300)
    assert lite.learning_rate == pytest.approx(4e-3)
    full = TrainSettings(data=("visa:x",), model="invad", batch_size=8, epochs=7).resolved(("visa",), fastest="fp32")
    assert (full.encoder, full.blocks, full.loss_weight, full.epochs) == ("wide_resnet50_2", (2, 2, 2), 1.0, 7)
    assert full.learning_rate == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs must be above 0, not 0"),
        ({"batch_size": -1}, "batch_size must be above 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": math.nan}, "learning_rate must be a number, not nan"),
        ({"learning_rate": math.inf}, "learning_rate must be finite"),
        ({"blur": math.inf}, "blur must be finite"),
        ({"loss_weight": math.inf}, "loss_weight must be finite"),
        ({"later_rates": [[10, 0.0]]}, "later_rates must be a finite number above 0, not 0.0"),
        ({"later_rates": [[10, -1.0]]}, "later_rates must be a finite number above 0, not -1.0"),
        ({"later_rates": [[10, math.nan]]}, "later_rates must be a finite number above 0, not nan"),
        ({"later_rates": [[10, math.inf]]}, "later_rates must be a finite number above 0, not inf"),
        ({"later_rates": [[-1, 0.1]]}, "later_rates must begin after 0 steps or more, not -1"),
        ({"later_rates": [[1.5, 0.1]]}, "later_rates = 1.5 is not of the kind"),
        ({"later_rates": [10, 0.1]}, "later_rates = 10 is not of the kind"),
        ({"data": ["folder:\udcff"]}, "data = .* is not text that UTF-8 can hold"),
        ({"image_size": [1, 2, 3]}, "image_size must be one number"),
        ({"model": "invad-huge"}, "model = 'invad-huge'"),
        ({"epochs": "many"}, "epochs = 'many' is not of the kind"),
        ({"epohcs": 3}, "unknown setting 'epohcs'"),
        ({"eval_every": -1}, "eval_every must be 0"),
        ({"accumulate": 0}, "accumulate must be above 0"),
        ({"accumulate": 9, "batch_size": 8}, "accumulate cannot part 8 images of a batch into 9"),
        ({"held_back": 0.6}, "held_back must be a share from 0 to 0.5"),
        ({"patience": -1}, "patience must be 0 or more"),
        ({"warmup": -1}, "warmup must be 0 or more"),
        ({"blur": -1.0}, "blur must be 0 or more"),
        ({"seed": -1}, "seed must be 0 or more, .* not -1"),
        ({"seed": 1 << 64}, "seed must be 0 or more, and below"),
        ({"steps": 0}, "steps must be above 0"),
        ({"steps": 10, "epochs": 10}, "both give the length"),
        ({"recipe": "fast"}, "recipe = 'fast'"),
        ({"checkpoint_every": -1.0}, "checkpoint_every must be 0 or more"),
        ({"feature_disk": -1.0}, "feature_disk must be 0 or more"),
        ({"precision": "fp16"}, "precision = 'fp16'"),
        ({"choose_by": "test"}, "too good"),
        ({"track": ["paper"]}, "track = "),
    ],
)
def test_refusals(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        TrainSettings.from_mapping({"data": ["folder:x"], **values})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"recipe": "papr"}, r"recipe = 'papr' is not of the kind 'paper' \| 'aligned' \| None"),
        ({"image_size": "128"}, "image_size = '128' is not of the kind int"),
        ({"image_size": 128.0}, "image_size = 128.0 is not of the kind int"),
        ({"levels": (1, 2)}, r"levels = \(1, 2\) is not of the kind \(int, int, int\) \| None"),
        ({"levels": 1}, "levels = 1 is not of the kind"),
        ({"data": None}, "data = None is not of the kind str"),
        ({"cache_memory": 10**400}, "cache_memory = 1000* is not of the kind float"),
        ({"split": 1.0}, r"split = 1.0 is not of the kind 0 \| 1 \| 2 \| 3 \| None"),
        ({"split": True}, "split = True is not of the kind"),
        ({"epochs": "5"}, r"epochs = '5' is not of the kind int \| None"),
        ({"validation": 1}, "validation = 1 is not of the kind bool"),
        ({"later_rates": 0.1}, r"later_rates = 0.1 is not of the kind \(int, float\)"),
        ({"image_size": 0}, "image_size must be one number"),
    ],
)
def test_python_gets_the_refusals_of_a_file(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=f"^{message}"):
        TrainSettings(**values)
    with pytest.raises(SettingsError, match=f"^mine.toml: {message}"):
        TrainSettings.from_mapping(values, "mine.toml")


def test_a_value_alone_and_a_list_are_taken_for_what_is_meant(tmp_path: Path) -> None:
    expected = TrainSettings(data=("folder:x",), image_size=(128,), track=("wandb",), learning_rate=1.0)
    given: dict[str, Any] = {"data": "folder:x", "image_size": 128, "track": "wandb", "learning_rate": 1}
    assert TrainSettings(**given) == expected
    assert TrainSettings(**{**given, "data": Path("folder:x")}) == expected
    assert TrainSettings(**{**given, "data": ["folder:x"], "image_size": [128]}) == expected
    assert isinstance(TrainSettings(**given).learning_rate, float)
    (tmp_path / "s.toml").write_text('data = "folder:x"\nimage_size = 128\ntrack = "wandb"\nlearning_rate = 1\n')
    assert TrainSettings.load(tmp_path / "s.toml") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [("epochs =", "is not a TOML file"), ("format = 99\n", "has format 99"), (None, "cannot read the settings file")],
)
def test_bad_files(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "s.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        TrainSettings.load(path)


def test_toml_leaves_none_out() -> None:
    assert to_toml({"a": None, "b": True, "c": (1, 2)}) == "b = true\nc = [1, 2]\n"


@pytest.mark.parametrize(
    ("precision", "layout", "found"),
    [(None, "mvtec", "fp32"), (None, "folder", "bf16"), ("auto", "mvtec", "bf16"), ("fp32", "folder", "fp32")],
)
def test_precision_is_chosen_from_the_machine_where_nothing_is_published(
    precision: Literal["auto", "fp32"] | None, layout: str, found: str
) -> None:
    settings = TrainSettings(data=(f"{layout}:x",), precision=precision)
    assert settings.resolved((layout,), fastest="bf16").arithmetic == found
    assert settings.resolved((layout,), fastest="fp32").arithmetic == "fp32"


@pytest.mark.parametrize("layout", EPOCHS)
def test_the_recipe_is_the_published_one_but_for_peoples_own_sets(layout: str) -> None:
    resolved = TrainSettings(data=(f"{layout}:x",)).resolved((layout,), fastest="bf16").for_images(900, 100)
    if layout in OWN:
        assert (resolved.recipe, resolved.loss, resolved.standardise) == ("aligned", "hard-cosine", True)
        assert (resolved.batch_size, resolved.epochs, resolved.patience) == (16, 20, 4)
        assert resolved.blur == 6.0
        small = TrainSettings(data=(f"{layout}:x",), image_size=(64, 128)).resolved((layout,), fastest="fp32")
        assert small.blur == 1.5
    else:
        assert (resolved.recipe, resolved.loss, resolved.standardise) == ("paper", "squared", False)
        assert (resolved.batch_size, resolved.epochs, resolved.patience) == (32, EPOCHS[layout], 0)
        assert (resolved.schedule, resolved.warmup, resolved.blur) == ("step", 0, 4.0)


def test_what_is_given_outweighs_the_recipe() -> None:
    given = TrainSettings(recipe="aligned", loss="squared", standardise=False, blur=4.0, patience=0)
    resolved = given.resolved(("mvtec",), fastest="fp32").for_images(160, 10)
    assert (resolved.loss, resolved.standardise, resolved.blur) == ("squared", False, 4.0)
    assert (resolved.schedule, resolved.patience) == ("cooldown", 0)


@pytest.mark.parametrize(
    ("values", "epochs"),
    [({}, 40), ({"steps": 95}, 10), ({"steps": 3}, 1), ({"epochs": 7}, 7), ({"recipe": "paper", "steps": 50}, 5)],
)
def test_length_in_steps_is_whole_epochs(values: dict[str, object], epochs: int) -> None:
    settings = TrainSettings.from_mapping({"data": ["folder:x"], **values}).resolved(("folder",), fastest="fp32")
    images = 160 if settings.batch_size == 16 else 320
    resolved = settings.for_images(images, 0)
    assert (resolved.epochs, resolved.steps, resolved.patience) == (epochs, None, 0)


def test_settings_of_the_second_format_are_those_of_the_paper(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('format = 2\ndata = ["folder:x"]\nepochs = 5\nbatch_size = 8\n')
    settings = TrainSettings.load(path)
    assert (settings.recipe, settings.loss, settings.standardise, settings.blur) == (
        "paper",
        "squared",
        False,
        4.0,
    )
    assert (settings.batch_size, settings.epochs, settings.schedule, settings.patience) == (8, 5, "step", 0)


def test_settings_of_the_first_format_mean_what_they_meant(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('format = 1\ndata = ["folder:x"]\nepochs = 5\ntensorboard = true\n')
    settings = TrainSettings.load(path)
    assert (settings.track, settings.held_back, settings.arithmetic) == (("tensorboard",), 0.0, "fp32")
    path.write_text('format = 1\ndata = ["folder:x"]\ntensorboard = false\nprecision = "bf16"\n')
    settings = TrainSettings.load(path)
    assert (settings.track, settings.arithmetic) == ((), "bf16")
    path.write_text('format = 2\ndata = ["folder:x"]\ntensorboard = true\n')
    with pytest.raises(SettingsError, match="unknown setting 'tensorboard'"):
        TrainSettings.load(path)
    settings.save(path)
    assert path.read_text().startswith("format = 3\n") and TrainSettings.load(path) == settings
