"""Files that list images: reading them, and keeping their paths under the root that they belong to."""

import csv
import io
import json
import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from invad.errors import DataError

SHOWN = 3
"""Files named where many have one fault."""


def inside(root: Path, name: str, where: str) -> Path:
    """Return the path under the root that an index names; links are followed when it is read, `..` never.

    Raises:
        DataError: the path is empty, absolute, or leaves the root.

    Example:
        >>> inside(Path("root"), "a\\\\b.png", "list.csv").as_posix()
        'root/a/b.png'
    """
    plain = posixpath.normpath(name.replace("\\", "/"))
    if plain in (".", "..") or plain.startswith(("../", "/")) or os.path.splitdrive(plain)[0]:
        raise DataError(f"{where}: the path {name!r} leaves the folder {root}; it is refused")
    return root / plain


def read_text(path: Path) -> str:
    """Return a text file in UTF-8, a byte-order mark taken off.

    Raises:
        DataError: it cannot be read, or is no such text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file in UTF-8: {error}") from error


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        DataError: it cannot be read, or is not JSON (cut short, for example).
    """
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}. Fetch it again") from error


def read_csv(path: Path, columns: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """Return the rows of a CSV file with a header, each with words that say where it stands.

    Raises:
        DataError: it cannot be read, lacks one of the columns, or a row has too few cells.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{path} has no column {', '.join(missing)}; expected {', '.join(columns)}")
        rows = [(f"{path}, line {reader.line_num}", row) for row in reader]
    except csv.Error as error:
        raise DataError(f"{path} is not a table that can be read: {error}") from error
    short = [where for where, row in rows if None in (row[name] for name in columns)]
    if short:
        raise DataError(f"{listed(short)}: fewer cells than columns; fetch the file again")
    return rows


def field(item: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    """Return an entry of a JSON object.

    Raises:
        DataError: it is not there, or of another kind.
    """
    if not isinstance(item, dict) or not isinstance(item.get(name), kind):
        raise DataError(f"{where}: expected an object with {name!r} of the kind {kind.__name__}, got {str(item)[:80]}")
    return item[name]


def require_files(paths: Iterable[Path], index: Path) -> None:
    """Refuse an index that names files which are not there.

    Raises:
        DataError: there are some.
    """
    missing = [path for path in paths if not os.path.isfile(path)]  # noqa: PTH113, half the time for many files
    if missing:
        raise DataError(
            f"{len(missing)} files that {index} names are not there: {listed(missing)}. Unpack the data set again, "
            f"or choose other classes"
        )


def listed(found: Sequence[object]) -> str:
    """Return the first few, in words.

    Example:
        >>> listed("abcd")
        'a, b, c, ...'
    """
    return ", ".join(map(str, found[:SHOWN])) + (", ..." if len(found) > SHOWN else "")
