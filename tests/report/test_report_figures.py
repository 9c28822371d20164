"""Pictures of maps: one scale for all, good images left alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invad.errors import ImageError, MetricError, SettingsError
from invad.report.figures import bar_colours, colour_bar, display_range, outline, overlay, side_by_side


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


def test_colour_bar_begins_untouched_and_ends_in_full_colour() -> None:
    bar = colour_bar(0.2, 0.6, width=200)
    assert bar.shape[1] == 200 and bar.dtype == np.uint8
    assert bar[0, 0].tolist() == [200, 200, 200]
    assert bar_colours()[-1] == "#{:02x}{:02x}{:02x}".format(*bar[0, -1].tolist())
    with pytest.raises(SettingsError):
        colour_bar(0.6, 0.2)


@pytest.mark.parametrize("size", [(20, 20), (64, 200), (200, 64)])
@pytest.mark.parametrize("with_mask", [False, True])
def test_side_by_side_begins_with_the_untouched_image(size: tuple[int, int], with_mask: bool) -> None:
    image = photograph(*size)
    picture = side_by_side(image, np.ones(size), 0.0, 1.0, mask=np.ones(size, dtype=bool) if with_mask else None)
    assert np.array_equal(picture[: size[0], : size[1]], image)
    assert picture.shape[1] >= (3 if with_mask else 2) * size[1] and picture.dtype == np.uint8


def test_display_range_leaves_most_normal_images_untouched() -> None:
    normal = np.linspace(0.1, 0.3, 200)
    low, high = display_range(normal, [*normal, *np.linspace(0.5, 2.0, 100)])
    assert 0.94 <= (normal <= low).mean() <= 0.96 and 1.5 < high < 2.0


def test_display_range_is_always_a_scale() -> None:
    for normal, everything in [([], [0.4]), ([0.0], [0.0]), ([0.3], [0.1]), ([], [0.0, 0.0])]:
        low, high = display_range(normal, everything)
        assert low < high
    for wrong in ([], [float("nan")], [-1.0]):
        with pytest.raises(MetricError):
            display_range([], wrong)
