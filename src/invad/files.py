"""Writing files so that nobody ever sees half of one, and folders so that two programs do not write one at a time."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

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


def require_writable(path: Path) -> None:
    """Refuse a place where no file can be written, before the work for it is done; nothing is made there.

    Raises:
        RunError: it is a folder, or the folder that it is to lie in cannot be written.
    """
    try:
        if path.is_dir():
            raise RunError(f"cannot write {path}: it is a folder. Name a file, such as {path / path.name}")
        parents = path.absolute().parents
        folder = next((folder for folder in parents if folder.exists()), parents[0])
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RunError(_cannot_write(path, error)) from error


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold a file until the block ends; give False where another program holds it.

    It is made for this and deleted again, with the folder that it lies in if that was made too and nothing else came to
    lie in it. The system lets go of it when the program ends, however it ends. Where nothing can be held, in a folder
    that cannot be written or on a file system without locks, nobody is kept out.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder, held(Path(folder) / ".lock") as first:
        ...     with held(Path(folder) / ".lock") as second:
        ...         first, second
        (True, False)
    """
    is_new, lock, free = not path.parent.exists(), FileLock(path), True
    with suppress(OSError, NotImplementedError):  # nothing can be held here; whoever writes here is told by the system
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            free = False
    try:
        yield free
    finally:
        if lock.is_locked or (free and is_new):  # else it may be another user's, who holds it and lets nobody open it
            with suppress(OSError):  # while it is held, so that nobody else's is deleted; Windows does so when it goes
                path.unlink()
        lock.release()
        if free and is_new:
            with suppress(OSError):
                path.parent.rmdir()


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
