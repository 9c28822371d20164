import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from invad.data import resize_image, resize_mask
from invad.data.resizing import MOST_BETWEEN
from invad.errors import ImageError
from invad.records import Size

LENGTHS = st.integers(1, 300)


def pillow(pixels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Pillow's BILINEAR, the horizontal pass first in every version of it."""
    image = Image.fromarray(pixels)
    narrow = image.resize((size[1], image.height), Image.Resampling.BILINEAR)
    return np.asarray(narrow.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@settings(max_examples=200, deadline=None)
@given(st.tuples(LENGTHS, LENGTHS), st.tuples(LENGTHS, LENGTHS), st.integers(0, 1000))
def test_images_are_pillows_to_the_bit(before: Size, after: Size, seed: int) -> None:
    image = noise(*before, 3, seed=seed)
    assert np.array_equal(resize_image(image, after), pillow(image, after))


@pytest.mark.parametrize("value", [0, 255])
def test_neither_end_of_the_grey_levels_is_left(value: int) -> None:
    image = np.full((6000, 5, 3), value, dtype=np.uint8)
    assert np.all(resize_image(image, (7, 256)) == value)
    endless = np.broadcast_to(np.uint8(value), (2, 11_000_000, 3))  # the sum of its rounded weights is above one
    assert np.all(resize_image(endless, (16, 16)) == value)


@pytest.mark.parametrize("before", [(900, 900), (480, 640), (1001, 333), (3000, 4000)])
def test_photos_of_usual_sizes_are_pillows_to_the_bit(before: Size) -> None:
    image = noise(*before, 3)
    assert np.array_equal(resize_image(image, (256, 256)), pillow(image, (256, 256)))


def test_an_image_is_at_most_a_grey_level_off_pillow_in_one_call() -> None:
    for before in [(900, 900), (300, 200), (1000, 300), (37, 53)]:
        image = noise(*before, 3)
        at_once = np.asarray(Image.fromarray(image).resize((256, 224), Image.Resampling.BILINEAR))
        assert np.abs(resize_image(image, (224, 256)).astype(int) - at_once).max() <= 1


@pytest.mark.parametrize("before", [(200_000, 3), (1_000_000, 1)])
def test_a_tall_and_narrow_image_takes_no_more_memory_than_a_large_one(before: Size) -> None:
    image = noise(*before, 3)
    tracemalloc.start()
    found = resize_image(image, (256, 256))
    mask = resize_mask(image[..., 0] > 127, (256, 256))
    assert tracemalloc.get_traced_memory()[1] < 3 * MOST_BETWEEN
    tracemalloc.stop()
    turned = pillow(np.ascontiguousarray(image.swapaxes(0, 1)), (256, 256)).swapaxes(0, 1)
    assert np.array_equal(found, turned) and mask.shape == (256, 256)


def test_a_large_image_that_grows_is_taken() -> None:
    image = np.broadcast_to(noise(1, 4100, 3), (4200, 4100, 3))
    assert np.array_equal(resize_image(image, (4300, 4300))[7], pillow(image[:1], (1, 4300))[0])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 5, 1), np.uint8),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((4, 5, 3), np.float32),
        np.zeros((0, 5, 3), np.uint8),
    ],
)
def test_what_is_no_rgb_image_is_refused(image: NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match=r"expected uint8 RGB pixels \(H, W, 3\), not "):
        resize_image(image, (2, 2))


def test_an_image_of_the_size_is_the_same_image() -> None:
    image = noise(8, 9, 3)
    assert resize_image(image, (8, 9)) is image


def test_images_that_are_views_or_read_only_are_taken() -> None:
    image = noise(60, 70, 3)
    turned = image.transpose(1, 0, 2)[::2, ::-1]
    assert np.array_equal(resize_image(turned, (20, 30)), pillow(np.ascontiguousarray(turned), (20, 30)))
    image.flags.writeable = False
    assert np.array_equal(resize_image(image, (20, 30)), pillow(image, (20, 30)))


def test_threads_do_not_disturb_each_other() -> None:
    images = [noise(200 + 7 * i, 300 - 5 * i, 3, seed=i) for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: resize_image(image, (64, 48)), images * 3))
    assert all(np.array_equal(result, pillow(image, (64, 48))) for result, image in zip(found, images * 3, strict=True))


def test_a_mask_is_cut_at_half_of_pillows_grey() -> None:
    mask = np.random.default_rng(0).random((53, 37)) > 0.7
    grey = pillow((mask * 255).astype(np.uint8), (30, 20))
    assert np.array_equal(resize_mask(mask, (30, 20)), grey > 127.5)
    assert np.array_equal(resize_mask(mask, (53, 37)), mask)
    tall = np.random.default_rng(0).random((300, 200)) > 0.5  # Pillow 13, in one call, begins with the vertical pass
    assert np.array_equal(resize_mask(tall, (256, 256)), pillow((tall * 255).astype(np.uint8), (256, 256)) > 127.5)
