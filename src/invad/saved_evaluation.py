"""What an evaluation leaves in the run folder, so that its report can be written without scoring an image again.

evaluation/images.jsonl      a line for each test image: where it lies, what it is, its score, the SHA-256 of its file
evaluation/evaluation.json   what was evaluated, when and by what; the curves of each class; written last
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invad.data.dataset import parse_spec
from invad.data.hashing import content_hashes
from invad.errors import MetricError, RunError, command, quoted
from invad.files import write_text
from invad.inference.calibration import FILE as CALIBRATION
from invad.metrics import Results, Sweep, from_json
from invad.records import Record
from invad.runs import Run, environment
from invad.settings import TrainSettings

FORMAT = "invad-evaluation"
VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What an evaluation found."""

    results: tuple[Results, ...]
    """One for each protocol asked for."""
    records: tuple[Record, ...]
    """The test images."""
    scores: NDArray[np.float32]
    """Their image scores, (N,)."""
    sweeps: Mapping[str, Sweep] = field(default_factory=dict)
    """What a threshold does to the pixels of each class that has pixel metrics."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What was asked to be evaluated."""

    data: tuple[str, ...]
    """Data sets as LAYOUT:ROOT; none: those of the run."""
    classes: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    split: int | None = None
    bootstrap: int = 0

    def arguments(self) -> str:
        """Return the options of `invad evaluate` that ask for the same.

        Example:
            >>> Request(data=(), classes=("nut",), bootstrap=200).arguments()
            '--classes nut --bootstrap 200'
        """
        parts = [
            f"--{name} {quoted(*given)}" for name in ("data", "classes", "views") if (given := getattr(self, name))
        ]
        parts += [] if self.split is None else [f"--split {self.split}"]
        return " ".join([*parts, f"--bootstrap {self.bootstrap}"])

    def filled(self, settings: TrainSettings) -> "Request":
        """Return the request with what a run was trained on in the place of what is not given; all of it if data is.

        Example:
            >>> Request(data=()).filled(TrainSettings(data=("folder:photos",), classes=("nut",))).classes
            ('nut',)
        """
        if self.data:
            return self
        return replace(
            self,
            data=settings.data,
            classes=self.classes or settings.classes,
            views=self.views or settings.views,
            split=settings.split if self.split is None else self.split,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """An evaluation as it lies in a run folder."""

    evaluation: Evaluation
    hashes: tuple[str, ...]
    """The SHA-256 of each test image's file."""
    request: Request
    model: str
    """The checksum of the model."""
    calibration: str | None
    """The SHA-256 of the run's calibration then; None: it had none."""
    created: str
    """When, in UTC, as `2026-01-31 23:59 UTC`."""
    environment: dict[str, str]
    """Versions and machine of the evaluation."""


def keep(run: Run, evaluation: Evaluation, request: Request, model: str) -> None:
    """Write an evaluation, whose tables are written already, into the folder of its run.

    Raises:
        RunError: it cannot be written.
        ImageError: a test image is gone.
    """
    hashes = content_hashes([record.image for record in evaluation.records])
    rows = zip(evaluation.records, evaluation.scores, hashes, strict=True)
    write_text(run.evaluation / "images.jsonl", "".join(json.dumps(_row(*row)) + "\n" for row in rows))
    content = {
        "format": FORMAT,
        "version": VERSION,
        "created": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "model": model,
        "calibration": calibration_hash(run),
        "data": list(request.data),
        "classes": list(request.classes),
        "views": list(request.views),
        "split": request.split,
        "bootstrap": request.bootstrap,
        "protocols": [results.protocol for results in evaluation.results],
        "environment": environment(),
        "curves": {name: _columns(sweep) for name, sweep in evaluation.sweeps.items()},
    }
    write_text(run.evaluation / "evaluation.json", json.dumps(content) + "\n")


def forget(run: Run) -> None:
    """Take away the last evaluation, before the tables of another one are written: not all of them may be."""
    for file in (run.evaluation / "evaluation.json", *run.evaluation.glob("results-*")):
        file.unlink(missing_ok=True)


def read_kept(run: Run, model: str) -> Kept | None:
    """Return the last evaluation of a run; None where there is none, or model or calibration have changed since.

    Raises:
        RunError: a file of it is damaged.
    """
    with _damage_told(run):
        content = _content(run)
        if content is None or content["model"] != model or content["calibration"] != calibration_hash(run):
            return None
        return _read(run, content)


def read_request(run: Run) -> Request | None:
    """Return what the last evaluation of a run was asked for; None where there is none.

    Raises:
        RunError: a file of it is damaged.
    """
    with _damage_told(run):
        content = _content(run)
        return None if content is None else _request(content)


def evaluated_model(run: Run) -> str | None:
    """Return the checksum of the model that was last evaluated; None where none was.

    Raises: as `read_kept`.
    """
    with _damage_told(run):
        content = _content(run)
        return None if content is None else str(content["model"])


def evaluated_layouts(run: Run, request: Request) -> tuple[str, ...]:
    """Return the layouts of the data sets that a run was evaluated on; none where it does not know."""
    return tuple(dict.fromkeys(parse_spec(spec)[0] for spec in request.data)) or run.layouts()


@contextmanager
def _damage_told(run: Run) -> Iterator[None]:
    """A context in which what cannot be read is a damaged evaluation."""
    try:
        yield
    except (OSError, ValueError, AttributeError, KeyError, TypeError, MetricError) as error:
        raise RunError(
            f"the evaluation in {run.evaluation} is damaged ({error}); evaluate again with "
            f"`{command('evaluate', run.path)}`"
        ) from error


def _content(run: Run) -> dict[str, Any] | None:
    """What evaluation.json holds; None where there is none, or one of another version."""
    file = run.evaluation / "evaluation.json"
    if not file.is_file():
        return None
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content if (content.get("format"), content.get("version")) == (FORMAT, VERSION) else None


def calibration_hash(run: Run) -> str | None:
    """Return the SHA-256 of the run's calibration, or None where it has none."""
    path = run.path / CALIBRATION
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _read(run: Run, content: dict[str, Any]) -> Kept:
    rows = [json.loads(line) for line in (run.evaluation / "images.jsonl").read_text(encoding="utf-8").splitlines()]
    files = [run.evaluation / f"results-{protocol}.json" for protocol in content["protocols"]]
    evaluation = Evaluation(
        results=tuple(from_json(file.read_text(encoding="utf-8")) for file in files),
        records=tuple(_record(row) for row in rows),
        scores=np.array([row["score"] for row in rows], dtype=np.float32),
        sweeps={name: _sweep(columns) for name, columns in content["curves"].items()},
    )
    return Kept(
        evaluation=evaluation,
        hashes=tuple(row["sha256"] for row in rows),
        request=_request(content),
        model=content["model"],
        calibration=content["calibration"],
        created=content["created"],
        environment=content["environment"],
    )


def _request(content: dict[str, Any]) -> Request:
    return Request(
        data=tuple(content["data"]),
        classes=tuple(content["classes"]),
        views=tuple(content["views"]),
        split=content["split"],
        bootstrap=content["bootstrap"],
    )


def _row(record: Record, score: np.float32, digest: str) -> dict[str, Any]:
    return {
        "image": str(record.image),
        "class": record.class_name,
        "defect": record.defect,
        "mask": None if record.mask is None else str(record.mask),
        "score": shortest(score),
        "sha256": digest,
    }


def _record(row: dict[str, Any]) -> Record:
    mask = None if row["mask"] is None else Path(row["mask"])
    return Record(image=Path(row["image"]), class_name=row["class"], split="test", defect=row["defect"], mask=mask)


def shortest(score: np.float32) -> float:
    """Return the decimal number with the fewest digits that float32 reads as this score.

    Example:
        >>> shortest(np.float32(0.1)), float(np.float32(0.1))
        (0.1, 0.10000000149011612)
    """
    return float(str(np.float32(score)))


def _columns(sweep: Sweep) -> dict[str, Any]:
    overlap = None if sweep.overlap is None else sweep.overlap.tolist()
    return {
        "thresholds": sweep.thresholds.tolist(),
        "false_positive_rate": sweep.false_positive_rate.tolist(),
        "recall": sweep.recall.tolist(),
        "precision": sweep.precision.tolist(),
        "overlap": overlap,
        "best": sweep.best,
    }


def _sweep(columns: dict[str, Any]) -> Sweep:
    rates = ("thresholds", "false_positive_rate", "recall", "precision")
    overlap = columns["overlap"]
    return Sweep(
        **{name: np.array(columns[name], dtype=np.float64) for name in rates},
        overlap=None if overlap is None else np.array(overlap, dtype=np.float64),
        best=columns["best"],
    )
