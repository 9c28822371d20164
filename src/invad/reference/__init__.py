"""The published results and where the authors' logs and weights are, as data.

Reference: arXiv:2404.10760, its tables of multi-class results; all numbers are times 100 with one decimal, as printed.
"""

import csv
import io
from dataclasses import dataclass
from importlib.resources import files

from invad.metrics import KEYS


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedRow:
    """The fifteen numbers of one model on one data set, times 100."""

    model: str
    dataset: str
    values: dict[str, float]


def published_rows(*, printed: bool = False) -> list[PublishedRow]:
    """Return the published table.

    Args:
        printed: the numbers under the headers they are printed under; else under the metrics that they are of, and
            mAD_P recomputed where it was the mean of others.

    Example:
        >>> row = published_rows()[0]
        >>> row.model, row.dataset, row.values["mad"]
        ('invad', 'mvtec', 86.7)
    """
    wanted = "as_printed" if printed else "corrected"
    return [
        PublishedRow(model=row["model"], dataset=row["dataset"], values={key: float(row[key]) for key in KEYS})
        for row in _read("published_results.csv")
        if row["corrected"] == wanted
    ]


def downloads() -> list[dict[str, str]]:
    """Return the addresses of the authors' logs and weights: model, dataset, log_url, weights_url (may be empty)."""
    return _read("published_downloads.csv")


def _read(name: str) -> list[dict[str, str]]:
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text, newline="")))
