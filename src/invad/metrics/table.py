"""Results as a table to read (Markdown, terminal), to calculate with (CSV) and to keep (JSON).

Tables show the published columns in the published order, x 100 with two decimals; JSON keeps the full numbers.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from invad.errors import MetricError
from invad.metrics.checks import check_protocol
from invad.metrics.results import (
    KEYS,
    SAMPLE_TITLES,
    TITLES,
    ClassResult,
    DefectResult,
    Interval,
    Results,
    SampleResult,
)

if TYPE_CHECKING:
    from rich.table import Table

FORMAT = "invad-results"
VERSION = 1
"""Version of the JSON format; raised when a reader of the older one would misread the newer."""
MISSING = "–"
MEAN = "mean"


def to_markdown(results: Results, *, intervals: bool = False) -> str:
    """The results as a Markdown table: a row per class, then the mean; reasons for missing values as footnotes.

    Tables of the samples and of the types of defect follow where the results have them.

    Args:
        intervals: add the 95 % intervals, as `99.60 [98.9, 100.0]`, where the results have them.

    Example:
        >>> import numpy as np
        >>> from invad.metrics import Evaluator
        >>> maps = np.array([[[0.1, 0.2]], [[0.3, 0.9]]], dtype=np.float32)
        >>> evaluator = Evaluator()
        >>> evaluator.update(maps, maps > 0.8, "bottle", [False, True])
        >>> print(to_markdown(evaluator.compute())[:18])
        Protocol: `exact`.
    """
    rows, notes = _rows(results, intervals)
    titles = ["class", *TITLES.values()]
    lines = [f"Protocol: `{results.protocol}`.{_interval_note(results, intervals)}", "", _line(titles)]
    lines += [_line([":---", *["---:"] * len(KEYS)]), *map(_line, rows)]
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    lines += [*_sample_lines(results), *_defect_lines(results)]
    return "\n".join(lines) + "\n"


def to_rich(results: Results, *, intervals: bool = False, keys: Sequence[str] = KEYS) -> "Table":
    """The results as a `rich.table.Table` for a terminal, without `footnotes`; arguments as for `to_markdown`.

    Args:
        keys: the metrics to show; all fifteen take a terminal of some 200 columns.
    """
    from rich.table import Table
    from rich.text import Text

    rows, _ = _rows(results, intervals)
    table = Table(title=Text(f"Protocol: {results.protocol}.{_interval_note(results, intervals)}"))
    table.add_column("class")
    shown = [0, *(1 + KEYS.index(key) for key in keys)]
    for key in keys:
        table.add_column(Text(TITLES[key]), justify="right")
    for index, row in enumerate(rows):
        table.add_row(*(Text(row[i]) for i in shown), end_section=index == len(rows) - 2)
    return table


def footnotes(results: Results) -> list[str]:
    """What belongs below a table of the results: why values are missing, what was left out, warnings."""
    return _rows(results, intervals=False)[1]


def to_csv(results: Results, *, intervals: bool = False) -> str:
    """The results as CSV, a row per class, then the mean; a missing value is an empty cell.

    Args:
        intervals: add two columns per metric, the ends of its 95 % interval.
    """
    ends = [f"{title} {end}" for title in TITLES.values() for end in ("low", "high")] if intervals else []
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["protocol", "class", "images", "anomalous", *TITLES.values(), *ends])
    for result in results.classes:
        start = [results.protocol, result.name, result.images, result.anomalous]
        writer.writerow([*start, *_csv_cells(result.values, result.intervals, intervals)])
    counts = [sum(result.images for result in results.classes), sum(result.anomalous for result in results.classes)]
    writer.writerow([results.protocol, MEAN, *counts, *_csv_cells(results.mean, results.intervals, intervals)])
    return file.getvalue()


def to_json(results: Results) -> str:
    """The results as JSON with the format's version; `from_json` gives the same results back."""
    return json.dumps({"format": FORMAT, "version": VERSION, **asdict(results)}, indent=2, ensure_ascii=False) + "\n"


