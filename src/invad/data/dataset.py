"""A data set: records, where they came from, and what its user should know of it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from invad.data import medical, mvtec, synthetic
from invad.data.catalog import PUBLISHED, missing_classes, sign
from invad.data.coco import read_coco
from invad.data.folder import read_folder
from invad.data.medical import read_medical
from invad.data.mvtec import folder_name, nearest, read_mvtec
from invad.data.mvtec3d import read_mvtec3d
from invad.data.realiad import read_realiad
from invad.data.synthetic import read_synthetic
from invad.data.visa import read_visa
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
LAYOUTS: dict[str, Reader] = {
    "mvtec": read_mvtec,
    "visa": read_visa,
    "mvtec3d": read_mvtec3d,
    "realiad": read_realiad,
    "medical": read_medical,
    "coco": read_coco,
    "folder": read_folder,
    "synthetic": read_synthetic,
}
"""Every layout: its key, and what reads records and notices from a root."""


def open_dataset(
    spec: str, classes: Sequence[str] = (), *, views: Sequence[str] = (), split: int | None = None
) -> DataSet:
    """Return the data set that `LAYOUT:ROOT` names; its root alone is enough where exactly one layout fits.

    Args:
        spec: which data set.
        classes: the classes to use; none given: all.
        views: the views to use, of a set whose objects are seen by several cameras; none given: all.
        split: which split of COCO-AD, 0 to 3; None for other sets.

    Raises:
        SettingsError: no layout is given and several fit, or the set has no views or no splits to choose from.
        DataError: the layout is unknown, the root does not exist or is not laid out so, or a class is not there.
    """
    layout, path = parse_spec(spec)
    if split is not None and layout != "coco":
        raise SettingsError(f"--split chooses a split of COCO-AD, which {layout}:{path} is not; leave it out")
    records, notices = read_coco(path, split) if layout == "coco" else LAYOUTS[layout](path)
    missing = missing_classes(layout, path, records)
    if missing:
        title, total = PUBLISHED[layout].title, len(PUBLISHED[layout].classes)
        notices.append(
            f"{path} holds {total - len(missing)} of {title}'s {total} classes; without {', '.join(missing)}"
        )
    data = DataSet(layouts=(layout,), root=path, records=tuple(records), notices=tuple(notices))
    return choose_views(choose_classes(data, classes), views)


def parse_spec(spec: str) -> tuple[str, Path]:
    """Return layout and root of a data set named as `LAYOUT:ROOT`, or by its root alone.

    Raises:
        SettingsError: no layout is given, and several fit.
        DataError: the layout is unknown, or none is given and the root does not exist.

    Example:
        >>> parse_spec("folder:photos")[0]
        'folder'
    """
    layout, separator, root = spec.partition(":")
    if separator and layout in LAYOUTS:
        return layout, Path(root).expanduser()
    path = Path(spec).expanduser()
    if not path.exists():
        raise DataError(f"{path} does not exist{nearest(path)}; expected LAYOUT:ROOT, LAYOUT {' or '.join(LAYOUTS)}")
    fitting = fitting_layouts(path)
    if len(fitting) > 1:
        choices = " or ".join(f"{name}:{path}" for name in fitting)
        raise SettingsError(f"{path} may be laid out in more than one way; say which: {choices}")
    return fitting[0], path


def full_spec(spec: str) -> str:
    """Return the name of a data set as `LAYOUT:ROOT`, for what is written down: its root may be gone later.

    Raises: as `parse_spec`.

    Example:
        >>> full_spec("folder:photos")
        'folder:photos'
    """
    layout, path = parse_spec(spec)
    return f"{layout}:{path}"


def fitting_layouts(root: Path) -> tuple[str, ...]:
    """Return the layouts that a root that exists may have, at least one."""
    if (root / synthetic.MARKER).is_file():
        return ("synthetic",)
    if not root.is_dir():
        return ("folder",)
    marked = sign(root)
    if marked:
        return (marked,)
    names = {folder_name(path) for path in (root, *root.iterdir()) if mvtec.is_class(path)}
    named = {"mvtec": mvtec.CLASSES, "medical": medical.CLASSES}
    return (*(layout for layout, classes in named.items() if names & set(classes)), "folder")


def open_datasets(
    specs: Sequence[str],
    classes: Sequence[str] = (),
    *,
    views: Sequence[str] = (),
    split: int | None = None,
    trained: Collection[str] = (),
) -> DataSet:
    """Return several data sets as one; a class name that two of them share gets its root's name in front.

    Arguments as `open_dataset`; views and split choose from those sets that have them. `trained` are the classes of a
    run: a class that is clearly one of them is called as it is there (see `trained_as`).

    Raises: as `open_dataset`.
    """
    if not specs:
        raise SettingsError("no data set given; expected one or more such as --data mvtec:/data/mvtec")
    if split is not None and not any(parse_spec(spec)[0] == "coco" for spec in specs):
        raise SettingsError(f"--split chooses a split of COCO-AD, which is not among {', '.join(specs)}; leave it out")
    parts = [open_dataset(spec, split=split if parse_spec(spec)[0] == "coco" else None) for spec in specs]
    names = [name for part in parts for name in part.classes]
    shared = {name for name in names if names.count(name) > 1}
    records, notices = [], [notice for part in parts for notice in part.notices]
    renamed: dict[str, str] = {}
    for part in parts:
        called = {name: f"{folder_name(part.root)}/{name}" for name in shared}
        for name in set(part.classes) - shared:
            may_be = trained_as(name, part.root, trained)
            renamed[name] = called[name] = may_be[0] if len(may_be) == 1 else name
        records += [replace(record, class_name=called[record.class_name]) for record in part.records]
    if len({(folder_name(part.root), name) for part in parts for name in part.classes}) < len(names):
        raise SettingsError(
            f"classes {', '.join(sorted(shared))} are in several data sets of the same name; rename one"
        )
    if shared:
        notices.append(f"classes {', '.join(sorted(shared))} are in several sets; each got its root's name in front")
    layouts = tuple(dict.fromkeys(layout for part in parts for layout in part.layouts))
    data = DataSet(layouts=layouts, root=parts[0].root, records=tuple(records), notices=tuple(notices))
    return choose_views(choose_classes(data, [renamed.get(name, name) for name in classes]), views)


def trained_as(name: str, root: Path, trained: Collection[str]) -> list[str]:
    """Return the trained classes that a class of a data set may be: one where it is clear, none where it is new.

    Training gives a class that several sets share its root's name in front.

    Example:
        >>> trained = {"north/bracket", "south/bracket", "screw"}
        >>> [trained_as("bracket", Path(root), trained) for root in ("south", "east")]
        [['south/bracket'], ['north/bracket', 'south/bracket']]
    """
    for one in (name, f"{folder_name(root)}/{name}"):
        if one in trained:
            return [one]
    return sorted(one for one in trained if one.endswith(f"/{name}"))


def choose_views(data: DataSet, views: Sequence[str]) -> DataSet:
    """Return the data set with these views only, and all images of objects that are seen by one camera; none: all.

    Raises:
        SettingsError: one of them is not there.
    """
    there = sorted({record.view for record in data.records if record.view is not None})
    unknown = sorted(set(views) - set(there))
    if unknown:
        raise SettingsError(f"{data.root} has no view {', '.join(unknown)}; it has {', '.join(there) or 'none'}")
    if not views:
        return data
    return replace(data, records=tuple(record for record in data.records if record.view in (None, *views)))


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
