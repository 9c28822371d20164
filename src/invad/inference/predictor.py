"""Score any image with a trained model."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from invad.data.images import read_image, resize_image
from invad.errors import ImageError
from invad.inference.opening import open_model
from invad.inference.scorer import Scorer

ImageLike = Path | str | NDArray[np.uint8] | Image.Image


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What a model says of one image."""

    score: float
    """How far the image is from normal, in [0, 2]: the map's largest value."""
    map: NDArray[np.float32]
    """The same for every pixel of the model's input, (H, W)."""
    anomalous: bool | None
    """Whether the score reaches the threshold; None where no threshold is known."""


class Predictor:
    """A model, ready for images of any size.

    Args:
        scorer: the model, whatever runs it (see `open_model`).
        threshold: the score from which on an image counts as anomalous; None: no decisions.
        scale: the map values that pictures show as untouched and as full colour; None: not known.
    """

    def __init__(
        self, scorer: Scorer, *, threshold: float | None = None, scale: tuple[float, float] | None = None
    ) -> None:
        self.scorer = scorer
        self.size = scorer.size
        self.threshold = threshold
        self.scale = scale

    def __call__(self, image: ImageLike) -> Prediction:
        """Return the prediction for one image: a path, an RGB or grey uint8 array (H, W, 3) or (H, W), or a PIL image.

        Raises:
            ImageError: the image cannot be read, or the array is not an image.
        """
        return next(self.stream([image]))

    def stream(self, images: Iterable[ImageLike], *, batch_size: int = 8) -> Iterator[Prediction]:
        """Yield a prediction for each image, in order, computed so many at a time."""
        waiting = iter(images)
        while batch := [resize_image(to_array(image), self.size) for image in islice(waiting, batch_size)]:
            yield from self._predict(np.stack(batch))

    def _predict(self, images: NDArray[np.uint8]) -> Iterator[Prediction]:
        """Predictions for images (B, H, W, 3) of the model's size."""
        maps, scores = self.scorer(images)
        for score, values in zip(scores.tolist(), maps, strict=True):
            decision = None if self.threshold is None else score >= self.threshold
            yield Prediction(score=score, map=values, anomalous=decision)


def load(path: Path | str, *, threshold: float | None = None, device: str = "auto") -> Predictor:
    """Return the predictor of a run, or of a model that `invad export` made: .onnx, OpenVINO's .xml, .pt2.

    Raises:
        RunError: there is no such run or file, or the run's checkpoints are damaged.
        ModelFileError: the file is damaged, changed, of a newer format, or not made by `invad export`.
        MissingExtraError: what runs the file is not installed.
        SettingsError: there is no such device.

    Example:
        >>> predictor = load("runs/bottles", threshold=0.4)  # doctest: +SKIP
        >>> predictor("photo.jpg").anomalous  # doctest: +SKIP
        False
    """
    opened = open_model(path, device=device)
    return Predictor(opened.scorer, threshold=threshold, scale=opened.scale)


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
