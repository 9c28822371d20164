"""Regions against SciPy's labelling, and their coordinates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from invad.inference.regions import find_regions


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 24), st.integers(1, 24), st.floats(0.05, 0.95), st.integers(0, 2**32 - 1))
def test_regions_are_scipys(height: int, width: int, threshold: float, seed: int) -> None:
    values = np.random.default_rng(seed).random((height, width), dtype=np.float32)
    found = find_regions(values, threshold, (height, width))
    labels, count = ndimage.label(values >= threshold, structure=np.ones((3, 3)))
    expected = set()
    for label, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        peak = ndimage.maximum(values, labels, label)
        y, x = ndimage.maximum_position(values, labels, label)
        box = (columns.start, rows.start, columns.stop, rows.stop)
        expected.add((box, int((labels == label).sum()), float(peak), (int(x), int(y))))
    assert len(found) == count
    assert {(region.box, region.area, region.peak, region.at) for region in found} == expected
    assert [region.peak for region in found] == sorted((region.peak for region in found), reverse=True)


@settings(deadline=None, max_examples=60)
@given(st.tuples(st.integers(1, 300), st.integers(1, 300)), st.integers(0, 2**32 - 1))
def test_regions_lie_in_the_image_whatever_its_size(size: tuple[int, int], seed: int) -> None:
    values = np.random.default_rng(seed).random((16, 12), dtype=np.float32)
    for region in find_regions(values, 0.6, size):
        left, top, right, bottom = region.box
        assert 0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]
        assert left <= region.at[0] < right and top <= region.at[1] < bottom
        assert region.area >= 1


def test_a_region_covers_the_part_of_the_image_that_it_was_seen_in() -> None:
    values = np.zeros((64, 64), dtype=np.float32)
    values[16:32, 0:8] = 0.5
    values[20, 3] = 0.9
    (region,) = find_regions(values, 0.5, (640, 1280))
    assert region.box == (0, 160, 160, 320) and region.area == 160 * 160
    assert region.peak == pytest.approx(0.9) and region.at == (70, 205)


def test_half_a_pixel_more_is_rounded_up_as_the_page_does() -> None:
    (region,) = find_regions(np.array([[1, 0], [0, 0]], dtype=np.float32), 0.5, (5, 2))
    assert region.area == 3


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    values = np.eye(5, dtype=np.float32)
    assert len(find_regions(values, 0.5, (5, 5))) == 1
    assert find_regions(values, 1.5, (5, 5)) == ()


def test_a_threshold_just_above_a_value_leaves_it_out() -> None:
    """Calibrated thresholds are the next float64 above a float32 score, which NumPy would round back onto it."""
    values = np.full((3, 3), 0.3, dtype=np.float32)
    score = float(values[0, 0])
    assert len(find_regions(values, score, (3, 3))) == 1
    assert find_regions(values, float(np.nextafter(score, np.inf)), (3, 3)) == ()
