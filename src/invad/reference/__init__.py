"""The published results and where the authors' logs and weights are, as data.

Reference: arXiv:2404.10760, its tables of multi-class results; all numbers are times 100 with one decimal, as printed.
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from invad.metrics import KEYS
from invad.metrics.results import MEANS

TOLERANCE = 0.1
"""What the mean of rounded parts may differ from a rounded mean: half a last digit each."""


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


def wrong_means() -> dict[tuple[str, str, str], tuple[float, float]]:
    """Return the printed means that are not the means of their parts: (model, data set, key) -> (printed, mean).

    Example:
        >>> printed, mean = wrong_means()["invad-lite", "coco", "mad_pixel"]
        >>> printed, round(mean, 1)
        (26.6, 37.4)
    """
    found = {}
    for was, row in zip(published_rows(printed=True), published_rows(), strict=True):
        for key in MEANS:
            mean = mean_of_parts(row.values, key)
            if abs(was.values[key] - mean) > TOLERANCE:
                found[row.model, row.dataset, key] = (was.values[key], mean)
    return found


def mean_of_parts(values: Mapping[str, float], key: str) -> float:
    """Return the mean of the metrics that a mean such as `mad_pixel` is made of."""
    return sum(values[part] for part in MEANS[key]) / len(MEANS[key])


def downloads() -> list[dict[str, str]]:
    """Return the addresses of the authors' logs and weights: model, dataset, log_url, weights_url (may be empty)."""
    return _read("published_downloads.csv")


def _read(name: str) -> list[dict[str, str]]:
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text, newline="")))
