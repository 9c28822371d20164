"""What a job leaves in its folder of results, and how all of it is deleted again, and nothing else.

Pictures and raw maps lie in folders where a person may have put files of their own. So only those go that the job's own
lines name, and for an unfinished job also those of its list, whose last pictures may have no line yet.

Each thing is renamed before it is deleted: a kill in between leaves nothing that looks whole, and the next `discard`
goes on with it.
"""

import json
import re
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, get_args

from invad.errors import RunError
from invad.inference.listing import read_list
from invad.inference.tables import Format, read_lines

WORK = "predictions.work"
"""The folder of an unfinished job."""
DESCRIPTION = "job.json"
"""In the work folder: what the job is."""
LIST = "images.jsonl"
"""In the work folder: the images of all processes."""
JOB = "predictions.job.json"
"""What the finished job was."""
OVERLAYS, MAPS = "overlays", "maps"
"""The folders for pictures and raw maps."""
REPLACED_WORK, REPLACED_LINES = ".predictions.work.replaced", ".predictions.replaced"
NAME_LENGTH = 50
"""The characters that an output's name takes from its image, so that it fits every file system."""


def output_name(number: int, path: Path) -> str:
    """Return a plain file name for the outputs of an image: its number, folder and name, nothing that leads elsewhere.

    Example:
        >>> output_name(3, Path("photos/good/../bad?/1.png"))
        '0000003_bad__1.png'
    """
    told = "_".join(part for part in (path.parent.name, path.name) if part)
    return f"{number:07d}_{re.sub(r'[^0-9A-Za-z.-]', '_', told)[-NAME_LENGTH:]}"


def discard(folder: Path) -> None:
    """Delete what jobs made in a folder of results: lines, pictures, unfinished work. Other files stay.

    Raises:
        MissingExtraError: the lines are Parquet, and pyarrow is not installed.
        RunError: something cannot be deleted, or the lines cannot be read.
    """
    try:
        _discard_finished(folder)
        _discard_work(folder)
    except OSError as error:
        raise RunError(f"cannot replace what is in {folder}: {error}. Choose another --out") from error


def delete_work(folder: Path) -> None:
    """Delete the work folder: for whoever looks, at once. What cannot be deleted stays under a hidden name.

    Raises:
        RunError: it cannot be renamed.
    """
    work, gone = folder / WORK, folder / REPLACED_WORK
    shutil.rmtree(gone, ignore_errors=True)
    try:
        work.rename(gone)
    except OSError as error:
        raise RunError(f"cannot delete {work}: {error.strerror}; delete it by hand") from error
    shutil.rmtree(gone, ignore_errors=True)


def read_description(path: Path) -> dict[str, Any] | None:
    """Return the description of a job; None where it is missing or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _discard_finished(folder: Path) -> None:
    """Delete a finished job. Without its description, the lines may be anyone's, and stay."""
    job = read_description(folder / JOB)
    if job is None or job.get("format") not in get_args(Format):
        return
    lines, gone = folder / f"predictions.{job['format']}", folder / REPLACED_LINES
    if lines.exists():
        lines.replace(gone)
    if gone.exists():
        if _draws(job):
            for line in read_lines(gone, job["format"]):
                _delete_pictures(folder, line)
        gone.unlink()
    (folder / JOB).unlink()


def _discard_work(folder: Path) -> None:
    """Delete an unfinished job."""
    work, gone = folder / WORK, folder / REPLACED_WORK
    if work.exists():
        shutil.rmtree(gone, ignore_errors=True)  # of a job that was finished
        work.rename(gone)
    if not gone.exists():
        return
    if _draws(read_description(gone / DESCRIPTION) or {}):
        for line in chain(_lines_written(gone), _lines_to_come(gone)):
            _delete_pictures(folder, line)
    shutil.rmtree(gone)


def _lines_written(work: Path) -> Iterator[dict[str, Any]]:
    for part in work.glob("*-of-*.jsonl"):
        yield from read_lines(part, "jsonl")


def _lines_to_come(work: Path) -> Iterator[dict[str, Any]]:
    """What the list's lines will say of pictures, up to where it is damaged; standard input has no list."""
    try:
        for number, item in enumerate(read_list(work / LIST) if (work / LIST).exists() else ()):
            name = output_name(number, item.path)
            yield {"overlay": f"{name}.jpg", "map": f"{name}.npy"}
    except RunError:
        return


def _draws(job: dict[str, Any]) -> bool:
    """Whether a job makes pictures or raw maps."""
    return job.get("scale") is not None or bool(job.get("maps"))


def _delete_pictures(folder: Path, line: dict[str, Any]) -> None:
    """Delete the files that a line names, by their names alone: the folder may have been moved since."""
    for key, kind in (("overlay", OVERLAYS), ("map", MAPS)):
        name = line.get(key)
        picture = folder / kind / Path(name).name if isinstance(name, str) else None
        if picture is not None and picture.is_file():
            picture.unlink()
