"""Loading: what is decoded once stays, in order, and faults come at their place."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from invad.data import ImageSource, batches, read_image, resize_image
from invad.data import loading as loading_module
from invad.errors import ImageError
from invad.records import Record


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    random = np.random.default_rng(0)
    found = []
    for i in range(9):
        path = tmp_path / f"{i}.png"
        Image.fromarray(random.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
        found.append(Record(image=path, class_name="a", split="train"))
    return found


def test_batches_keep_the_order_asked_for(records: list[Record]) -> None:
    source = ImageSource(records, (16, 16))
    order = [np.array([8, 0]), np.array([3]), np.array([5, 5, 1]), np.array([2, 4])]
    for (indices, images), expected in zip(batches(source, order), order, strict=True):
        assert indices is expected and images.shape == (len(expected), 16, 16, 3)
        for index, image in zip(indices, images, strict=True):
            assert np.array_equal(image, resize_image(read_image(records[index].image), (16, 16)))


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_the_second_epoch_is_free_of_decoding(
    records: list[Record], tmp_path: Path, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []
    monkeypatch.setattr(loading_module, "read_image", lambda path: decoded.append(path) or read_image(path))
    source = ImageSource(records, (16, 16), cache=cache, cache_dir=tmp_path / "cache")  # type: ignore[arg-type]
    first = source.images(range(9))
    assert len(decoded) == 9
    assert np.array_equal(source.images(range(9)), first)
    assert len(decoded) == 9
    if cache == "disk":
        again = ImageSource(records, (16, 16), cache="disk", cache_dir=tmp_path / "cache")
        assert np.array_equal(again.images(range(9)), first) and len(decoded) == 9
        other_size = ImageSource(records, (8, 16), cache="disk", cache_dir=tmp_path / "cache")
        assert other_size.images([0]).shape == (1, 8, 16, 3) and len(decoded) == 10


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "unfinished"])
def test_a_damaged_entry_is_made_again(records: list[Record], tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "cache"
    expected = ImageSource(records, (16, 16), cache="disk", cache_dir=folder).image(0)
    (entry,) = (path for path in folder.rglob("*") if path.is_file())
    data = bytearray(entry.read_bytes())
    if damage == "flip":
        data[100] ^= 1
    if damage == "unfinished":  # a writer that was killed leaves its temporary file
        entry.rename(entry.with_name(f".{entry.name}.x.part"))
    else:
        entry.write_bytes({"cut": data[:50], "flip": data, "empty": b""}[damage])
    assert np.array_equal(ImageSource(records, (16, 16), cache="disk", cache_dir=folder).image(0), expected)


def test_what_another_pillow_decoded_is_not_taken(
    records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def entries() -> int:
        ImageSource(records, (16, 16), cache="disk", cache_dir=tmp_path / "cache").image(0)
        return sum(path.is_file() for path in (tmp_path / "cache").rglob("*"))

    assert entries() == entries() == 1
    monkeypatch.setattr(PIL, "__version__", "99.0")
    assert entries() == 2


def test_a_changed_image_is_noticed(records: list[Record], tmp_path: Path) -> None:
    source = ImageSource(records, (20, 24), cache="disk", cache_dir=tmp_path / "cache")
    before = source.image(0)
    path = records[0].image
    Image.fromarray(255 - before).save(path)
    os.utime(path, ns=(1, 1))
    assert np.array_equal(source.image(0), 255 - before)


def test_an_unreadable_image_raises_at_its_place(records: list[Record]) -> None:
    records[4].image.write_bytes(b"")
    found = []
    with pytest.raises(ImageError, match=r"4\.png"):
        for indices, _ in batches(ImageSource(records, (16, 16)), [np.array([i]) for i in range(9)]):
            found.append(int(indices[0]))
    assert found == [0, 1, 2, 3]


def test_unreadable_images_can_be_left_out(records: list[Record]) -> None:
    records[4].image.write_bytes(b"")
    source = ImageSource(records, (16, 16), skip_unreadable=True)
    assert len(source) == 8 and source.skipped == (records[4].image,)
    with pytest.raises(ImageError, match="none of 1 images"):
        ImageSource(records[4:5], (16, 16), skip_unreadable=True)


def test_an_image_whose_mask_cannot_be_read_is_left_out_too(records: list[Record], tmp_path: Path) -> None:
    broken = tmp_path / "mask.png"
    broken.write_bytes(b"")
    masked = [replace(record, mask=broken if i == 2 else None) for i, record in enumerate(records)]
    source = ImageSource(masked, (16, 16), skip_unreadable=True)
    assert len(source) == 8 and source.skipped == (broken,) and masked[2] not in source.records


def test_a_loop_that_stops_early_leaves_no_thread(records: list[Record]) -> None:
    import threading

    before = threading.active_count()
    for _ in batches(ImageSource(records, (16, 16)), [np.array([i]) for i in range(9)]):
        break
    assert threading.active_count() == before
