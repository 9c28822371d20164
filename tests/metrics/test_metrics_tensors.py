"""The path for maps on an accelerator, here on the CPU, gives the numbers of the other path."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from metrics_reference import random_set, regions

from invad.errors import MetricError
from invad.metrics import KEYS, classes, evaluate_class
from invad.metrics.tensors import check_tensors, label_regions


def on_device(maps, masks, labels, scores=None, protocol="exact"):
    tensors = torch.from_numpy(maps), torch.from_numpy(masks)
    return classes._evaluate_tensors("", *tensors, labels, scores, protocol)


@pytest.mark.parametrize("protocol", ["exact", "paper"])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("images", [8, 130])
def test_equals_the_other_path(protocol, kind, images):
    maps, masks, labels = random_set(11, images=images)
    maps = maps.astype(kind) * kind(0.7)
    found = on_device(maps, masks, labels, protocol=protocol)
    assert found == evaluate_class(maps, masks, labels, protocol=protocol)  # to the bit
    assert all(found.values[key] is not None for key in KEYS)
    own = np.linspace(0, 1, images)
    assert on_device(maps, masks, labels, own) == evaluate_class(maps, masks, labels, scores=own)


@settings(max_examples=60, deadline=None)
@given(arrays(np.bool_, (2, 7, 9)))
def test_regions(masks):
    labels = label_regions(torch.from_numpy(masks)).numpy()
    for mask, found in zip(masks, labels, strict=True):
        parts = regions(mask)
        assert len(np.unique(found[mask])) == len(parts)
        assert all(len({found[place] for place in part}) == 1 for part in parts)
        assert (found[~mask] == 0).all()


def test_a_long_region():
    mask = np.zeros((1, 41, 41), bool)
    mask[0, ::2] = True
    mask[0, 1::4, -1] = mask[0, 3::4, 0] = True  # a line there and back again
    assert len(np.unique(label_regions(torch.from_numpy(mask)))) == 2


@pytest.mark.parametrize(
    ("maps", "masks", "message"),
    [
        (torch.ones(2, 3, 3, dtype=torch.int32), torch.ones(2, 3, 3), "float16, float32 or float64"),
        (torch.ones(2, 3, 3, 1), torch.ones(2, 3, 3), r"maps must be \(N, H, W\)"),
        (torch.ones(2, 3, 3), torch.ones(2, 3, 4), "resize one to the other"),
        (torch.full((2, 3, 3), torch.nan), torch.ones(2, 3, 3), "NaN or infinity"),
        (torch.ones(2, 3, 3), 255 * torch.ones(2, 3, 3), "use mask > 127"),
    ],
)
def test_refused(maps, masks, message):
    with pytest.raises(MetricError, match=message):
        check_tensors(maps, masks)


def test_labels_must_fit_masks():
    maps, masks, labels = random_set(1)
    with pytest.raises(MetricError, match="labelled normal must have an empty mask"):
        on_device(maps, masks, ~labels)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu():
    maps, masks, labels = random_set(11, images=130)
    found = evaluate_class(torch.from_numpy(maps).cuda(), torch.from_numpy(masks).cuda(), labels)
    assert found.values == pytest.approx(evaluate_class(maps, masks, labels).values, abs=1e-9, rel=0)
