"""Pictures in a data set's folder that are no part of it: photos that somebody believes to be used, and are not."""

import os
from collections.abc import Iterator
from pathlib import Path

from invad.data.dataset import DataSet
from invad.data.images import is_hidden, is_image

FOLDERS = ("mvtec", "medical", "folder", "synthetic")
"""Layouts whose folders hold nothing but their images; those with an index have more files than they use."""
OTHER_KINDS = frozenset(
    {".arw", ".avif", ".cr2", ".cr3", ".dng", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jxl", ".nef", ".pgm", ".ppm"}
)
"""What holds a picture and is not read, in lower case."""


def unused_images(data: DataSet) -> list[str]:
    """Return the image files below the root that are no part of a data set: no record names them.

    They are links to nothing, or lie where the layout has no images. None for layouts with an index.
    """
    used = {path for record in data.records for path in (record.image, record.mask)}
    return [str(path) for path in _files(data) if is_image(path.name) and path not in used]


def unread_pictures(data: DataSet) -> list[str]:
    """Return the pictures below the root that are of a kind that is not read. None for layouts with an index."""
    return [str(path) for path in _files(data) if path.suffix.lower() in OTHER_KINDS]


def _files(data: DataSet) -> Iterator[Path]:
    """Every file below the root that is not hidden, by name; links to folders are followed, in circles once."""
    if data.root.is_file() or any(layout not in FOLDERS for layout in data.layouts):
        return
    seen: set[str] = set()
    for folder, folders, files in os.walk(data.root, followlinks=True):
        seen.add(os.path.realpath(folder))
        folders[:] = sorted(
            name
            for name in folders
            if not is_hidden(name) and os.path.realpath(os.path.join(folder, name)) not in seen  # noqa: PTH118
        )
        yield from (Path(folder, name) for name in sorted(files) if not is_hidden(name))
