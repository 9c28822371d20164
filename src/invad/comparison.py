"""Runs beside the published table: each run's numbers, its protocol, and its differences from the published row."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from invad.data.coco import SPLITS
from invad.errors import RunError
from invad.metrics import KEYS, PROTOCOLS, from_json
from invad.metrics.results import TITLES
from invad.metrics.table import MISSING
from invad.reference import PublishedRow, published_rows
from invad.runs import Run
from invad.saved_evaluation import evaluated_layouts, read_request

Values = dict[str, float | None]
MEAN = "mean of the four splits"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of the comparison; numbers are times 100."""

    model: str
    dataset: str
    what: str
    """`published`, `difference`, or the run's folder."""
    protocol: str
    classes: int | None
    """Classes in the mean; None where the line has none of its own."""
    values: Values
    split: int | None = None
    """Which split of COCO-AD."""


def compare(runs: Sequence[Path], *, printed: bool = False) -> list[Line]:
    """Return the published table, each row followed by the runs of its model and data set and their differences.

    All four splits of COCO-AD of one model and protocol give one more line, their mean: the published COCO-AD is that.
    Runs of other data follow at the end, without differences.

    Args:
        runs: run folders that have been evaluated.
        printed: see `published_rows`.

    Raises:
        RunError: a folder is no run, or has not been evaluated.
    """
    found = [line for run in runs for line in _run_lines(run)]
    found += _coco_means(found)
    lines: list[Line] = []
    for row in published_rows(printed=printed):
        lines.append(_published(row, printed))
        for line in (one for one in found if (one.model, one.dataset) == (row.model, row.dataset)):
            lines += [line, *_difference(line, row)]
    return lines + [line for line in found if line not in lines]


def _run_lines(path: Path) -> list[Line]:
    """A line for each protocol that the run was last evaluated by, on the data that it was evaluated on."""
    run = Run.open(path)
    request, settings = read_request(run), run.settings()
    if request is None:
        raise RunError(f"{path} has not been evaluated; run `invad evaluate {path}` first")
    files = [run.evaluation / f"results-{protocol}.json" for protocol in PROTOCOLS]
    lines = []
    for file in (file for file in files if file.is_file()):
        results = from_json(file.read_text(encoding="utf-8"))
        lines.append(
            Line(
                model=settings.model,
                dataset=" + ".join(evaluated_layouts(run, request)) or "unknown",
                what=str(path),
                protocol=results.protocol,
                classes=len(results.classes),
                values={key: None if value is None else 100 * value for key, value in results.mean.items()},
                split=request.filled(settings).split,
            )
        )
    return lines


def _coco_means(lines: Sequence[Line]) -> list[Line]:
    """The mean over the four splits, for every model and protocol that has each of them once."""
    lines = [line for line in lines if line.dataset == "coco"]
    means = []
    for model, protocol in dict.fromkeys((line.model, line.protocol) for line in lines):
        own = [line for line in lines if (line.model, line.protocol) == (model, protocol)]
        if sorted(str(line.split) for line in own) == [str(split) for split in SPLITS]:
            values = {key: _mean([line.values[key] for line in own]) for key in KEYS}
            means.append(Line(model=model, dataset="coco", what=MEAN, protocol=protocol, classes=None, values=values))
    return means


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean, where every value is there."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if len(there) == len(values) else None


def _published(row: PublishedRow, printed: bool) -> Line:
    what = "published, as printed" if printed else "published"
    values: Values = dict(row.values)
    return Line(model=row.model, dataset=row.dataset, what=what, protocol="paper", classes=None, values=values)


def _difference(line: Line, row: PublishedRow) -> list[Line]:
    """What the run has more than the published row; none of one split, which nothing is published of."""
    if line.dataset == "coco" and line.what != MEAN:
        return []
    values = {key: None if value is None else value - row.values[key] for key, value in line.values.items()}
    return [
        Line(
            model=line.model,
            dataset=line.dataset,
            what="difference",
            protocol=f"{line.protocol} - paper",
            classes=None,
            values=values,
        )
    ]


def to_markdown(lines: Sequence[Line]) -> str:
    """Return the comparison as a Markdown table."""
    rows = [["model", "data", "what", "protocol", "classes", *TITLES.values()], [":---"] * 5 + ["---:"] * len(KEYS)]
    rows += [_cells(line, MISSING) for line in lines]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def to_csv(lines: Sequence[Line]) -> str:
    """Return the comparison as CSV; a missing value is an empty cell."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["model", "data", "what", "protocol", "classes", *TITLES.values()])
    writer.writerows(_cells(line, "") for line in lines)
    return file.getvalue()


def to_json(lines: Sequence[Line]) -> str:
    """Return the comparison as JSON, with the full numbers."""
    content = {"format": "invad-comparison", "version": 1, "lines": [asdict(line) for line in lines]}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _cells(line: Line, missing: str) -> list[str]:
    sign = "+" if line.what == "difference" else ""
    numbers = [line.values[key] for key in KEYS]
    shown = [missing if value is None else f"{value:{sign}.1f}" for value in numbers]
    dataset = line.dataset if line.split is None else f"{line.dataset} split {line.split}"
    return [line.model, dataset, line.what, line.protocol, str(line.classes or missing), *shown]
