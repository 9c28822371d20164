"""Score any image with a trained model."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from invad.data.images import read_image, resize_image
from invad.data.loading import threads
from invad.devices import choose_device, to_device
from invad.errors import ImageError, RunError
from invad.inference.ahead import map_ahead
from invad.inference.calibration import Calibration, read_calibration
from invad.inference.checksum import model_checksum
from invad.inference.decisions import Decider, Prediction
from invad.model import InvAD
from invad.records import Size
from invad.runs import Run, load_model
from invad.scoring import anomaly_map, image_score

ImageLike = Path | str | NDArray[np.uint8] | Image.Image


class Predictor:
    """A trained model, ready for images of any size.

    Args:
        model: in eval mode, on its device.
        size: height and width of its input.
        threshold: the score and map value from which on an image and a pixel count as anomalous; None: the
            calibration's, and without one no decisions.
        calibration: of this model; None: there is none.
        class_name: the class of the images, whose own thresholds are taken; None: not known.
        checksum: what tells the model from others (see `model_checksum`); empty: not known.

    Raises:
        SettingsError: the calibration does not know the class.
    """

    def __init__(
        self,
        model: InvAD,
        size: Size,
        *,
        threshold: float | None = None,
        calibration: Calibration | None = None,
        class_name: str | None = None,
        checksum: str = "",
    ) -> None:
        self.model = model
        self.size = size
        self.threshold = threshold
        self.calibration = calibration
        self.checksum = checksum
        self._decide = Decider(threshold, calibration, class_name)
        self._device = next(model.trained_parameters()).device

    def __call__(self, image: ImageLike) -> Prediction:
        """Return the prediction for one image: a path, an RGB or grey uint8 array (H, W, 3) or (H, W), or a PIL image.

        Raises:
            ImageError: the image cannot be read, or the array is not an image.
        """
        array = to_array(image)
        maps, scores = self._score(np.stack([resize_image(array, self.size)]))
        return self._decide(maps[0], float(scores[0]), array.shape[:2], None)

    def stream(self, images: Iterable[ImageLike], *, batch_size: int = 8) -> Iterator[Prediction]:
        """Yield a prediction for each image, in order, computed so many at a time while the next ones are read.

        The images may be endless: at most a few batches of them are held.

        Raises:
            ImageError: an image cannot be read; at its place in the order.
        """
        for outcome in self.outcomes(images, batch_size=batch_size):
            if isinstance(outcome, ImageError):
                raise outcome
            yield outcome

    def outcomes(
        self, images: Iterable[ImageLike], *, batch_size: int = 8, classes: Iterable[str | None] | None = None
    ) -> Iterator[Prediction | ImageError]:
        """Yield a prediction for each image, in order, or the error of an image that cannot be read.

        Args:
            images: as many as there are, perhaps without end; at most a few batches of them are held.
            batch_size: how many are computed at a time.
            classes: the class of each image, which then decides by its thresholds; None: that of the predictor.
        """
        named = ((image, None) for image in images) if classes is None else zip(images, classes, strict=True)
        batch: list[_Read] = []
        good = 0
        for read in map_ahead(self._read, named, ahead=2 * batch_size + threads()):
            batch.append(read)
            good += read.error is None
            if good == batch_size or len(batch) >= 2 * batch_size:
                yield from self._predict(batch)
                batch, good = [], 0
        yield from self._predict(batch)

    def _read(self, named: tuple[ImageLike, str | None]) -> "_Read":
        """One image at the model's size."""
        image, class_name = named
        try:
            array = to_array(image)
        except ImageError as error:
            return _Read(error=error)
        return _Read(image=resize_image(array, self.size), size=array.shape[:2], class_name=class_name)

    def _predict(self, batch: "list[_Read]") -> Iterator[Prediction | ImageError]:
        """The outcome of each image that was read, or not."""
        images = [read.image for read in batch if read.image is not None]
        maps, scores = self._score(np.stack(images)) if images else (np.empty(0), np.empty(0))
        found = zip(maps, scores.tolist(), strict=True)
        for read in batch:
            if read.error is not None:
                yield read.error
            else:
                values, score = next(found)
                try:
                    yield self._decide(values, score, read.size, read.class_name)
                except ImageError as error:
                    yield error

    def _score(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Maps (B, H, W) and scores (B,) of images (B, H, W, 3) of the model's size."""
        with torch.inference_mode():
            features, predictions = self.model(to_device(images, self._device))
            maps = anomaly_map(features, predictions, self.size)  # (B, H, W)
            scores = image_score(maps)
        return maps.cpu().numpy(), scores.cpu().numpy()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """An image at the model's size, or why there is none."""

    image: NDArray[np.uint8] | None = None
    size: Size = (0, 0)
    """Height and width that it had."""
    class_name: str | None = None
    error: ImageError | None = None


def load(
    run: Path | str, *, threshold: float | None = None, class_name: str | None = None, device: str = "auto"
) -> Predictor:
    """Return the predictor of a run, which decides by the run's calibration if it has one.

    Args:
        run: its folder.
        threshold: decides instead of the calibration.
        class_name: the class of the images, whose own thresholds are taken; None: the overall ones.
        device: as in `TrainSettings`.

    Raises:
        RunError: there is no such run, its checkpoints are damaged, or the calibration is not of this model.
        SettingsError: the calibration does not know the class.

    Example:
        >>> predictor = load("runs/bottles", threshold=0.4)  # doctest: +SKIP
        >>> predictor("photo.jpg").anomalous  # doctest: +SKIP
        False
    """
    path = Path(run)
    if not path.is_dir():
        raise RunError(f"there is no run folder {path}; expected one made by `invad train`")
    opened = Run.open(path)
    model = load_model(opened)
    checksum = model_checksum(model)
    return Predictor(
        model.to(choose_device(device)),
        opened.settings().size,
        threshold=threshold,
        calibration=read_calibration(opened.path, checksum),
        class_name=class_name,
        checksum=checksum,
    )


def to_array(image: ImageLike) -> NDArray[np.uint8]:
    """Return any image as uint8 RGB (H, W, 3).

    Raises:
        ImageError: the file cannot be read, or the array has another shape or type.

    Example:
        >>> to_array(np.zeros((4, 6), dtype=np.uint8)).shape
        (4, 6, 3)
    """
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB"))
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise ImageError(
            f"expected a uint8 array (H, W, 3) in RGB or (H, W) in grey, got {image.dtype} of shape {image.shape}"
        )
    rgb: NDArray[np.uint8] = np.stack([image] * 3, axis=2) if image.ndim == 2 else image  # (H, W, 3)
    return rgb
