"""The bytes of recent images, in one anonymous file of bounded size: a ring that overwrites the oldest."""

import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from invad.serving.schemas import Decision


@dataclass(frozen=True, kw_only=True, slots=True)
class Recent:
    """An image that was predicted, and what the model said of it."""

    id: str
    """The SHA-256 of its bytes."""
    name: str
    class_name: str | None
    width: int
    height: int
    score: float
    threshold: float | None
    decision: Decision | None
    model: str
    """The checksum of the model."""


class Spool:
    """Keeps recent images until newer ones need their place.

    The file has no name, so a program that is killed leaves nothing behind.

    Args:
        folder: of the disk to keep it on.
        size: bytes, at most.

    Example:
        >>> recent = Recent(id="a", name="a.png", class_name=None, width=1, height=1, score=0.1, threshold=None,
        ...     decision=None, model="")
        >>> spool = Spool(Path(tempfile.gettempdir()), 10)
        >>> spool.put(recent, b"123456")
        >>> spool.get("a")[1]
        b'123456'
        >>> spool.close()
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115, closed by close()
        self._size = size
        self._end = 0
        """Where the next image is written."""
        self._places: OrderedDict[str, tuple[int, int, Recent]] = OrderedDict()
        """Offset, length and record by id, in the order of writing, which is that of the ring."""
        self._lock = threading.Lock()

    def put(self, recent: Recent, data: bytes) -> None:
        """Keep an image; one that is there already is not written again, an empty or too large one not at all."""
        with self._lock:
            known = self._places.get(recent.id)
            if known is not None:
                self._places[recent.id] = (known[0], known[1], recent)
                return
            if not 0 < len(data) <= self._size:
                return
            start = self._make_room(len(data))
            self._file.seek(start)
            self._file.write(data)
            self._file.flush()
            self._end = start + len(data)
            self._places[recent.id] = (start, len(data), recent)

    def get(self, id: str) -> tuple[Recent, bytes] | None:
        """Return a record and the image's bytes; None where it is no longer there."""
        with self._lock:
            known = self._places.get(id)
            if known is None:
                return None
            start, length, recent = known
            self._file.seek(start)
            return recent, self._file.read(length)

    def close(self) -> None:
        """Forget all."""
        with self._lock:
            self._places.clear()
            self._file.close()

    def _make_room(self, length: int) -> int:
        """Where so many bytes fit, the images that lay there forgotten."""
        start = self._end
        if start + length > self._size:  # what lies behind is the oldest, and is forgotten with the old round
            while self._places and next(iter(self._places.values()))[0] >= start:
                self._places.popitem(last=False)
            start = 0
        while self._places:
            first, size, _ = next(iter(self._places.values()))
            if not (first < start + length and first + size > start):
                break
            self._places.popitem(last=False)
        return start
