"""Pictures in a data set's folder that are no part of it: photos that somebody believes to be used, and are not."""

import os
from collections.abc import Iterator
from pathlib import Path

from invad.data.dataset import DataSet
from invad.data.folder import META
from invad.data.images import is_hidden, is_image
from invad.records import GOOD

SEARCHED = ("mvtec", "medical", "folder", "synthetic")
"""Layouts whose folders hold nothing but their images; those with an index have more files than they use."""
MASKS_OF_GOOD = ("ground_truth", GOOD)
"""Where empty masks of normal images may lie, which nobody needs."""
OTHER_KINDS = frozenset(
    {".arw", ".avif", ".cr2", ".cr3", ".dng", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jxl", ".nef", ".pgm", ".ppm"}
)
"""What holds a picture and is not read, in lower case."""


def unused_images(data: DataSet) -> list[str]:
    """Return the image files below the root that are no part of a data set: no record names them.

    They are links to nothing, or lie where the layout has no images. None for layouts with an index.
    """
    used = {_identity(path) for record in data.records for path in (record.image, record.mask) if path is not None}
    used.discard(None)  # a file that is gone since; links to nothing are not used
    found = (path for path in _files(data) if is_image(path.name) and path.parts[-3:-1] != MASKS_OF_GOOD)
    return [str(path) for path in found if _identity(path) not in used]


def unread_pictures(data: DataSet) -> list[str]:
    """Return the pictures below the root that are of a kind that is not read. None for layouts with an index."""
    return [str(path) for path in _files(data) if path.suffix.lower() in OTHER_KINDS]


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from others, however its name is spelt; None of a link to nothing."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _files(data: DataSet) -> Iterator[Path]:
    """Every file below the root that is not hidden, by name; links to folders are followed, in circles once."""
    has_index = data.root.is_file() or (data.root / META).is_file()
    if has_index or any(layout not in SEARCHED for layout in data.layouts):
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
