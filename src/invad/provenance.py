"""What a report says about where a run comes from: settings, versions of then, data, hashes, commands."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from invad.data import CheckReport, check_opened
from invad.data.catalog import PUBLISHED
from invad.errors import DataError, SettingsError, command, quoted
from invad.presets import MODELS
from invad.reference import published_rows
from invad.report import DataCheck, Facts, Published
from invad.runs import Run
from invad.saved_evaluation import Kept, evaluated_layouts
from invad.trained_images import read_records
from invad.training.setup import open_data

CHECKED = 5000
"""Images up to which a report looks at all of a run's data; more take minutes, and `invad data check` does it."""


def tell_facts(run: Run, kept: Kept) -> Facts:
    """Return what was trained and evaluated, and how."""
    settings = run.settings()
    then = run.environment()
    shared = [set(results.warnings) for results in kept.evaluation.results]
    classes = tuple(f"{one.name}: " for one in kept.evaluation.results[0].classes)
    notes = [text for text in kept.evaluation.results[0].warnings if all(text in one for one in shared)]
    notes = [text for text in notes if not text.startswith(classes)]  # those stand with their class
    return Facts(
        title=run.name,
        model=settings.model,
        encoder=str(settings.encoder),
        data=", ".join(kept.request.data or settings.data) or "not known",
        trained=_trained(run),
        evaluated=kept.created,
        settings={name: _shown(value) for name, value in dataclasses.asdict(settings).items() if _is_set(value)},
        versions=then,
        evaluated_with={name: value for name, value in kept.environment.items() if then.get(name) != value},
        seeds_and_hashes=_seeds_and_hashes(run, kept),
        commands=tuple(_commands(run, kept)),
        notes=tuple(dict.fromkeys((*run.notices(), *notes))),
        images=_counts(run),
    )


def published_row(run: Run, kept: Kept) -> Published | None:
    """Return the published row of the run's model and data; None where nothing is published of them.

    Of one split of COCO-AD nothing is published: its row is the mean of four.
    """
    layouts = evaluated_layouts(run, kept.request)
    if len(layouts) != 1 or layouts[0] == "coco":
        return None
    (layout,) = layouts
    settings = run.settings()
    for row in published_rows():
        if (row.model, row.dataset) == (settings.model, layout):
            encoder = MODELS[row.model].encoder
            notes = []
            if settings.encoder != encoder:
                notes.append(f"The published {row.model} has the encoder {encoder}, this run {settings.encoder}.")
            if settings.recipe != "paper":
                notes.append(f"This run was trained by the recipe {settings.recipe}, not the published one.")
            return Published(values=row.values, classes=len(PUBLISHED[layout].classes), notes=tuple(notes))
    return None


def look_at_data(run: Run) -> DataCheck:
    """Return what `invad data check` finds in a run's data, where that is still there and not too much."""
    settings = run.settings()
    if not settings.data:
        return DataCheck(said="This run was not trained here, so there is no training data to look at.")
    try:
        data = open_data(settings)
    except (DataError, SettingsError) as error:
        return DataCheck(said=f"The training data cannot be opened any more, so it was not looked at: {error}")
    if len(data.records) > CHECKED:
        commands = " and ".join(f"`{command('data', 'check', spec)}`" for spec in settings.data)
        return DataCheck(
            said=f"The data holds {len(data.records):,} images, more than the {CHECKED:,} that a report looks at; "
            f"{commands} does it."
        )
    return _verdict(check_opened(data, whole=not settings.classes and not settings.views))


def _verdict(found: CheckReport) -> DataCheck:
    images = sum(found.counts.values())
    verdict = "nothing that would make the numbers wrong" if not found.errors else "what makes the numbers doubtful"
    return DataCheck(
        said=f"All {images:,} images of the data set, for training and for testing, and their masks were read when "
        f"this page was written, and compared with each other: {verdict} was found.",
        errors=tuple(f"error: {text}" for text in found.errors),
        warnings=found.warnings,
    )


def _trained(run: Run) -> str:
    """When the training ended; of an older run, when its last file was written."""
    for event in reversed(run.events()):
        if event["event"] == "finished" and "time" in event:
            return str(event["time"])
    if not run.records_file.is_file():
        return "elsewhere; imported weights"
    written = datetime.fromtimestamp(run.scale_file.stat().st_mtime, UTC)
    return f"{written:%Y-%m-%d %H:%M} UTC, by the date of its files"


def _counts(run: Run) -> dict[str, tuple[int, int]] | None:
    """Images trained on and held back, by class."""
    if not run.records_file.is_file():
        return None
    learnt = Counter(row["class"] for row in read_records(run.records_file))
    held = Counter(record.class_name for record in run.held_back())
    return {name: (learnt[name], held[name]) for name in sorted(learnt | held)}


def _seeds_and_hashes(run: Run, kept: Kept) -> dict[str, str]:
    found = {}
    if run.records_file.is_file():
        found["seed of the training"] = str(run.settings().seed)
    seed = kept.evaluation.results[0].seed
    if seed is not None:
        found["seed of the resampling"] = str(seed)
    found["SHA-256 of the model"] = kept.model
    if run.records_file.is_file():
        rows = read_records(run.records_file)
        if all("sha256" in row for row in rows):
            found["SHA-256 of the training images"] = _joint(row["sha256"] for row in rows)
    found["SHA-256 of the test images"] = _joint(kept.hashes)
    if kept.calibration is not None:
        found["SHA-256 of the calibration"] = kept.calibration
    return found


def _joint(hashes: Iterable[str]) -> str:
    """The SHA-256 of sorted hashes, a line each."""
    return hashlib.sha256("".join(f"{one}\n" for one in sorted(hashes)).encode()).hexdigest()


def _commands(run: Run, kept: Kept) -> Iterable[str]:
    name, threshold = quoted(run.name), kept.evaluation.results[0].threshold
    arguments = kept.request.arguments() + ("" if threshold is None else f" --threshold {threshold!r}")
    if run.records_file.is_file():
        yield f"invad reproduce {name} --out again"
        yield f"invad evaluate again {arguments}"
    else:
        yield f"invad evaluate {name} {arguments}"


def _is_set(value: object) -> bool:
    return value is not None and value != ()


def _shown(value: object) -> str:
    """A setting's value as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
