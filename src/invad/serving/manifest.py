"""Marks as a folder or archive that `invad train` and `invad calibrate` read.

manifest.csv      image, class, split, label: for --data folder:manifest.csv and --labelled folder:manifest.csv
good.csv          image, class, of those that are really good: for --normal good.csv
marks.jsonl       all that is known of each mark
images/CLASS/good/ID.png, images/CLASS/defective/ID.png
"""

import csv
import io
import json
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from invad.errors import RunError
from invad.files import write_text, written_at_once
from invad.inference.calibration import UNKNOWN_NAME
from invad.serving.marks import Mark, Marks
from invad.serving.schemas import Decision


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One file of an export."""

    name: str
    """Under the export's root, with slashes."""
    content: str | Path
    """Its text, or the file that it is a copy of."""


def write_folder(marks: Marks, folder: Path) -> Counter[Decision]:
    """Write all marks into a folder; return how many there are of each kind.

    Raises:
        RunError: the folder is not empty, the disk is full, or there is no mark.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} exists and is not empty; choose another folder")
    listed = exportable(marks)
    if not listed:
        raise RunError(f"there are no marks in {marks.folder}; mark images on the page of `invad serve` first")
    for entry in entries(marks, listed):
        target = folder / entry.name
        if isinstance(entry.content, str):
            write_text(target, entry.content)
            continue
        with written_at_once(target) as file, entry.content.open("rb") as source:
            shutil.copyfileobj(source, file)
    return Counter(mark.mark for mark in listed)


def write_zip(marks: Marks, file: IO[bytes]) -> None:
    """Write all marks into an archive; images are compressed already, so they are stored as they are.

    Raises:
        OSError: the disk is full.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for entry in entries(marks, exportable(marks)):
            if isinstance(entry.content, str):
                archive.writestr(entry.name, entry.content)
            else:
                archive.write(entry.content, entry.name)


def exportable(marks: Marks) -> list[Mark]:
    """Return the marks whose image is there, the oldest first, so that an export made later goes on where it ended."""
    return [mark for mark in reversed(marks.all()) if marks.path(mark).is_file()]


def entries(marks: Marks, listed: list[Mark]) -> Iterator[Entry]:
    """Yield the files of an export: the images first, so that the lists never name one that is missing."""
    names = {mark.id: image_name(mark) for mark in listed}
    for mark in listed:
        yield Entry(name=names[mark.id], content=marks.path(mark))
    known = [{**asdict(mark), "image": names[mark.id]} for mark in listed]
    yield Entry(name="marks.jsonl", content="".join(json.dumps(line) + "\n" for line in known))
    good = [mark for mark in listed if mark.mark == "good"]
    yield Entry(name="good.csv", content=_table(["image", "class"], [[names[m.id], m.class_name or ""] for m in good]))
    rows = [
        [
            names[m.id],
            m.class_name or UNKNOWN_NAME,
            *(("train", "normal") if m.mark == "good" else ("test", "anomalous")),
        ]
        for m in listed
    ]
    yield Entry(name="manifest.csv", content=_table(["image", "class", "split", "label"], rows))


def image_name(mark: Mark) -> str:
    """Return where a mark's image lies in an export; a class makes a folder's name of plain characters."""
    folder = re.sub(r"[^\w-]+", "_", mark.class_name or UNKNOWN_NAME, flags=re.ASCII)
    return f"images/{folder}/{mark.mark}/{mark.file}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue()
