"""A data set: records, where they came from, and what its user should know of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from invad.data.folder import read_folder
from invad.data.mvtec import read_mvtec
from invad.data.synthetic import read_synthetic
from invad.errors import DataError, SettingsError
from invad.records import Record, Split


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """Records in an order that depends on nothing but their paths."""

    layouts: tuple[str, ...]
    """How it lies on disk: the keys of `LAYOUTS`."""
    root: Path
    records: tuple[Record, ...]
    notices: tuple[str, ...] = ()
    """What is unusual but usable, a sentence each."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, sorted."""
        return tuple(sorted({record.class_name for record in self.records}))

    def split(self, split: Split) -> tuple[Record, ...]:
        """The records of one split, in order."""
        return tuple(record for record in self.records if record.split == split)


Reader = Callable[[Path], tuple[list[Record], list[str]]]
LAYOUTS: dict[str, Reader] = {"mvtec": read_mvtec, "folder": read_folder, "synthetic": read_synthetic}
"""Every layout: its key, and what reads records and notices from a root."""


def open_dataset(spec: str, classes: Sequence[str] = ()) -> DataSet:
    """Return the data set that `LAYOUT:ROOT` names.

    Raises:
        SettingsError: the layout is unknown.
        DataError: the root does not exist, is not laid out so, or lacks a class that was asked for.
    """
    layout, separator, root = spec.partition(":")
    if not separator or layout not in LAYOUTS:
        raise SettingsError(f"data set {spec!r}: expected LAYOUT:ROOT with LAYOUT one of {', '.join(LAYOUTS)}")
    path = Path(root).expanduser()
    records, notices = LAYOUTS[layout](path)
    data = DataSet(layouts=(layout,), root=path, records=tuple(records), notices=tuple(notices))
    return choose_classes(data, classes)


def open_datasets(specs: Sequence[str], classes: Sequence[str] = ()) -> DataSet:
    """Return several data sets as one; a class name that two of them share gets its root's name in front.

    Raises: as `open_dataset`.
    """
    if not specs:
        raise SettingsError("no data set given; expected one or more such as --data mvtec:/data/mvtec")
    parts = [open_dataset(spec) for spec in specs]
    names = [name for part in parts for name in part.classes]
    shared = {name for name in names if names.count(name) > 1}
    records, notices = [], [notice for part in parts for notice in part.notices]
    for part in parts:
        for record in part.records:
            clash = record.class_name in shared
            records.append(replace(record, class_name=f"{part.root.name}/{record.class_name}") if clash else record)
    if shared:
        notices.append(f"classes {', '.join(sorted(shared))} are in several sets; each got its root's name in front")
    layouts = tuple(dict.fromkeys(layout for part in parts for layout in part.layouts))
    data = DataSet(layouts=layouts, root=parts[0].root, records=tuple(records), notices=tuple(notices))
    return choose_classes(data, classes)


def choose_classes(data: DataSet, classes: Sequence[str]) -> DataSet:
    """Return the data set with these classes only; none given: all.

    Raises:
        DataError: one of them is not there.
    """
    unknown = sorted(set(classes) - set(data.classes))
    if unknown:
        raise DataError(f"{data.root} has no class {', '.join(unknown)}; it has {', '.join(data.classes)}")
    if not classes:
        return data
    return replace(data, records=tuple(record for record in data.records if record.class_name in classes))
