"""Checkpoints that the method's authors published, as runs like our own."""

from pathlib import Path
from typing import Literal

from invad.checkpoint import Position, save_checkpoint, save_encoder
from invad.colours import ColourScale
from invad.data import LAYOUTS, ImageSource, open_datasets
from invad.data.dataset import full_spec, parse_spec
from invad.devices import choose_device
from invad.model.encoder import RANDOM, read_state
from invad.model.published import load_published
from invad.runs import Run, build_from
from invad.settings import TrainSettings
from invad.training.scale import colour_scale
from invad.training.setup import training_records

UNKNOWN_SCALE = ColourScale(0.0, 1.0)
"""The colour scale where there are no normal images to take it from."""


def import_weights(
    file: Path | str,
    out: Path | str,
    *,
    model: Literal["invad", "invad-lite"],
    data: str,
    split: Literal[0, 1, 2, 3] | None = None,
    device: str = "auto",
) -> Run:
    """Make a run of a published checkpoint; it evaluates and predicts like one of our own.

    Args:
        file: a `.pth` file, the state dict itself or under the key `net`; no pickled code is run.
        out: the run folder to make.
        model: which of the two models it is.
        data: what it was trained on: a layout, or LAYOUT:ROOT, whose normal images then give the colour scale.
        split: which split of COCO-AD.
        device: as in `TrainSettings`.

    Raises:
        WeightsError: the file cannot be read, or does not fit the model: the message says how.
        DataError: the data set is not laid out as it should be.
        RunError: the folder is taken or cannot be written.
    """
    layout = data if data in LAYOUTS else parse_spec(data)[0]
    specs = () if data in LAYOUTS else (full_spec(data),)
    settings = TrainSettings(recipe="paper", model=model, data=specs, split=split, device=device)
    settings = settings.resolved((layout,), fastest="fp32").for_images(0, 0)
    source = _normal_images(settings) if specs else None
    Run.require_free(Path(out))
    built = build_from(settings, weights=RANDOM)
    load_published(built, read_state(Path(file)), str(file))
    scale = UNKNOWN_SCALE if source is None else colour_scale(built.to(choose_device(device)), source)
    assert settings.epochs is not None
    with Run.create(Path(out)) as run:
        save_encoder(run.encoder_file, built)
        save_checkpoint(run.checkpoints, built, None, Position(epoch=settings.epochs, step=0, total_steps=0))
        run.write_scale(scale)
        run.write_environment()
        settings.save(run.settings_file)
        run.log(event="imported", file=str(file), layout=layout)
        run.log(event="notice", text=f"imported weights ({Path(file).name}), not trained here")
    return Run.open(out)


def _normal_images(settings: TrainSettings) -> ImageSource:
    data = open_datasets(settings.data, split=settings.split)
    return ImageSource(training_records(data), settings.size, cache="none")
