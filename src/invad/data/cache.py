"""Decoded and resized images, kept so that no image is decoded twice."""

import hashlib
import os
import zlib
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import PIL
from numpy.typing import NDArray

from invad.errors import ImageError
from invad.files import write_bytes
from invad.records import Size

FORMAT = 2
"""The version of an entry; part of its key."""
Kind = Literal["memory", "disk", "none"]


class Cache(Protocol):
    """Keeps images of one size."""

    def get(self, index: int, path: Path, size: Size) -> NDArray[np.uint8] | None:
        """Return the image (H, W, 3), or None where it is not kept."""
        ...

    def put(self, index: int, path: Path, size: Size, image: NDArray[np.uint8]) -> None:
        """Keep an image (H, W, 3)."""
        ...

    def fits(self, size: Size, count: int) -> int:
        """Return how many of so many images are kept once they are decoded."""
        ...


class MemoryCache:
    """Keeps images in memory, by position, as long as there is room.

    Args:
        room: bytes that images may take together.
    """

    def __init__(self, room: float) -> None:
        self._room = room
        self._images: dict[int, NDArray[np.uint8]] = {}

    def get(self, index: int, path: Path, size: Size) -> NDArray[np.uint8] | None:
        """Return the image (H, W, 3), or None where it is not kept."""
        return self._images.get(index)

    def put(self, index: int, path: Path, size: Size, image: NDArray[np.uint8]) -> None:
        """Keep an image (H, W, 3), if it is not too much."""
        if (len(self._images) + 1) * image.nbytes <= self._room:
            self._images[index] = image

    def fits(self, size: Size, count: int) -> int:
        """Return how many of so many images there is room for.

        Example:
            >>> MemoryCache(room=1000).fits((8, 8), count=9)
            5
        """
        return min(count, int(self._room // (size[0] * size[1] * 3)))


class DiskCache:
    """Keeps images in a folder, a file each, keyed by path, size and time of the original and the size wanted.

    What another version of Pillow decoded has another key.

    A file is written at once and ends in a checksum: one that is cut short or changed counts as not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, index: int, path: Path, size: Size) -> NDArray[np.uint8] | None:
        """Return the image (H, W, 3), or None where there is no whole entry of the file as it is now.

        Raises:
            ImageError: the file is missing or cannot be reached.
        """
        entry = self._entry(path, size)
        try:
            data = entry.read_bytes()
        except OSError:
            return None
        pixels, checksum = data[:-4], data[-4:]
        if len(pixels) != size[0] * size[1] * 3 or zlib.crc32(pixels).to_bytes(4, "little") != checksum:
            return None
        return np.frombuffer(pixels, dtype=np.uint8).reshape(*size, 3)

    def put(self, index: int, path: Path, size: Size, image: NDArray[np.uint8]) -> None:
        """Keep an image (H, W, 3)."""
        pixels = image.tobytes()
        write_bytes(self._entry(path, size), pixels + zlib.crc32(pixels).to_bytes(4, "little"))

    def fits(self, size: Size, count: int) -> int:
        """Return how many of so many images are kept: all."""
        return count

    def _entry(self, path: Path, size: Size) -> Path:
        try:
            state = path.stat()
        except OSError as error:
            raise ImageError(f"cannot read {path}: {error.strerror}") from error
        key = f"{FORMAT}|pillow {PIL.__version__}|{path.resolve()}|{state.st_size}|{state.st_mtime_ns}|{size}"
        digest = hashlib.sha256(os.fsencode(key)).hexdigest()
        return self._folder / digest[:2] / digest[2:]


def user_cache() -> Path:
    """Return our folder in the user's cache directory."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "invad"


def default_cache_dir() -> Path:
    """Return the folder for cached images in the user's cache directory."""
    return user_cache() / "images"
