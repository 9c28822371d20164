"""What is no image is refused in a sentence, whatever it is."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from invad.errors import ImageError
from invad.inference.predictor import to_array


@pytest.mark.parametrize(
    ("thing", "kind"), [(None, "NoneType"), ([[0, 1]], "list"), (b"abc", "bytes"), (3, "int"), (object(), "object")]
)
def test_what_is_no_image(thing: Any, kind: str) -> None:
    with pytest.raises(ImageError, match=f"expected an image as a path, a uint8 array or a PIL image, got {kind}"):
        to_array(thing)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0), (0, 0, 3), (4, 4, 0), (4, 4, 4), (4,), ()])
def test_arrays_without_pixels_or_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"with at least one pixel, got uint8 of shape"):
        to_array(np.zeros(shape, np.uint8))


def test_arrays_of_another_type_and_empty_pil_images() -> None:
    with pytest.raises(ImageError, match="got float32 of shape"):
        to_array(np.zeros((4, 4), np.float32))  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="the PIL image has no pixels"):
        to_array(Image.new("L", (0, 3)))
    assert to_array(np.zeros((1, 1), np.uint8)).shape == (1, 1, 3)
