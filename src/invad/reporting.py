"""A run and its evaluation in, a page to look at out."""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from invad.data import ImageSource
from invad.devices import choose_device
from invad.evaluation import Evaluation, score_images
from invad.metrics import Results
from invad.records import Record
from invad.report import Example, ReportSummary, pick_examples, write_report
from invad.runs import Run, environment, load_model
from invad.settings import TrainSettings


def report(run: Run | Path | str, evaluation: Evaluation, *, device: str = "auto") -> Path:
    """Write `evaluation/report.html` into the folder of a run; return its path.

    The few images that it shows are scored once more, so that no evaluation has to keep its maps.
    """
    run = run if isinstance(run, Run) else Run.open(Path(run))
    settings = run.settings()
    path = run.evaluation / "report.html"
    low, high = run.scale()
    write_report(
        path,
        _summary(run, settings, evaluation.results),
        evaluation.results,
        _examples(run, settings, evaluation, device),
        scores=_scores(evaluation),
        scale=(low, high),
    )
    return path


def _summary(run: Run, settings: TrainSettings, results: Sequence[Results]) -> ReportSummary:
    shared = [text for text in results[0].warnings if all(text in one.warnings for one in results)]
    shown = {name: _shown(value) for name, value in dataclasses.asdict(settings).items() if value not in (None, ())}
    return ReportSummary(
        title=run.path.name,
        model=settings.model,
        encoder=str(settings.encoder),
        data=", ".join(settings.data),
        settings=shown,
        versions=environment(),
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        notes=tuple(dict.fromkeys((*run.notices(), *shared))),
    )


def _examples(run: Run, settings: TrainSettings, evaluation: Evaluation, device: str) -> list[Example]:
    """The best, middle and worst image of every class, with their maps."""
    records = evaluation.records
    picked = pick_examples(
        evaluation.scores,
        np.array([record.anomalous for record in records]),
        [record.class_name for record in records],
    )
    source = ImageSource(records, settings.size, cache="none")
    model = load_model(run).to(choose_device(device))
    chosen = np.array([index for index, _ in picked], dtype=np.int64)
    maps = {int(i): m for indices, batch, _ in score_images(model, source, chosen) for i, m in zip(indices, batch)}
    return [
        Example(
            class_name=records[index].class_name,
            defect=records[index].defect,
            path_label=_label(records[index]),
            score=float(evaluation.scores[index]),
            anomalous=records[index].anomalous,
            image=source.image(index),
            anomaly_map=maps[index],
            mask=source.mask(index) if records[index].mask else None,
            kind=kind,
        )
        for index, kind in picked
    ]


def _shown(value: object) -> str:
    """A setting's value as people write it."""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _label(record: Record) -> str:
    return "/".join(record.image.parts[-3:])


def _scores(evaluation: Evaluation) -> list[tuple[str, str, float]]:
    """Class, defect and score of every test image."""
    return [(r.class_name, r.defect, float(s)) for r, s in zip(evaluation.records, evaluation.scores, strict=True)]