def from_json(text: str) -> Results:
    """The results that `to_json` wrote.

    Raises:
        MetricError: the text is no such JSON, or of a version that this InvAD does not know.
    """
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise MetricError(f"expected results in JSON, but the text is not JSON: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise MetricError(f"expected results in JSON with format {FORMAT!r}: is this another kind of file?")
    if found.get("version") != VERSION:
        raise MetricError(
            f"these results are of format version {found.get('version')}, but this InvAD reads version {VERSION}: "
            "read them with the InvAD that wrote them, or evaluate again"
        )
    try:
        return _results(found)
    except (KeyError, TypeError, ValueError) as error:
        raise MetricError(f"the results are damaged ({error!r}): evaluate again") from error


def _results(found: dict[str, Any]) -> Results:
    fields = {key: value for key, value in found.items() if key not in ("format", "version")}
    fields["protocol"] = check_protocol(fields["protocol"])
    fields["classes"] = tuple(map(_class_result, fields["classes"]))
    fields["warnings"] = tuple(fields["warnings"])
    fields["intervals"] = _intervals(fields["intervals"])
    return Results(**fields)


def _class_result(found: dict[str, Any]) -> ClassResult:
    samples, defects = found["samples"], found["defects"]
    changed = {
        "intervals": _intervals(found["intervals"]),
        "samples": None if samples is None else SampleResult(**samples),
        "defects": tuple(DefectResult(**one) for one in defects),
    }
    return ClassResult(**{**found, **changed})


def _intervals(found: dict[str, list[float]] | None) -> dict[str, Interval] | None:
    return None if found is None else {key: (low, high) for key, (low, high) in found.items()}


def _sample_lines(results: Results) -> list[str]:
    """A table of the metrics of samples, if there are any."""
    if results.sample_mean is None:
        return []
    lines = ["", _line(["class", "samples", "anomalous", *SAMPLE_TITLES.values()]), "| :--- " + "| ---: " * 5 + "|"]
    for one in results.classes:
        if found := one.samples:
            cells = [_cell(found.values[key], None) for key in SAMPLE_TITLES]
            lines.append(_line([one.name, str(found.samples), str(found.anomalous), *cells]))
    return [*lines, _line([MEAN, "", "", *(_cell(results.sample_mean[key], None) for key in SAMPLE_TITLES)])]


def _defect_lines(results: Results) -> list[str]:
    """A table of the types of defect, if the images name any."""
    rows = [(one.name, found) for one in results.classes for found in one.defects]
    recall = ["recall"] if any(found.recall is not None for _, found in rows) else []
    if results.threshold is not None:
        recall = [f"recall from {results.threshold:g}"]
    head = ["class", "defect", "images", "AU-ROC_I", *recall]
    if not rows:
        return []
    line = "| :--- | :--- " + "| ---: " * (len(head) - 2) + "|"
    return ["", _line(head), line, *(_defect_line(*row, recall) for row in rows)]


def _defect_line(name: str, found: DefectResult, recall: list[str]) -> str:
    cells = [_cell(found.auroc_image, None), *(_cell(found.recall, None) for _ in recall)]
    return _line([name, found.defect, str(found.images), *cells])


def _rows(results: Results, intervals: bool) -> tuple[list[list[str]], list[str]]:
    """The cells of every row, and the footnotes."""
    rows = [_row(c.name, c.values, c.intervals if intervals else None) for c in results.classes]
    rows.append(_row(MEAN, results.mean, results.intervals if intervals else None))
    notes = _reasons(results.classes)
    skipped: dict[int, list[str]] = {}
    for key, count in results.skipped.items():
        if 0 < count < len(results.classes):  # where all are left out there is no mean to be taken for one of all
            skipped.setdefault(count, []).append(TITLES[key])
    for count, titles in skipped.items():
        notes.append(f"{MEAN}: leaves out {count} of {len(results.classes)} classes: {', '.join(titles)}")
    return rows, [*notes, *results.warnings]


def _row(name: str, values: dict[str, float | None], intervals: dict[str, Interval] | None) -> list[str]:
    return [name, *(_cell(values[key], (intervals or {}).get(key)) for key in KEYS)]


def _cell(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return MISSING
    ends = f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
    return f"{100 * value:.2f}{ends}"


def _reasons(classes: Sequence[ClassResult]) -> list[str]:
    """A footnote per reason, with the metrics it concerns; what holds for all classes is said once."""
    concerned: dict[str, list[str]] = {}
    for result in classes:
        titles: dict[str, list[str]] = {}
        for key, reason in result.reasons.items():
            titles.setdefault(reason, []).append(TITLES[key])
        for reason, names in titles.items():
            concerned.setdefault(f"{', '.join(names)} {MISSING}: {reason}", []).append(result.name)
    everywhere = len(classes) if len(classes) > 1 else 0
    return [
        f"{name}: {text}"
        for text, found in concerned.items()
        for name in (["all classes"] if len(found) == everywhere else found)
    ]


def _interval_note(results: Results, intervals: bool) -> str:
    if not intervals or not results.resamples:
        return ""
    return f" In brackets: 95 % intervals from {results.resamples} resamples of each class's images."


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _csv_cells(values: dict[str, float | None], found: dict[str, Interval] | None, intervals: bool) -> list[str]:
    numbers = [values[key] for key in KEYS]
    if intervals:
        for key in KEYS:
            numbers += (found or {}).get(key, (None, None))
    return ["" if number is None else f"{100 * number:.2f}" for number in numbers]
