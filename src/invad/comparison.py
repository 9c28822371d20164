"""Runs beside the published table: each run's numbers, its protocol, and its differences from the published row."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from invad.checkpoint import list_checkpoints
from invad.data.catalog import PUBLISHED
from invad.data.coco import SPLITS
from invad.data.realiad import VIEWS
from invad.errors import CheckpointError, RunError, command
from invad.inference.checksum import model_checksum
from invad.metrics import KEYS, PROTOCOLS, Results, from_json
from invad.metrics.results import TITLES
from invad.metrics.table import MISSING
from invad.reference import PublishedRow, published_rows
from invad.runs import Run, load_model
from invad.saved_evaluation import Request, evaluated_layouts, evaluated_model, read_request

Values = dict[str, float | None]
MEAN = "mean of the four splits"
EARLIER = "an earlier model"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of the comparison; numbers are times 100."""

    model: str
    dataset: str
    what: str
    """`published`, `difference`, or the run's folder, with a word where the numbers are not of its present model."""
    protocol: str
    classes: int | None
    """Classes in the mean; None where the line has none of its own."""
    values: Values
    split: int | None = None
    """Which split of COCO-AD."""
    note: str = ""
    """Why it cannot be compared with the published row, and so has no difference; empty where it can."""


def compare(runs: Sequence[Path], *, printed: bool = False) -> list[Line]:
    """Return the published table, each row followed by the runs of its model and data set and their differences.

    All four splits of COCO-AD of one model and protocol give one more line, their mean: the published COCO-AD is that.
    Runs of other data follow at the end, without differences. A run that was evaluated on a part of the data only, or
    before its model was what it is, has none either, and a note that says so.

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
        raise RunError(f"{path} has not been evaluated; run `{command('evaluate', path)}` first")
    layouts, asked, (earlier, trouble) = evaluated_layouts(run, request), request.filled(settings), _is_earlier(run)
    renewed = f"`{command('evaluate', path)} {request.arguments()}`"
    files = [run.evaluation / f"results-{protocol}.json" for protocol in PROTOCOLS]
    lines = []
    for file in (file for file in files if file.is_file()):
        results = from_json(file.read_text(encoding="utf-8"))
        notes = [f"evaluated before its model was what it is; evaluate it again by {renewed}"] if earlier else []
        notes += [*trouble, *_missing(results, layouts, asked)]
        lines.append(
            Line(
                model=settings.model,
                dataset=" + ".join(layouts) or "unknown",
                what=f"{path}, {EARLIER}" if earlier else str(path),
                protocol=results.protocol,
                classes=len(results.classes),
                values={key: None if value is None else 100 * value for key, value in results.mean.items()},
                split=asked.split,
                note="; ".join(notes),
            )
        )
    return lines


def _is_earlier(run: Run) -> tuple[bool, list[str]]:
    """Whether a run's last evaluation is not of the model it has now, and why that cannot be said.

    A run kept without its weights has no other model.
    """
    if not list_checkpoints(run.checkpoints):
        return False, []
    try:
        return evaluated_model(run) != model_checksum(load_model(run)), []
    except CheckpointError as error:
        return False, [f"whether its model is still the one evaluated is not known: {error}"]


def _missing(results: Results, layouts: Sequence[str], asked: Request) -> Iterator[str]:
    """Say what the published mean is over and that of an evaluation is not, or the other way round."""
    if len(layouts) != 1 or layouts[0] not in PUBLISHED:
        return
    published = PUBLISHED[layouts[0]].classes
    names = {one.name.rpartition("/")[2] for one in results.classes}  # of several sets, some have the set's in front
    known = len(names.intersection(published))
    more = len(results.classes) - known
    if known < len(published) or more:
        others = f", and over {more} more" if more else ""
        yield f"its mean is over {known} of the {len(published)} classes that the published one is over{others}"
    if layouts[0] == "realiad" and asked.views and set(asked.views) != set(VIEWS):
        yield f"its images are of {', '.join(asked.views)} alone, the published ones of all {len(VIEWS)} views"


def _coco_means(lines: Sequence[Line]) -> list[Line]:
    """The mean over the four splits, for every model and protocol that has each of them once."""
    lines = [line for line in lines if line.dataset == "coco" and not line.note]
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
    if line.note or (line.dataset == "coco" and line.what != MEAN):
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
    """Return the comparison as a Markdown table, with the notes below it."""
    rows = [["model", "data", "what", "protocol", "classes", *TITLES.values()], [":---"] * 5 + ["---:"] * len(KEYS)]
    rows += [_cells(line, MISSING) for line in lines]
    table = "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)
    notes = dict.fromkeys(f"- {line.what}: {line.note}\n" for line in lines if line.note)
    return table + ("\n" if notes else "") + "".join(notes)


def to_csv(lines: Sequence[Line]) -> str:
    """Return the comparison as CSV; a missing value is an empty cell."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["model", "data", "what", "protocol", "classes", *TITLES.values(), "note"])
    writer.writerows([*_cells(line, ""), line.note] for line in lines)
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
