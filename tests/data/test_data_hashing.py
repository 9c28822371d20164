"""What images hold, by SHA-256."""

import hashlib
from pathlib import Path

import pytest

from invad.data import content_hashes
from invad.errors import ImageError


def test_hashes_are_those_of_the_files_in_order(tmp_path: Path) -> None:
    paths = []
    for number in range(20):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(bytes([number]) * number * 10_000)
    assert content_hashes(paths) == tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    assert content_hashes([]) == ()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"cannot read .*gone\.png: No such file"):
        content_hashes([tmp_path / "gone.png"])
