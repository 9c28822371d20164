"""Results that are written line by line and survive a kill at any moment.

While predictions are made, the folder of results holds `predictions.work`: a description of the job, the list of its
images, and for each process a file of finished lines. A line is written after its pictures. What a kill leaves is a
whole number of lines and perhaps one half; going on cuts the half off and starts behind the last whole one. At the end
the lines of all processes are merged in the order of the list, each compared with it, and the folder goes away; the
description stays, as `predictions.job.json`, with how many images there were and a checksum of their names.

The first process alone decides how to begin, and makes the folder, in one step. The others join it by the token that
it drew for this start. Who has written all lines leaves a mark with the token: marks of an earlier start count for
nothing.

Each process holds a file of its own in the folder while it is at work, so that no two commands write one folder at a
time. The system lets go of it when the process ends, by a kill too.
"""

import json
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, Literal

from invad.errors import RunError
from invad.files import held, write_text
from invad.inference.inputs import Item
from invad.inference.listing import ImageNames, portable, read_list, write_list
from invad.inference.replacing import DESCRIPTION, JOB, LIST, WORK, delete_work, discard, read_description
from invad.inference.sharding import Shard

FORMAT = 2
"""The version of what lies in the work folder."""
WAIT_SECONDS = 0.5
"""Between two looks for the other processes' results."""
LOCK = ".predictions.{}.lock"
"""The file that each process, by its number, holds while it is at work."""
MADE = ".predictions.work.new"
"""The work folder until it is whole."""
State = Literal["absent", "begun", "complete"]


