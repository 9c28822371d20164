"""The colour scale of pictures, from the maps of normal images."""

import numpy as np
import pytest

from invad.training.scale import scale_of_normal

RANDOM = np.random.default_rng(5)
MAPS = RANDOM.gamma(4.0, 0.05, size=(24, 32, 32)).astype(np.float32)
PEAKS = MAPS.max(axis=(1, 2))


def test_it_lies_as_far_above_normal_peaks_as_these_above_the_median() -> None:
    low, high = scale_of_normal(MAPS, PEAKS)
    assert np.count_nonzero(low > PEAKS) == 18
    assert high - low == pytest.approx(low - np.median(MAPS), rel=1e-6)


@pytest.mark.parametrize(("factor", "offset"), [(0.1, 0.0), (3.0, 0.0), (1.0, 0.5), (0.5, -0.2)])
def test_the_unit_of_maps_does_not_matter(factor: float, offset: float) -> None:
    found = scale_of_normal(factor * MAPS + offset, factor * PEAKS + offset)
    assert found == pytest.approx([factor * end + offset for end in scale_of_normal(MAPS, PEAKS)], rel=1e-5)


def test_a_few_soiled_images_hide_no_defect() -> None:
    soiled = MAPS.copy()
    soiled[:3, 4:8, 4:8] = 9.0
    low, high = scale_of_normal(soiled, soiled.max(axis=(1, 2)))
    assert low <= PEAKS.max() and high < 2 * PEAKS.max()
