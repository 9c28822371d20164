"""Regions against scipy and a flood fill; images in stacks and one by one; work shared out among threads."""

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from metrics_reference import random_set, regions

from invad.metrics import evaluate_class
from invad.metrics.counts import sort_defects
from invad.metrics.keys import to_keys
from invad.metrics.pixels import STACK, read_pixels, split_stack
from invad.metrics.threads import in_threads

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=9)


def check_split(mask):
    """One image's split against scipy's labels."""
    scores = np.arange(mask.size, dtype=np.float32).reshape(mask.shape)
    (pixels,) = split_stack(scores[np.newaxis], mask[np.newaxis])
    labels, count = scipy.ndimage.label(mask, structure=np.ones((3, 3)))
    assert pixels.regions == count
    assert pixels.defect.tolist() == scores[mask].tolist()
    assert pixels.sizes.tolist() == np.bincount(labels.ravel())[labels[mask]].tolist()
    assert pixels.normals == (~mask).sum()


@settings(max_examples=200, deadline=None)
@given(SHAPES.flatmap(lambda shape: arrays(np.bool_, shape)))
def test_regions_equal_scipy_and_a_flood_fill(mask):
    check_split(mask)
    (pixels,) = split_stack(np.zeros((1, *mask.shape), np.float32), mask[np.newaxis])
    sizes = [size for region in regions(mask) for size in [len(region)] * len(region)]
    assert sorted(pixels.sizes.tolist()) == sorted(sizes)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.6, 0.9, 1.0])
def test_large_regions_that_join_late(share):
    generator = np.random.default_rng(0)
    check_split(generator.random((150, 210)) < share)
    comb = np.zeros((40, 61), bool)
    comb[:, ::2], comb[-1] = True, True  # the teeth meet in the last row
    check_split(comb)
    check_split(comb[::-1])
    rings = np.indices((41, 41)).max(0) % 2 == 0
    check_split(rings)
    check_split(rings[:, ::-1])


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float32])
def test_stacks_and_single_images_are_alike(dtype):
    maps, masks, labels = random_set(4, images=2 * STACK + 3)
    masks = masks.astype(dtype)
    expected = evaluate_class(maps, masks.astype(bool), labels, threads=1)
    for threads in (1, 3):
        assert evaluate_class(maps, masks, labels, threads=threads) == expected
        assert evaluate_class(list(maps), list(masks), labels, threads=threads) == expected
        assert evaluate_class(maps, list(masks), labels, threads=threads) == expected
        assert evaluate_class(list(maps), masks, labels, threads=threads) == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_defect_pixels_are_sorted_by_score_and_size(dtype):
    maps, masks, _ = random_set(6, images=20, levels=5)
    keys, sizes = sort_defects(read_pixels(maps.astype(dtype), masks, 1))
    found = [
        (float(scores[place]), len(region))
        for scores, mask in zip(maps.astype(dtype), masks, strict=True)
        for region in regions(mask)
        for place in region
    ]
    found.sort()
    assert keys.tolist() == to_keys(np.array([score for score, _ in found], np.promote_types(dtype, "f4"))).tolist()
    assert sizes.tolist() == [size for _, size in found]


def test_threads_keep_the_order_and_raise():
    assert in_threads(lambda item: item**2, range(100), 3) == [item**2 for item in range(100)]
    assert in_threads(str, [], 4) == []
    for threads in (1, 2):
        with pytest.raises(ZeroDivisionError):
            in_threads(lambda item: 1 // item, [1, 1, 0, 1], threads)
