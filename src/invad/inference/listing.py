"""The list of a job's images, made once, before the first is predicted: every process takes its part of the same list.

A folder that changes meanwhile, or that another machine lists in another order, changes nothing.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from invad.errors import RunError
from invad.files import written_at_once
from invad.inference.inputs import STDIN, Item


def write_list(path: Path, items: Iterable[Item]) -> None:
    """Write the images at once, a line each, without ever holding all of them.

    Raises:
        DataError: an input is faulty.
        RunError: the file cannot be written.
    """
    with written_at_once(path) as file:
        for item in items:
            file.write(json.dumps([str(item.path), item.class_name]).encode() + b"\n")


def read_list(path: Path, *, start: int = 0, step: int = 1) -> Iterator[Item]:
    """Yield every so many-th image of a list, without ever holding all of them.

    Raises:
        RunError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            for line in islice(file, start, None, step):
                name, class_name = json.loads(line)
                yield Item(path=Path(name), class_name=class_name)
    except (OSError, ValueError, TypeError) as error:
        raise RunError(
            f"the list of images {path} is missing or damaged ({error}); replace it by --overwrite"
        ) from error


def inputs_digest(roots: Sequence[str]) -> str:
    """Return a checksum of what images were named by, and from which folder, as hexadecimal digits.

    Example:
        >>> inputs_digest(["photos/"]) == inputs_digest(["photos"])
        True
    """
    named = [root if root == STDIN else [str(Path(root)), os.path.abspath(root)] for root in roots]  # noqa: PTH100, links
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def portable(text: str) -> str:
    r"""Return the text as any reader takes it: bytes of a file name that are not UTF-8 become `\xe9`.

    Python holds such bytes as lone surrogates, which no UTF-8 file may hold and many readers of JSON refuse.

    Example:
        >>> portable("caf\udce9.png") == r"caf\xe9.png", portable("é.png")
        (True, 'é.png')
    """
    return "".join(_visible(letter) if "\ud800" <= letter <= "\udfff" else letter for letter in text)


def _visible(surrogate: str) -> str:
    """A lone surrogate as an escape: that of the byte that it stands for, if it stands for one."""
    byte = ord(surrogate) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else f"\\u{ord(surrogate):04x}"


class ImageNames:
    """The names of images, in order, as a count and a checksum."""

    def __init__(self) -> None:
        self.count = 0
        self._digest = hashlib.sha256()

    def add(self, name: str) -> None:
        """Take the next image's name, as its line has it."""
        self.count += 1
        self._digest.update(json.dumps(name).encode())

    def values(self) -> dict[str, Any]:
        """Return both by name, for JSON."""
        return {"images": self.count, "names": self._digest.hexdigest()}
