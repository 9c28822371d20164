"""What people say that images really are: one SQLite file, and the images beside it by the hash of their content.

    FOLDER/marks.sqlite
    FOLDER/images/<SHA-256>.png

A mark is answered only when image and row are on the disk, so that no mark is lost, however the program ends.
"""

import io
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

from invad.data.images import FORMATS
from invad.errors import RunError
from invad.files import write_bytes
from invad.serving.schemas import Decision
from invad.serving.spool import Recent

FILE = "marks.sqlite"
FORMAT = 1
"""The version of the file, SQLite's `user_version`."""
APPLICATION = 0x494E5641
"""SQLite's `application_id`: the letters INVA."""
SUFFIX = {"BMP": ".bmp", "JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "TIFF": ".tif", "WEBP": ".webp"}
"""How the names of kept images end, by their content, whatever they were sent as.

Pillow calls a JPEG that holds a second picture, as phones and cameras write it, an MPO."""
WAIT_SECONDS = 30.0
"""How long one program waits for another that writes."""
LEFT_SECONDS = 3600.0
"""The age from which an image without a mark was left by a kill."""
TABLE = """CREATE TABLE IF NOT EXISTS marks (
    id TEXT PRIMARY KEY, mark TEXT NOT NULL, class_name TEXT, name TEXT NOT NULL, width INTEGER NOT NULL,
    height INTEGER NOT NULL, score REAL NOT NULL, threshold REAL, decision TEXT, model TEXT NOT NULL,
    marked_at TEXT NOT NULL, file TEXT NOT NULL
) STRICT"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """One image that a person has judged, and what the model said of it."""

    id: str
    """The SHA-256 of its bytes."""
    mark: Decision
    class_name: str | None
    """What it shows; None: not known."""
    name: str
    """A name to show."""
    width: int
    height: int
    score: float
    threshold: float | None
    """The one that decided then; None: there was none."""
    decision: Decision | None
    """The model's."""
    model: str
    """The checksum of the model."""
    marked_at: str
    """ISO 8601 in UTC."""
    file: str
    """The image, under the folder `images`."""


COLUMNS = ", ".join(field.name for field in fields(Mark))


class Marks:
    """The marks in one folder; several threads, and several programs, may use them at a time.

    Args:
        folder: theirs; made where it does not exist.

    Raises:
        RunError: the folder cannot be written, or its file is no such file, damaged, or of a newer version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = folder / "images"
        self._lock = threading.Lock()
        """Held for each use of the database."""
        self._changing = threading.Lock()
        """Held while a mark and its image change together."""
        try:
            self.images.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                folder / FILE, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise RunError(f"cannot keep marks in {folder}: {error}. Choose another folder") from error
        try:
            self._prepare()
            self._tidy()
        except sqlite3.Error as error:
            self._database.close()
            raise RunError(f"{folder / FILE} cannot be used for marks: {error}. {_remedy(error)}") from error
        except RunError:
            self._database.close()
            raise

    def put(self, recent: Recent, data: bytes, mark: Decision, *, class_name: str | None, name: str | None) -> Mark:
        """Keep a mark and its image; one of the same image is replaced.

        Raises:
            RunError: the disk is full or broken; nothing is changed.
        """
        kept = Mark(
            id=recent.id,
            mark=mark,
            class_name=class_name,
            name=name or recent.name,
            width=recent.width,
            height=recent.height,
            score=recent.score,
            threshold=recent.threshold,
            decision=recent.decision,
            model=recent.model,
            marked_at=_now(),
            file=recent.id + _suffix(data),
        )
        places = ", ".join("?" * len(fields(Mark)))
        with self._changing:
            if not self.path(kept).is_file():
                write_bytes(self.path(kept), data)
            self._write(f"INSERT OR REPLACE INTO marks ({COLUMNS}) VALUES ({places})", astuple(kept))
        return kept

    def change(self, id: str, mark: Decision, *, class_name: str | None, name: str | None) -> Mark | None:
        """Change what is said of an image that is marked already; None where it is not.

        Raises:
            RunError: the disk is full or broken; nothing is changed.
        """
        self._write(
            "UPDATE marks SET mark = ?, class_name = COALESCE(?, class_name), name = COALESCE(?, name), marked_at = ? "
            "WHERE id = ?",
            (mark, class_name, name, _now(), id),
        )
        return self.get(id)

    def get(self, id: str) -> Mark | None:
        """Return the mark of an image; None where there is none."""
        rows = self._read(f"SELECT {COLUMNS} FROM marks WHERE id = ?", (id,))
        return rows[0] if rows else None

    def all(self) -> list[Mark]:
        """Return all marks, the newest first."""
        return self._read(f"SELECT {COLUMNS} FROM marks ORDER BY marked_at DESC, id", ())

    def delete(self, id: str) -> bool:
        """Forget a mark and its image; return whether there was one.

        Raises:
            RunError: the disk is full or broken; nothing is changed.
        """
        with self._changing:
            known = self.get(id)
            if known is None:
                return False
            self._write("DELETE FROM marks WHERE id = ?", (id,))
            _unlink(self.path(known))
        return True

    def path(self, mark: Mark) -> Path:
        """Return where the image of a mark lies."""
        return self.images / mark.file

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _prepare(self) -> None:
        """Make the table, or see that it is one of ours; another program may be doing the same."""
        with self._lock, closing(self._database.cursor()) as cursor:
            cursor.execute("PRAGMA synchronous = FULL")
            cursor.execute("BEGIN IMMEDIATE")
            self._require_ours(cursor)
            cursor.execute(TABLE)
            cursor.execute(f"PRAGMA application_id = {APPLICATION}")
            cursor.execute(f"PRAGMA user_version = {FORMAT}")
            cursor.execute("COMMIT")
            _log_ahead(cursor)

    def _require_ours(self, cursor: sqlite3.Cursor) -> None:
        """Refuse a file that is neither new nor one of ours; one that was begun and never given a table is new."""
        application, version, tables = (
            cursor.execute(query).fetchone()[0]
            for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_schema")
        )
        is_new = (application, version, tables) == (0, 0, 0)
        if not is_new and (application, version) != (APPLICATION, FORMAT):
            raise RunError(
                f"{self.folder / FILE} is no file of marks of version {FORMAT} (application {application:#x}, "
                f"version {version}); choose another folder, or the version of invad that made it"
            )

    def _tidy(self) -> None:
        """Delete images without a mark, which a kill left; not new ones, which another program may be about to mark."""
        marked = {mark.file for mark in self.all()}
        for path in self.images.iterdir():
            ours = re.fullmatch(r"\.?[0-9a-f]{64}\..*", path.name) is not None
            if ours and path.name not in marked and time.time() - path.stat().st_mtime > LEFT_SECONDS:
                _unlink(path)

    def _read(self, query: str, values: tuple[object, ...]) -> list[Mark]:
        with self._lock, _errors(self.folder), closing(self._database.cursor()) as cursor:
            rows = cursor.execute(query, values).fetchall()
        names = [field.name for field in fields(Mark)]
        return [Mark(**dict(zip(names, row, strict=True))) for row in rows]

    def _write(self, query: str, values: tuple[object, ...]) -> None:
        """One statement, on the disk when this returns."""
        with self._lock, _errors(self.folder), closing(self._database.cursor()) as cursor:
            cursor.execute(query, values)


def _log_ahead(cursor: sqlite3.Cursor) -> None:
    """Have the file written by a write-ahead log; SQLite itself does not wait here while another program is in it."""
    last = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > last:
                raise
            time.sleep(0.01)


@contextmanager
def _errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise RunError(f"the marks in {folder} cannot be read or written: {error}") from error


def _remedy(error: sqlite3.Error) -> str:
    """What to do about a file that cannot be used. Only a broken one is moved away: the others hold marks."""
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return "Move it away"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "Another program is writing it; try again when it is done"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_AUTH:
            return "Run this as the user of the server that made it, or let this user write it and its folder"
        case sqlite3.SQLITE_FULL:
            return "Free space on its disk, and try again"
        case _:
            return "See whether its disk is in order, and try again"


def _unlink(path: Path) -> None:
    """Delete an image; on Windows one that is being sent stays, and is deleted at a later start."""
    with suppress(FileNotFoundError, PermissionError):
        path.unlink()


def _suffix(data: bytes) -> str:
    """How the name of an image ends, by its content."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return SUFFIX[str(image.format)]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
