"""Results that are written line by line and survive a kill at any moment.

While predictions are made, the folder of results holds `predictions.work`: a description of the job, and for each
process a file of finished lines. A line is written after its pictures. What a kill leaves is a whole number of lines
and perhaps one half; going on cuts the half off and starts behind the last whole one. At the end the lines of all
processes are merged in the order of the images, and the folder goes away; the description stays, as
`predictions.job.json`, with how many images there were and a checksum of their names.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any, BinaryIO

from invad.errors import RunError
from invad.files import write_text
from invad.inference.inputs import Item
from invad.inference.sharding import Shard

WORK = "predictions.work"
JOB = "predictions.job.json"
FORMAT = 1
"""The version of what lies in the work folder."""
WAIT_SECONDS = 0.5
"""Between two looks for the other processes' results."""


class Journal:
    """The lines of one process, as far as they are finished.

    Args:
        folder: where the results go.
        job: what decides the lines, besides the images; only the same job may be gone on with.
        shard: this process's part.
    """

    def __init__(self, folder: Path, job: Mapping[str, Any], shard: Shard) -> None:
        self.work = folder / WORK
        self.record = folder / JOB
        self.shard = shard
        self._job = {"format": FORMAT, "processes": shard.count, **job}
        self._file: BinaryIO | None = None

    def admit(self, final: Path, kept: tuple[Path, ...], *, resume: bool, overwrite: bool) -> bool:
        """Start the work, or go on with it; return False where it is complete already.

        Args:
            final: the file that the merged lines will go to.
            kept: folders for pictures, which must be empty.
            resume: go on with the same job where it was begun or is complete.
            overwrite: replace what is there.

        Raises:
            RunError: results are there that nobody said may be replaced, or another job was begun or done.
        """
        begun = self._path("jsonl").exists() or (self.shard.alone and self.work.exists())
        if begun and overwrite and not resume:
            self._discard()
        elif begun and not resume:
            raise RunError(f"{self.work} holds unfinished predictions; go on by --resume, or replace by --overwrite")
        if not self.work.exists():
            taken = [path for path in (final, *kept) if path.is_file() or (path.is_dir() and any(path.iterdir()))]
            if resume and final in taken:
                self._require_same(self.record)
                return False
            # Another process may have begun since: it has checked, and what is there is its work.
            if taken and not overwrite and not self.work.exists():
                raise RunError(f"{taken[0]} exists; choose another --out, or pass --overwrite")
        self._claim()
        return True

    def finished(self, items: Iterator[Item]) -> Iterator[dict[str, Any]]:
        """Yield the lines that are whole, taking their items; then the journal is open behind the last of them.

        Raises:
            RunError: the lines are not of these items.
        """
        path = self._path("jsonl")
        offset = 0
        if path.exists():
            with path.open("rb") as file:
                for line in file:
                    found = _parse(line)
                    if found is None:
                        break
                    item = next(items, None)
                    if item is None or found["image"] != str(item.path):
                        raise RunError(
                            f"{path} was written for other images: it has {found['image']} where there is now "
                            f"{item.path if item else 'no image'}. Name the same images, or replace it by --overwrite"
                        )
                    offset += len(line)
                    yield found
        try:
            self._file = path.open("r+b" if path.exists() else "wb")
            self._file.truncate(offset)
            self._file.seek(offset)
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror}") from error

    def append(self, line: Mapping[str, Any]) -> str:
        """Write one line, so that not even a kill of this process loses it; return it as text."""
        assert self._file is not None
        text = json.dumps(line)
        try:
            self._file.write(text.encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise RunError(
                f"cannot write {self._path('jsonl')}: {error.strerror}. Free some space and go on by --resume"
            ) from error
        return text

    def close(self) -> None:
        """Close the file; what was written stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def complete(self) -> None:
        """Say that this process has written all its lines."""
        self.close()
        write_text(self._path("done"), "")

    def wait(self) -> Iterator[list[int]]:
        """Wait until all processes have completed; yield those that are missing, again and again."""
        while missing := [rank for rank in range(self.shard.count) if not self._path("done", rank).exists()]:
            yield missing
            time.sleep(WAIT_SECONDS)

    def merged(self) -> Iterator[bytes]:
        """Yield the lines of all processes in the order of the images.

        Raises:
            RunError: some are missing.
        """
        files = [self._path("jsonl", rank).open("rb") for rank in range(self.shard.count)]
        try:
            for rank in cycle(range(self.shard.count)):
                line = files[rank].readline()
                if not line:
                    break
                yield line
            if any(file.readline() for file in files):
                raise RunError(f"the lines in {self.work} do not fit each other; predict again by --overwrite")
        finally:
            for file in files:
                file.close()

    def conclude(self, names: "ImageNames") -> None:
        """Keep what was done, and delete the work folder."""
        write_text(self.record, json.dumps({**self._job, **names.values()}, indent=1) + "\n")
        shutil.rmtree(self.work)

    def require_images(self, names: "ImageNames") -> None:
        """Refuse images that are not those of the work that is complete.

        Raises:
            RunError: they are others.
        """
        done = self._read(self.record)
        if any(done.get(key) != value for key, value in names.values().items()):
            raise RunError(
                f"{self.record.parent} holds predictions of {done.get('images')} images, which are not the "
                f"{names.count} named now; choose another --out, or pass --overwrite"
            )

    def _path(self, suffix: str, rank: int | None = None) -> Path:
        number = self.shard.rank if rank is None else rank
        return self.work / f"{number:05d}-of-{self.shard.count:05d}.{suffix}"

    def _discard(self) -> None:
        """Delete unfinished work: all of it, or with other processes at work this one's own part."""
        if self.shard.alone:
            shutil.rmtree(self.work)
        else:
            for suffix in ("done", "jsonl"):
                self._path(suffix).unlink(missing_ok=True)

    def _claim(self) -> None:
        """Write down the job, or see that it is the one that was begun."""
        path = self.work / "job.json"
        if path.exists():
            self._require_same(path)
        else:
            write_text(path, json.dumps(self._job, indent=1) + "\n")

    def _require_same(self, path: Path) -> None:
        begun = self._read(path)
        differing = sorted(key for key, value in self._job.items() if begun.get(key) != value)
        if differing:
            raise RunError(
                f"{path.parent} is of another job, with another {', '.join(differing)}; go on with the options that it "
                f"was begun with, choose another --out, or delete {path.parent}"
            )

    def _read(self, path: Path) -> dict[str, Any]:
        """A description of a job."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{path} is missing or damaged ({error}); choose another --out, or --overwrite") from error
        return found if isinstance(found, dict) else {}


class ImageNames:
    """The names of images, in order, as a count and a checksum."""

    def __init__(self) -> None:
        self.count = 0
        self._digest = hashlib.sha256()

    def add(self, name: str) -> None:
        """Take the next image's name."""
        self.count += 1
        self._digest.update(json.dumps(name).encode())

    def values(self) -> dict[str, Any]:
        """Return both by name, for JSON."""
        return {"images": self.count, "names": self._digest.hexdigest()}


def _parse(line: bytes) -> dict[str, Any] | None:
    """A whole line's values; None for one that was cut short."""
    if not line.endswith(b"\n"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("image"), str) else None