class Journal:
    """The lines of one process, as far as they are finished.

    Args:
        folder: where the results go.
        job: what decides the lines, besides the images; only the same job may be gone on with.
        shard: this process's part.
    """

    def __init__(self, folder: Path, job: Mapping[str, Any], shard: Shard) -> None:
        self.folder = folder
        self.work = folder / WORK
        self.record = folder / JOB
        self.shard = shard
        described = {"format_version": FORMAT, "processes": shard.count, **job}
        self._job: dict[str, Any] = json.loads(json.dumps(described))  # as it is read again: lists for tuples
        self._token = ""
        self._file: FileIO | None = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A context in which no other command writes this process's part of the folder.

        Raises:
            RunError: one does.
        """
        with held(self.folder / LOCK.format(self.shard.rank)) as free:
            if not free:
                raise RunError(
                    f"another command is writing predictions into {self.folder}; wait until it is done, or choose "
                    f"another --out"
                )
            yield

    def look(self, final: Path, kept: tuple[Path, ...], inputs: str, *, resume: bool, overwrite: bool) -> State:
        """Return how far the job is, having changed nothing; for the first process.

        Args:
            final: the file that the merged lines will go to.
            kept: folders for pictures, which must be empty.
            inputs: the checksum of what the images are named by.
            resume: go on with the same job where it was begun or is complete.
            overwrite: replace what is there.

        Raises:
            RunError: results are there that nobody said may be replaced, or another job was begun or done.
        """
        if self.work.exists() and resume:
            self._require_same(self.work / DESCRIPTION, {**self._job, "inputs": inputs})
            return "begun"
        if self.work.exists() and not overwrite:
            raise RunError(f"{self.work} holds unfinished predictions; go on by --resume, or replace by --overwrite")
        paths = (final, self.record, *kept)
        taken = [path for path in paths if path.is_file() or (path.is_dir() and any(path.iterdir()))]
        if resume and final in taken:
            self._require_same(self.record, self._job)
            return "complete"
        if taken and not overwrite:
            raise RunError(f"{taken[0]} exists; choose another --out, or pass --overwrite")
        return "absent"

    def create(self, inputs: str, items: Iterable[Item] | None, *, overwrite: bool) -> None:
        """Make the work folder, whole or not at all; for the first process.

        Args:
            inputs: as for `look`.
            items: the images of all processes; None: they are told later, one after another.
            overwrite: delete what earlier jobs made here, once the images are listed.

        Raises:
            DataError: an input is faulty; nothing was deleted then.
            RunError: something cannot be written, or another command began here at the same time.
        """
        made = self.folder / MADE
        shutil.rmtree(made, ignore_errors=True)
        write_text(made / DESCRIPTION, json.dumps({**self._job, "inputs": inputs}, indent=1) + "\n")
        if items is not None:
            write_list(made / LIST, items)
        if overwrite:
            discard(self.folder)
        try:
            made.rename(self.work)
        except OSError as error:
            raise RunError(f"cannot make {self.work}: {error.strerror}; does another command write here?") from error

    def start(self) -> str:
        """Draw the token of this start, which the other processes are to join it by."""
        self._token = secrets.token_hex(8)
        return self._token

    def join(self, token: str) -> None:
        """Take part in the start of the first process.

        Raises:
            RunError: it does another job.
        """
        self._require_same(self.work / DESCRIPTION, self._job)
        self._token = token

    def items(self) -> Iterator[Item]:
        """Yield the images of this process."""
        return read_list(self.work / LIST, start=self.shard.rank, step=self.shard.count)

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
                    if item is None or found["image"] != portable(str(item.path)):
                        raise RunError(
                            f"{path} was written for other images: it has {found['image']} where there is now "
                            f"{item.path if item else 'no image'}. Name the same images, or replace it by --overwrite"
                        )
                    offset += len(line)
                    yield found
        try:
            self._file = FileIO(path, "r+" if path.exists() else "w")  # holds nothing back that closing would write
            self._file.truncate(offset)
            self._file.seek(offset)
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror}") from error

    def append(self, line: Mapping[str, Any]) -> str:
        """Write one line, so that not even a kill of this process loses it; return it as text."""
        assert self._file is not None
        text = json.dumps(line)
        rest = text.encode() + b"\n"
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
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
        """Say that this process has written all its lines.

        Raises:
            RunError: the work folder is gone, or it cannot be written.
        """
        self.close()
        if not self.work.is_dir():
            raise RunError(f"{self.work} is gone: another command has finished or replaced this job meanwhile")
        write_text(self._path("done"), self._token)

    def wait(self) -> Iterator[list[int]]:
        """Wait until all processes of this start have completed; yield those that are missing, again and again."""
        while missing := [rank for rank in range(self.shard.count) if not self._is_done(rank)]:
            yield missing
            time.sleep(WAIT_SECONDS)

    def merged(self) -> Iterator[bytes]:
        """Yield the lines of all processes in the order of the images.

        Raises:
            RunError: a line is missing, too many, or not of the image at its place.
        """
        listed = self.work / LIST
        if not listed.exists():  # this process is alone, and compared its lines with the images as they came
            with self._path("jsonl").open("rb") as file:
                yield from file
            return
        files = [self._path("jsonl", rank).open("rb") for rank in range(self.shard.count)]
        try:
            for number, item in enumerate(read_list(listed)):
                line = files[number % len(files)].readline()
                found = _parse(line)
                if found is None or found["image"] != portable(str(item.path)):
                    raise RunError(
                        f"{files[number % len(files)].name} has no line for {item.path} at its place; predict again by "
                        f"--overwrite, and see that no process of an earlier start is still at work"
                    )
                yield line
            if any(file.readline() for file in files):
                raise RunError(f"{self.work} has lines for more images than its list; predict again by --overwrite")
        finally:
            for file in files:
                file.close()

    def conclude(self, names: ImageNames) -> None:
        """Keep what was done, and delete the work folder."""
        write_text(self.record, json.dumps({**self._job, **names.values()}, indent=1) + "\n")
        delete_work(self.folder)

    def require_images(self, names: ImageNames) -> None:
        """Refuse images that are not those of the work that is complete.

        Raises:
            RunError: they are others.
        """
        done = _read(self.record)
        if any(done.get(key) != value for key, value in names.values().items()):
            raise RunError(
                f"{self.folder} holds predictions of {done.get('images')} images, which are not the "
                f"{names.count} named now; choose another --out, or pass --overwrite"
            )

    def _path(self, suffix: str, rank: int | None = None) -> Path:
        number = self.shard.rank if rank is None else rank
        return self.work / f"{number:05d}-of-{self.shard.count:05d}.{suffix}"

    def _is_done(self, rank: int) -> bool:
        try:
            return self._path("done", rank).read_text(encoding="utf-8") == self._token
        except FileNotFoundError:
            return False

    def _require_same(self, path: Path, job: Mapping[str, Any]) -> None:
        begun = _read(path)
        differing = sorted(key for key, value in job.items() if begun.get(key) != value)
        if differing:
            raise RunError(
                f"{path.parent} is of another job, with another {', '.join(differing)}; go on with the options and "
                f"images that it was begun with, choose another --out, or replace it by --overwrite without --resume"
            )


def _read(path: Path) -> dict[str, Any]:
    """A description of a job."""
    found = read_description(path)
    if found is None:
        raise RunError(f"{path} is missing or damaged; choose another --out, or replace by --overwrite")
    return found


def _parse(line: bytes) -> dict[str, Any] | None:
    """A whole line's values; None for one that was cut short."""
    if not line.endswith(b"\n"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("image"), str) else None
