"""Writing files so that nobody ever sees half of one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from invad.errors import RunError

PART = ".part"
"""How the name of a file ends that is being written; a hidden one, which only a kill leaves behind."""


@contextmanager
def written_at_once(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write to, which takes the place of path when the block ends, and is deleted where it fails.

    It lies beside path until then, and is synced before it is renamed.

    Raises:
        RunError: the disk is full or the folder cannot be written; what stood at path before still stands.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
    except OSError as error:
        raise RunError(_cannot_write(path, error)) from error
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise RunError(_cannot_write(path, error)) from error
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write data to path at once: into a temporary file beside it, synced, then renamed over it.

    Raises:
        RunError: the disk is full or the folder cannot be written; what stood at path before still stands.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_bytes(Path(folder) / "a.bin", b"abc")
        ...     (Path(folder) / "a.bin").read_bytes()
        b'abc'
    """
    with written_at_once(path) as file:
        file.write(data)


def _sync_folder(folder: Path) -> None:
    """Have the renaming itself survive a loss of power; Windows has no such call and needs none."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    r"""Write text in UTF-8 to path at once, see `write_bytes`; bytes of names that are none become `\udcff`, say."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def _cannot_write(path: Path, error: OSError) -> str:
    return f"cannot write {path}: {error.strerror or error}. Free some space or choose another folder"
