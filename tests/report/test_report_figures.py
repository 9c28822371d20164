"""Pictures of maps: one scale for all, good images left alone."""

import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invad.errors import ImageError, MetricError, SettingsError
from invad.report import figures
from invad.report.figures import bar_colours, outline, overlay


def photograph(height: int = 20, width: int = 30, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@settings(max_examples=25, deadline=None)
@given(low=st.floats(-1.0, 1.0), seed=st.integers(0, 99))
def test_a_map_at_or_below_low_leaves_every_bit(low: float, seed: int) -> None:
    image = photograph(seed=seed)
    below = low - np.abs(np.random.default_rng(seed).normal(size=(20, 30)))
    below[0] = low
    assert np.array_equal(overlay(image, below, low, low + 0.5), image)


def test_a_smaller_map_below_low_leaves_every_bit() -> None:
    image = photograph(64, 48)
    assert np.array_equal(overlay(image, np.full((7, 9), 0.3, dtype=np.float32), 0.3, 0.6), image)


def test_the_same_value_has_the_same_colour_in_every_image() -> None:
    grey = np.full((4, 4, 3), 90, dtype=np.uint8)
    alone, among = np.full((4, 4), 0.5), np.full((4, 4), 0.1)
    among[1, 2], among[3, 3] = 0.5, 3.0
    expected = overlay(grey, alone, 0.2, 0.8)[0, 0]
    assert np.array_equal(overlay(grey, among, 0.2, 0.8)[1, 2], expected)


def test_the_picture_departs_further_from_grey_as_values_rise_and_stops_at_high() -> None:
    grey = np.full((1, 50, 3), 128, dtype=np.uint8)
    picture = overlay(grey, np.linspace(0.0, 2.0, 50)[None], 0.0, 1.0, opacity=1.0)
    assert np.array_equal(picture[0, 25:], np.repeat(picture[:, -1], 25, axis=0))
    distance = np.abs(picture[0, :8].astype(int) - 128).sum(axis=1)
    assert distance[0] == 0 and (np.diff(distance[:4]) > 0).all()


def test_overlay_does_not_change_its_arguments_and_takes_half_precision() -> None:
    image, values = photograph(), np.ones((20, 30), dtype=np.float16)
    before = image.copy()
    picture = overlay(image, values, 0.1, 0.9)
    assert np.array_equal(image, before) and picture.shape == image.shape and picture.dtype == np.uint8


@pytest.mark.parametrize(("size", "of_map"), [((131, 57), (64, 96)), ((20, 300), (64, 33)), ((1, 40), (5, 5))])
def test_strips_make_the_picture_that_is_made_at_once(
    size: tuple[int, int], of_map: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, values = photograph(*size), np.random.default_rng(1).random(of_map)
    whole = overlay(image, values, 0.2, 0.9)
    resized = cv2.resize(values, size[::-1], interpolation=cv2.INTER_LINEAR)
    ours = figures._resized(values, size, slice(0, size[0]))
    assert np.abs(ours - resized).max() < 2e-5, "OpenCV may hold the weights in float32"
    for pixels in (1, 500):
        monkeypatch.setattr(figures, "STRIP", pixels)
        assert np.array_equal(overlay(image, values, 0.2, 0.9), whole)


def test_a_picture_of_a_large_photo_takes_little_more_than_the_photo() -> None:
    image, values = np.zeros((2000, 2000, 3), np.uint8), np.random.default_rng(0).random((256, 256))
    overlay(image[:9], values, 0.2, 0.9)
    tracemalloc.start()
    try:
        overlay(image, values, 0.2, 0.9)
        peak = tracemalloc.get_traced_memory()[1] / image[..., 0].size
    finally:
        tracemalloc.stop()
    assert peak < 9, "bytes a pixel: three of the picture, and a strip"


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)],
)
def test_overlay_refuses_what_is_no_image(image: np.ndarray) -> None:
    with pytest.raises(ImageError, match="uint8 RGB"):
        overlay(image, np.zeros((4, 4)), 0.0, 1.0)


def test_overlay_refuses_maps_and_scales_that_mean_nothing() -> None:
    image = photograph()
    with pytest.raises(ImageError, match=r"\(H, W\)"):
        overlay(image, np.zeros((1, 20, 30)), 0.0, 1.0)
    with pytest.raises(MetricError, match="NaN"):
        overlay(image, np.full((20, 30), np.nan), 0.0, 1.0)
    for low, high in [(1.0, 1.0), (2.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)]:
        with pytest.raises(SettingsError, match="low"):
            overlay(image, np.zeros((20, 30)), low, high)
    with pytest.raises(SettingsError, match="opacity"):
        overlay(image, np.zeros((20, 30)), 0.0, 1.0, opacity=0.0)


def test_outline_draws_on_the_rim_only_at_any_mask_size() -> None:
    image = np.full((90, 90, 3), 100, dtype=np.uint8)
    mask = np.zeros((45, 45), dtype=bool)
    mask[10:35, 10:35] = True
    picture = outline(image, mask, colour=(255, 0, 255))
    changed = (picture != image).any(axis=2)
    assert changed[20, 20] and not changed[45, 45] and not changed[2, 2]
    assert (picture == (255, 0, 255)).all(axis=2).any()
    with pytest.raises(ImageError, match="bool mask"):
        outline(image, mask.astype(np.uint8))


def test_outline_shows_a_single_pixel_and_takes_views() -> None:
    mask = np.zeros((40, 40), dtype=bool)
    mask[20, 20] = True
    image = photograph(40, 40)[::-1]
    image.flags.writeable = False
    assert (outline(image, mask) != image).any()


def test_a_bar_begins_untouched_and_ends_in_full_colour() -> None:
    grey = np.full((1, 1, 3), 200, dtype=np.uint8)
    full = overlay(grey, np.ones((1, 1)), 0.0, 1.0)[0, 0]
    colours = bar_colours()
    assert colours[0] == "#c8c8c8" and colours[-1] == "#{:02x}{:02x}{:02x}".format(*full.tolist())
