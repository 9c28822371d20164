"""Score any image with a trained model."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invad.colours import ColourScale
from invad.data.hashing import content_hash
from invad.data.images import convert_image, read_image
from invad.data.loading import threads
from invad.data.resizing import resize_image
from invad.errors import ImageError
from invad.inference.ahead import map_ahead
from invad.inference.calibration import Calibration, read_calibration, ridden_calibration
from invad.inference.decisions import Decider, Prediction
from invad.inference.opening import OpenModel, open_model
from invad.inference.scorer import Scorer
from invad.records import Size

ImageLike = Path | str | NDArray[np.uint8] | Image.Image


class Predictor:
    """A model, ready for images of any size.

    Args:
        scorer: the model, whatever runs it (see `open_model`).
        threshold: the score and map value from which on an image and a pixel count as anomalous; None: the
            calibration's, and without one no decisions.
        calibration: of this model; None: there is none.
        class_name: the class of the images, whose own thresholds are taken; None: not known.
        scale: of pictures; None: not known.
        checksum: what tells the model from others (see `model_checksum`); empty: not known.
        classes: what the model was trained on; none: not known.
        file: the SHA-256 of the exported file that it comes from, which may score a little differently than its run;
            empty: a run, or not known.

    Raises:
        SettingsError: the threshold is no number, or the calibration does not know the class.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        threshold: float | None = None,
        calibration: Calibration | None = None,
        class_name: str | None = None,
        scale: ColourScale | None = None,
        checksum: str = "",
        classes: Sequence[str] = (),
        file: str = "",
    ) -> None:
        self.scorer = scorer
        self.size = scorer.size
        self.scale = scale
        self.threshold = threshold
        self.calibration = calibration
        self.checksum = checksum
        self.file = file
        self.class_name = class_name
        self.classes = tuple(classes)
        self.decide = Decider(threshold, calibration, class_name)

    def __call__(self, image: ImageLike) -> Prediction:
        """Return the prediction for one image: a path, an RGB or grey uint8 array (H, W, 3) or (H, W), or a PIL image.

        Raises:
            ImageError: the image cannot be read, or the array is not an image.
        """
        array = to_array(image)
        maps, scores = self.scorer(np.stack([resize_image(array, self.size)]))
        return self.decide(maps[0], float(scores[0]), array.shape[:2], None)

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
        self,
        images: Iterable[ImageLike],
        *,
        batch_size: int = 8,
        classes: Iterable[str | None] | None = None,
        read_ahead: bool = True,
    ) -> Iterator[Prediction | ImageError]:
        """Yield a prediction for each image, in order, or the error of an image that cannot be read.

        Args:
            images: as many as there are, perhaps without end; at most a few batches of them are held.
            batch_size: how many are computed at a time.
            classes: the class of each image, which then decides by its thresholds; None: that of the predictor.
            read_ahead: take the next images while others are computed. Without it, and with a batch size of 1, each
                outcome comes before the next image is waited for.
        """
        named = ((image, None) for image in images) if classes is None else zip(images, classes, strict=True)
        batch: list[_Read] = []
        good, most = 0, 2 * batch_size if read_ahead else batch_size  # of a batch, with those that cannot be read
        for read in map_ahead(self._read, named, ahead=2 * batch_size + threads() if read_ahead else 1):
            batch.append(read)
            good += read.error is None
            if good == batch_size or len(batch) == most:
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
        maps, scores = self.scorer(np.stack(images)) if images else (np.empty(0), np.empty(0))
        found = zip(maps, scores.tolist(), strict=True)
        for read in batch:
            if read.error is not None:
                yield read.error
            else:
                values, score = next(found)
                try:
                    yield self.decide(values, score, read.size, read.class_name)
                except ImageError as error:
                    yield error


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """An image at the model's size, or why there is none."""

    image: NDArray[np.uint8] | None = None
    size: Size = (0, 0)
    """Height and width that it had."""
    class_name: str | None = None
    error: ImageError | None = None


def load(
    path: Path | str, *, threshold: float | None = None, class_name: str | None = None, device: str = "auto"
) -> Predictor:
    """Return the predictor of a run, or of a model that `invad export` made: .onnx, OpenVINO's .xml, .pt2.

    It decides by the calibration of the run, which rides in an exported file, if there is one.

    Args:
        path: of the run's folder or the file.
        threshold: decides instead of the calibration.
        class_name: the class of the images, whose own thresholds are taken; None: the overall ones.
        device: as in `TrainSettings`.

    Raises:
        RunError: there is no such run or file, its checkpoints are damaged, or the calibration is not of this model.
        ModelFileError: the file is damaged, changed, of a newer format, or not made by `invad export`.
        MissingExtraError: what runs the file is not installed.
        SettingsError: the threshold is no number, the calibration does not know the class, or there is no such device.

    Example:
        >>> predictor = load("runs/bottles", threshold=0.4)  # doctest: +SKIP
        >>> predictor("photo.jpg").anomalous  # doctest: +SKIP
        False
    """
    opened = open_model(path, device=device)
    return Predictor(
        opened.scorer,
        threshold=threshold,
        calibration=_calibration(Path(path), opened),
        class_name=class_name,
        scale=opened.scale,
        checksum=opened.model,
        file="" if opened.manifest is None else content_hash(Path(path)),
        classes=opened.classes,
    )


def _calibration(path: Path, opened: OpenModel) -> Calibration | None:
    """The calibration in a run folder, or in an exported file."""
    if path.is_dir():
        return read_calibration(path, opened.model)
    return None if opened.decision is None else ridden_calibration(opened.decision, opened.model, str(path))


def to_array(image: ImageLike) -> NDArray[np.uint8]:
    """Return any image as uint8 RGB (H, W, 3); a PIL image as its file would be read.

    Raises:
        ImageError: the file or PIL image cannot be read, the array has another shape or type or no pixels, or it is
            none of these.

    Example:
        >>> to_array(np.zeros((4, 6), dtype=np.uint8)).shape
        (4, 6, 3)
    """
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        return convert_image(image)
    if not isinstance(image, np.ndarray):
        raise ImageError(f"expected an image as a path, a uint8 array or a PIL image, got {type(image).__name__}")
    if (
        image.size == 0
        or image.dtype != np.uint8
        or image.ndim not in (2, 3)
        or (image.ndim == 3 and image.shape[2] != 3)
    ):
        raise ImageError(
            f"expected a uint8 array (H, W, 3) in RGB or (H, W) in grey, with at least one pixel, got {image.dtype} of "
            f"shape {image.shape}"
        )
    rgb: NDArray[np.uint8] = np.stack([image] * 3, axis=2) if image.ndim == 2 else image  # (H, W, 3)
    return rgb
