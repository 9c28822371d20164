"""`invad data check`, `list`, `coco`, `fixture` and `synthetic`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from invad.data import (
    PUBLISHED,
    Published,
    build_splits,
    check_dataset,
    make_fixture,
    make_synthetic,
    open_dataset,
    render,
)
from invad.data.catalog import census
from invad.errors import DataError, SettingsError, command
from invad.presets import EPOCHS


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """Look for faults in a data set without training: counts, unreadable files, masks, duplicates.

    The exit status is 2 where something would stop a training or make its numbers wrong.
    """

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="LAYOUT:ROOT")]
    """The data set as LAYOUT:ROOT, or its root alone."""
    classes: tuple[str, ...] = ()
    """The classes to check. None given: all, which must then be all that are published."""
    views: tuple[str, ...] = ()
    """The cameras to check, of sets that have several (realiad: C1 to C5). None given: all."""
    split: Literal[0, 1, 2, 3] | None = None
    """Which split of COCO-AD; needed for coco, and only there."""

    def run(self) -> None:
        """Print the report."""
        report = check_dataset(self.data, self.classes, views=self.views, split=self.split)
        print(render(report))
        if report.errors:
            raise DataError(f"{len(report.errors)} faults in {self.data}; see above")


@dataclass(frozen=True, kw_only=True, slots=True)
class List:
    """Show the published data sets: classes, counts, size, licence, where to get each and how it must lie on disk."""

    def run(self) -> None:
        """Print a paragraph for each."""
        print("\n\n".join(describe(layout, published) for layout, published in PUBLISHED.items()))
        print("\nYour own images: folder:ROOT, see docs/own-photos.md. Made on the spot: synthetic:ROOT.")


def describe(layout: str, published: Published) -> str:
    """Return what is known of a published data set, as text."""
    counts = ", ".join(f"{n:,} {kind}" for kind, n in published.counts.items()) or "by the annotations"
    if not published.verified:
        counts += " (not verified)"
    lines = {
        "classes": f"{len(published.classes)}: {' '.join(published.classes)}",
        "images": counts,
        "epochs": f"{EPOCHS[layout]}, as published",
        "download": published.download,
        "licence": published.licence,
        "from": published.source,
        "on disk": published.layout,
    }
    head = f"{layout}: {published.title}. Use it as {layout}:ROOT"
    return "\n".join([head, *(f"  {name:<10}{text}" for name, text in lines.items())])


@dataclass(frozen=True, kw_only=True, slots=True)
class Coco:
    """Make the splits of COCO-AD from COCO 2017 as downloaded, in the user's cache; what is there already is kept."""

    root: Path
    """The folder that holds annotations/, train2017/ and val2017/."""
    split: Literal[0, 1, 2, 3] | None = None
    """The split to make."""
    all_splits: bool = False
    """Make all four."""

    def run(self) -> None:
        """Make them, and say what was made."""
        if (self.split is None) != self.all_splits:
            raise SettingsError("expected either --split 0, 1, 2 or 3, or --all-splits")
        splits = range(4) if self.split is None else [self.split]
        for split, index in zip(splits, build_splits(self.root, splits), strict=True):
            data = open_dataset(f"coco:{self.root}", split=split)
            counts = census(data.records)
            print(
                f"split {split}: {counts['train']} train, {counts['test']} test ({counts['test anomalous']} anomalous) "
                f"images; masks in {index.with_suffix('')}"
            )
        first, out = splits[0], f"runs/coco-{splits[0]}"
        print(f"next: {command('train', '--data', f'coco:{self.root}', '--split', first, '--out', out)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fixture:
    """Make a tiny data set of images of chance in a published layout, to try things on."""

    layout: Annotated[Literal["mvtec", "visa", "mvtec3d", "realiad", "medical", "coco"], tyro.conf.Positional]
    """The published layout."""
    root: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The folder to make it in."""

    def run(self) -> None:
        """Make it, and say how to use it."""
        make_fixture(self.layout, self.root)
        print(f"made {self.root}; use it as {self.layout}:{self.root}" + " --split 0" * (self.layout == "coco"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Synthetic:
    """Make a data set to try things on: textures and objects, defects with exact masks, the same at every call."""

    root: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The folder to make it in."""
    seed: int = 0
    """Another seed makes other images."""

    def run(self) -> None:
        """Make it, and say what was made."""
        make_synthetic(self.root, seed=self.seed)
        data = open_dataset(f"synthetic:{self.root}")
        print(f"{len(data.records)} images of {len(data.classes)} classes in {self.root} ({', '.join(data.classes)})")
