"""Settings: files, types, and values that cannot be meant."""

from pathlib import Path

import pytest

from invad.errors import SettingsError
from invad.settings import TrainSettings, to_toml


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    settings = TrainSettings(data=("folder:a b", 'mvtec:"x"'), epochs=3, blocks=(1, 2, 3), learning_rate=1e-5)
    settings.save(tmp_path / "s.toml")
    assert TrainSettings.load(tmp_path / "s.toml") == settings


def test_published_values_fill_in_what_is_not_given() -> None:
    lite = TrainSettings(data=("mvtec:x",)).resolved(("mvtec",))
    assert (lite.encoder, lite.blocks, lite.loss_weight, lite.epochs) == ("resnet34", (4, 4, 4), 5.0, 300)
    assert lite.learning_rate == pytest.approx(4e-3)
    full = TrainSettings(data=("visa:x",), model="invad", batch_size=8, epochs=7).resolved(("visa",))
    assert (full.encoder, full.blocks, full.loss_weight, full.epochs) == ("wide_resnet50_2", (2, 2, 2), 1.0, 7)
    assert full.learning_rate == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs must be above 0, not 0"),
        ({"batch_size": -1}, "batch_size must be above 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"image_size": [1, 2, 3]}, "image_size must be one number"),
        ({"model": "invad-huge"}, "model = 'invad-huge'"),
        ({"epochs": "many"}, "epochs = 'many' is not of the kind"),
        ({"epohcs": 3}, "unknown setting 'epohcs'"),
        ({"eval_every": -1}, "eval_every must be 0"),
    ],
)
def test_refusals(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        TrainSettings.from_mapping({"data": ["folder:x"], **values})


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
