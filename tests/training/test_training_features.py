"""Features computed once are the features computed in every step."""

import numpy as np
import pytest
import torch
from PIL import Image

from invad.data import ImageSource
from invad.model import InvAD, build_model
from invad.records import Record
from invad.training.features import GIB, feature_batches, store_features


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ImageSource:
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(21):
        Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / f"{i:02d}.png")
    records = [Record(image=path, class_name="a", split="train") for path in sorted(folder.iterdir())]
    return ImageSource(records, (32, 32), cache="memory")


@pytest.fixture(scope="module")
def model() -> InvAD:
    return build_model("resnet18", weights="random", image_size=(32, 32), blocks=(1, 1, 1))


def test_stored_features_are_those_of_the_images(source: ImageSource, model: InvAD) -> None:
    indices = [np.array([3, 20, 0]), np.array([7])]
    stored = store_features(model, source, 1.0, quiet=True)
    assert stored is not None
    for kept, made in zip(
        feature_batches(model, source, indices, stored), feature_batches(model, source, indices, None), strict=True
    ):
        for a, b in zip(kept, made, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_nothing_is_stored_beyond_the_budget(source: ImageSource, model: InvAD) -> None:
    one = sum(level.nbytes for level in model.encode(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)))
    assert store_features(model, source, (20.5 * one) / GIB, quiet=True) is None
    assert store_features(model, source, (21.5 * one) / GIB, quiet=True) is not None
    assert store_features(model, source, 0.0, quiet=True) is None
