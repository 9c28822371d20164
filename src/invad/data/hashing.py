"""What images hold, in 64 letters: so that a run can say what it was trained on, and a changed image is noticed."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import track

from invad.data.loading import threads
from invad.errors import ImageError


def content_hashes(paths: Sequence[Path], *, quiet: bool = True) -> tuple[str, ...]:
    """Return the SHA-256 of each file, as hexadecimal digits; cost one reading of all files.

    Raises:
        ImageError: a file is missing or cannot be read.
    """
    with ThreadPoolExecutor(max_workers=threads(), thread_name_prefix="hash") as pool:
        shown = track(
            pool.map(content_hash, paths),
            "reading ",
            total=len(paths),
            console=Console(stderr=True),
            disable=quiet,
            transient=True,
        )
        return tuple(shown)


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits.

    Raises:
        ImageError: it is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from error
