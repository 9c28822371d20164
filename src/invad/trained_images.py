"""The list of images that a run is trained on, or holds back: where each lies, and the SHA-256 of what it holds."""

import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from invad.errors import RunError
from invad.files import write_text
from invad.records import Record


def write_records(path: Path, records: Sequence[Record], hashes: Sequence[str]) -> None:
    """Write the images with the SHA-256 of each.

    Raises:
        RunError: the file cannot be written.
    """
    lines = [
        json.dumps({"image": str(r.image), "class": r.class_name, "split": r.split, "sha256": digest}) + "\n"
        for r, digest in zip(records, hashes, strict=True)
    ]
    write_text(path, "".join(lines))


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's list of images, each with `image`, `class`, `split` and, of newer runs, `sha256`.

    Raises:
        RunError: the file is damaged, or cannot be read.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged, or cannot be read ({error}); restore it from a copy") from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("image", "class", "split")):
            raise RunError(f"{path}, line {number} is damaged: expected image, class and split; restore it from a copy")
    return rows


def difference(path: Path, records: Sequence[Record], hashes: Sequence[str], *, mended: bool) -> str:
    """Return in words how images differ from those of a list, of which a missing one is empty; nothing if they do not.

    Images are compared by what they hold, wherever they lie now.

    Args:
        path: of the list.
        records: the images there are now, in order.
        hashes: the SHA-256 of each.
        mended: whether an image that lies where it lay may hold something else.

    Raises:
        RunError: the list is damaged, or cannot be read.
    """
    rows = read_records(path) if path.is_file() else []
    for row, record, digest in zip_longest(rows, records, hashes):
        if row is None or record is None or not _is_same(row, record, digest, mended):
            first = record.image if row is None else row["image"]
            return f"{len(rows)} then, {len(records)} now; the first that differs: {first}"
    return ""


def _is_same(row: Mapping[str, str], record: Record, digest: str, mended: bool) -> bool:
    """Whether an image is the one of a line, by its content; by its path where that is not known or may change."""
    if (row["class"], row["split"]) != (record.class_name, record.split):
        return False
    return row.get("sha256") == digest or (("sha256" not in row or mended) and row["image"] == str(record.image))
