"""The images that a command is pointed at, one after another: never all of them at once.

A root is an image, a folder that is searched, a pattern such as `photos/**/*.png`, a manifest (CSV with a header, or
JSON lines, with `image` and perhaps `class`; relative paths start at the manifest), or `-` for standard input, a path
a line. Hidden files and folders are left out by folders and patterns, unless a pattern names their dot; so are, by
folders, the masks in `ground_truth`.
"""

import csv
import glob
import json
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from invad.data.images import SUFFIXES, is_hidden, is_image
from invad.data.mvtec import nearest
from invad.errors import DataError, SettingsError

Thing = TypeVar("Thing")

STDIN = "-"
MANIFESTS = frozenset({".csv", ".jsonl", ".ndjson"})
"""What counts as a list of images, in lower case."""
MASKS = "ground_truth"
"""The folder of a data set whose pictures are outlines of defects, not photos."""
SORTED_ENTRIES = 1_000_000
"""Entries of one folder, or matches of one pattern, that are sorted by name; more come as the file system has them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One image to look at."""

    path: Path
    class_name: str | None = None
    """Its class, where a manifest names it."""


def list_inputs(roots: Sequence[str], *, without: Collection[Path] = ()) -> Iterator[Item]:
    """Yield the images that the roots name, root by root, sorted within each folder.

    What can be seen at once to be wrong is refused at once, before the first image.

    Args:
        roots: what to look at.
        without: folders in which no image is looked for, those of results for example.

    Raises:
        DataError: a root does not exist or holds no image, or (at its place) a manifest has a faulty line.
        SettingsError: nothing is named, something by an empty name, or standard input twice.
    """
    if not roots:
        raise SettingsError("no image given; expected images, folders, patterns, manifests, or - for standard input")
    if "" in roots:
        raise SettingsError("an image or folder has an empty name; was a variable of the shell not set?")
    if list(roots).count(STDIN) > 1:
        raise SettingsError("standard input (-) can be read only once; name it once")
    skipped = frozenset(folder.resolve() for folder in without)
    parts = [_open(root, skipped) for root in roots]
    return chain.from_iterable(parts)


def class_of(path: Path, classes: Collection[str]) -> str | None:
    """Return the class whose name the nearest of a path's folders bears; None where none does.

    A class with its root's name in front goes by both folders, and before a class that goes by the nearer one alone.

    Example:
        >>> class_of(Path("photos/bracket/train/good/1.jpg"), {"bracket", "screw"})
        'bracket'
        >>> class_of(Path("north/bracket/1.jpg"), {"north/bracket", "south/bracket"})
        'north/bracket'
    """
    folders = path.parts[:-1]
    names = ("/".join(folders[start:end]) for end in range(len(folders), 0, -1) for start in range(end))
    return next((name for name in names if name in classes), None)


def spread(items: Sequence[Thing], count: int) -> list[Thing]:
    """Return at most so many items, evenly over all of them.

    Example:
        >>> spread("abcdefghi", 3)
        ['a', 'e', 'i']
    """
    if len(items) <= count:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def _open(root: str, skipped: frozenset[Path]) -> Iterator[Item]:
    """The images of one root, which has been looked at already."""
    path = Path(root)
    if root == STDIN:
        return _from_lines(sys.stdin.buffer)
    if path.is_dir():
        images = (Item(path=image) for image in _walk(path, skipped, (path.resolve(),)))
        expected = f"files that end in {', '.join(sorted(SUFFIXES))}"
        return _not_empty(images, f"{path} holds no image; expected {expected}")
    if path.suffix.lower() in MANIFESTS and path.is_file():
        return _not_empty(_from_manifest(path), f"{path} names no image")
    if path.exists():
        return iter((Item(path=path),))
    if glob.has_magic(root):
        return _not_empty(_from_pattern(root, skipped), f"no file matches {root}")
    raise DataError(f"there is no image or folder {path}{nearest(path)}")


def _not_empty(items: Iterator[Item], message: str) -> Iterator[Item]:
    first = next(items, None)
    if first is None:
        raise DataError(message)
    return chain((first,), items)


def _walk(folder: Path, skipped: frozenset[Path], above: tuple[Path, ...]) -> Iterator[Path]:
    """The images under a folder: first its own, then those of its folders; links are followed, but not in circles."""
    try:
        entries = _in_order(os.scandir(folder))
    except OSError as error:
        raise DataError(f"cannot look into the folder {folder}: {error.strerror}") from error
    folders = []
    for entry in entries:
        if _is_folder(entry) and not is_hidden(entry.name) and entry.name != MASKS:
            folders.append(entry.name)
        elif is_image(entry.name) and (entry.is_symlink() or entry.is_file()):  # a link to nothing is to be told
            yield folder / entry.name
    for name in folders:
        real = (folder / name).resolve()
        if real not in above and real not in skipped:
            yield from _walk(folder / name, skipped, (*above, real))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is a folder, or a link to one; a link in a circle is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _in_order(entries: Iterable["os.DirEntry[str]"]) -> Iterator["os.DirEntry[str]"]:
    found = iter(entries)
    first = list(islice(found, SORTED_ENTRIES))
    rest = list(islice(found, 1))
    return chain(first if rest else sorted(first, key=lambda entry: entry.name), rest, found)


def _from_pattern(pattern: str, skipped: frozenset[Path]) -> Iterator[Item]:
    found = glob.iglob(pattern, recursive=True)  # noqa: PTH207, takes absolute patterns too
    first = list(islice(found, SORTED_ENTRIES))
    rest = list(islice(found, 1))
    for name in chain(first if rest else sorted(first), rest, found):
        path = Path(name)
        if path.is_file() and skipped.isdisjoint(path.resolve().parents):
            yield Item(path=path)


def _from_lines(lines: Iterable[bytes]) -> Iterator[Item]:
    """A path a line, in the file system's own encoding; empty lines are passed over."""
    for line in lines:
        name = os.fsdecode(line.rstrip(b"\r\n"))
        if name:
            yield Item(path=Path(name))


def _from_manifest(path: Path) -> Iterator[Item]:
    """A line an image; the file is read as it is used."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in _rows(path, file):
                if not isinstance(row, dict) or not isinstance(row.get("image"), str) or not row["image"]:
                    raise DataError(f"{path}, line {number}: no image; expected `image` with a path")
                name = row.get("class")
                yield Item(path=path.parent / row["image"], class_name=None if name in (None, "") else str(name))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a manifest: {error}") from error


def _rows(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    """Each entry with the number of its last line."""
    if path.suffix.lower() == ".csv":
        reader = csv.DictReader(lines)
        if "image" not in (reader.fieldnames or ()):
            raise DataError(f"{path} has no column `image`; expected a header with it")
        for row in reader:
            yield reader.line_num, row
        return
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}, line {number} is not JSON: {error}") from error
