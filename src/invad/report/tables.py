"""The metrics as cells of tables: numbers, intervals, the best and the worst class, the published row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from invad.metrics import TITLES, ClassResult, Interval, Results
from invad.report.content import Published
from invad.report.words import GROUPS, PROTOCOLS


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One number of a table."""

    text: str
    share: float = 0.0
    """The value in [0, 1], for the bar below it."""
    interval: str = ""
    reason: str = ""
    """Why there is no number."""
    mark: str = ""
    """`best` or `worst` where the class is that in this metric."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The numbers of one protocol."""

    heading: str
    explanation: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    below: tuple[tuple[str, tuple[Cell, ...]], ...]
    """The mean, and beside it what is published."""
    resamples: int
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def keys() -> Iterator[str]:
    """The fifteen keys in the order of the columns."""
    return (key for _, found in GROUPS for key in found)


def make_tables(results: Sequence[Results], published: Published | None, said: Sequence[str]) -> list[Table]:
    """Return a table for each protocol; the published row stands in that of `paper`, or in the first without one.

    Args:
        results: of each protocol.
        published: the row to compare with.
        said: warnings that the page has already.
    """
    protocols = [one.protocol for one in results]
    place = protocols.index("paper") if "paper" in protocols else 0
    return [_table(one, published if at == place else None, said) for at, one in enumerate(results)]


def mean_cell(results: Results, key: str) -> Cell:
    """Return the mean of a metric as a cell."""
    return _cell(results.mean.get(key), (results.intervals or {}).get(key), "no class has a value")


def _table(results: Results, published: Published | None, said: Sequence[str]) -> Table:
    heading, explanation = PROTOCOLS[results.protocol]
    notes = [f"{c.name}, {TITLES[key]}: {reason}" for c in results.classes for key, reason in c.reasons.items()]
    notes += [f"mean of {TITLES[key]}: leaves out {n} classes" for key, n in results.skipped.items() if n]
    below = [("mean", tuple(mean_cell(results, key) for key in keys()))]
    if published is not None:
        below += _published_rows(results, published)
        notes += _published_notes(results, published)
    classes = tuple(f"{one.name}: " for one in results.classes)  # what begins so stands with its class
    columns = {key: _column(results.classes, key) for key in keys()}
    return Table(
        heading=heading,
        explanation=explanation,
        rows=tuple((c.name, tuple(columns[key][i] for key in keys())) for i, c in enumerate(results.classes)),
        below=tuple(below),
        resamples=results.resamples,
        notes=tuple(notes),
        warnings=tuple(text for text in results.warnings if text not in said and not text.startswith(classes)),
    )


def _column(classes: Sequence[ClassResult], key: str) -> list[Cell]:
    """One metric of all classes; the best and the worst are marked where they differ."""
    cells = [_cell(c.values.get(key), (c.intervals or {}).get(key), c.reasons.get(key, "")) for c in classes]
    there = [value for c in classes if (value := c.values.get(key)) is not None]
    if len(there) < 2 or min(there) == max(there):
        return cells
    marks = {min(there): "worst", max(there): "best"}
    return [
        cell if (value := c.values.get(key)) is None else replace(cell, mark=marks.get(value, ""))
        for c, cell in zip(classes, cells, strict=True)
    ]


def _published_rows(results: Results, published: Published) -> Iterator[tuple[str, tuple[Cell, ...]]]:
    yield "published", tuple(Cell(text=f"{published.values[key]:.1f}") for key in keys())
    if len(results.classes) == published.classes:
        values = [(results.mean.get(key), published.values[key]) for key in keys()]
        yield "difference", tuple(Cell(text="–" if a is None else f"{100 * a - b:+.1f}") for a, b in values)


def _published_notes(results: Results, published: Published) -> Iterator[str]:
    yield from published.notes
    if len(results.classes) != published.classes:
        yield (
            f"The published row is the mean over {published.classes} classes, this run's over {len(results.classes)}: "
            f"no difference is drawn."
        )
    if results.protocol != "paper":
        yield "The published row was counted by the paper protocol, which this run was not evaluated by."


def _cell(value: float | None, interval: Interval | None, reason: str) -> Cell:
    """A number x 100 with two decimals, its interval with one."""
    if value is None:
        return Cell(text="–", reason=reason)
    between = f"{100 * interval[0]:.1f}–{100 * interval[1]:.1f}" if interval else ""
    return Cell(text=f"{100 * value:.2f}", share=round(min(max(value, 0.0), 1.0), 3), interval=between)
