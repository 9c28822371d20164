"""The images that an export is checked on: the run's own where they are still there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from invad.data import DataSet, open_datasets
from invad.data.images import read_image
from invad.data.resizing import resize_image
from invad.errors import DataError, ImageError, SettingsError
from invad.inference.inputs import list_inputs, spread
from invad.inference.selfcheck import COMPARED
from invad.records import Size
from invad.runs import Run
from invad.settings import TrainSettings
from invad.trained_images import read_records

MEASURED = 200
"""Images, at most, on which the loss of a lower precision is measured; they are held at the model's size alone."""
APART = 40
"""From so many normal images on, those that int8's ranges come from and those that it is measured on are others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportImages:
    """The images that an export needs, all of the model's size."""

    normal: list[NDArray[np.uint8]]
    """Whose maps are compared, and that int8's ranges come from; perhaps none."""
    origin: str
    """Where those come from."""
    measured: list[NDArray[np.uint8]]
    """That the loss of a lower precision is measured on; none: on those that are compared."""
    labels: list[tuple[str, bool]]
    """Class, and whether it is anomalous, of each of those; none: not known."""
    measured_origin: str


def choose_images(run: Run, settings: TrainSettings, normal: Sequence[Path | str], precision: str) -> ExportImages:
    """Return the images that an export of this precision needs.

    int8 agrees best on the images that its ranges come from, so it is measured on others where there are enough.
    """
    if precision == "fp32":
        images, origin = normal_images(run, settings, normal, COMPARED)
        return ExportImages(normal=images, origin=origin, measured=[], labels=[], measured_origin="")
    measured, labels = labelled_images(settings)
    apart = precision == "int8" and not measured
    images, origin = normal_images(run, settings, normal, 2 * MEASURED if apart else MEASURED)
    said = f"{len(measured)} of the run's test images" if measured else ""
    if apart and len(images) >= APART:
        images, measured = images[::2], images[1::2]
        said = f"{len(measured)} normal images, others than those that its ranges come from"
    elif apart:
        said = f"the {len(images)} normal images that its ranges come from, since there are fewer than {APART}"
    return ExportImages(normal=images, origin=origin, measured=measured, labels=labels, measured_origin=said)


def normal_images(
    run: Run, settings: TrainSettings, normal: Sequence[Path | str], count: int
) -> tuple[list[NDArray[np.uint8]], str]:
    """Return so many normal images of the model's size, spread over those there are, and where they come from."""
    if normal:
        paths = [item.path for item in list_inputs([str(root) for root in normal])]
        images = [resize_image(read_image(path), settings.size) for path in spread(paths, count)]
        return images, f"{len(paths)} images of --normal"
    if not run.records_file.is_file():
        return [], ""
    lines = read_records(run.records_file)
    paths = [path for path in (Path(line["image"]) for line in lines) if path.is_file()]
    found = (_readable(path, settings.size) for path in spread(paths, count))
    return (
        [image for image in found if image is not None],
        f"the run's training images ({len(paths)} of {len(lines)} are there)",
    )


def _readable(path: Path, size: Size) -> NDArray[np.uint8] | None:
    """An image of the run's data at the model's size; None where it cannot be read, which training told or left out."""
    try:
        return resize_image(read_image(path), size)
    except ImageError:
        return None


def labelled_images(settings: TrainSettings) -> tuple[list[NDArray[np.uint8]], list[tuple[str, bool]]]:
    """Return the run's test images, of classes that have normal and anomalous ones, and their labels; perhaps none.

    Those that cannot be read are left out.
    """
    try:
        data: DataSet = open_datasets(settings.data, settings.classes, views=settings.views, split=settings.split)
    except (DataError, SettingsError):  # the data is elsewhere by now
        return [], []
    images, labels = [], []
    for record in spread(data.split("test"), MEASURED):
        image = _readable(record.image, settings.size)
        if image is not None:
            images.append(image)
            labels.append((record.class_name, record.anomalous))
    kinds = set(labels)
    useful = [i for i, (name, _) in enumerate(labels) if {(name, True), (name, False)} <= kinds]
    return [images[i] for i in useful], [labels[i] for i in useful]


def synthetic_images(settings: TrainSettings) -> list[NDArray[np.uint8]]:
    """Return smooth noise in colour, the same every time."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (COMPARED, 12, 12, 3), dtype=np.uint8)
    return [resize_image(image, settings.size) for image in coarse]
