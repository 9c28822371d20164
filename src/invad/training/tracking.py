"""The log of a training for TensorBoard, Weights & Biases or MLflow, through Accelerate's trackers."""

import dataclasses
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from invad.errors import MissingExtraError, RunError
from invad.files import write_text
from invad.runs import Run
from invad.settings import TrainSettings


def require_trackers(names: Sequence[str]) -> None:
    """Refuse to begin without the packages that these trackers need.

    Raises:
        MissingExtraError: one is not installed.
    """
    for name in names:
        if find_spec(name) is None:
            command = "'invad[tracking]'" if name == "tensorboard" else name
            raise MissingExtraError(
                f"--track {name} needs the package {name}: pip install {command}. Every run has its log.jsonl "
                f"without it"
            )


class Trackers:
    """The trackers of a run, begun; none is a case like any other.

    Args:
        names: which.
        run: whose folder `tracking` takes what they write, and whose name they show.
        settings: shown as the run's configuration.
        first_step: what an earlier start logged after this step is hidden, where a tracker can.
    """

    def __init__(self, names: Sequence[str], run: Run, settings: TrainSettings, first_step: int) -> None:
        self._trackers = [_begin(name, run, first_step) for name in names]
        for tracker in self._trackers:
            tracker.store_init_configuration(_plain(settings))

    def log(self, values: Mapping[str, float | None], step: int) -> None:
        """Write numbers by name; those that are None are left out.

        Raises:
            RunError: a tracker cannot write.
        """
        numbers = {name: value for name, value in values.items() if value is not None}
        with _refusals():
            for tracker in self._trackers:
                tracker.log(numbers, step=step)

    def close(self) -> None:
        """Write what is still to be written.

        Raises:
            RunError: a tracker cannot write.
        """
        with _refusals():
            for tracker in self._trackers:
                tracker.finish()


@contextmanager
def _refusals() -> Iterator[None]:
    """A context that says what a full disk or a network means to a tracker."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"a tracker cannot write: {error.strerror or error}. The last checkpoint is intact; `invad train --resume` "
            f"goes on"
        ) from error


def _begin(name: str, run: Run, first_step: int) -> Any:
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState()  # Accelerate's trackers ask it which process they are in
    folder, kind = run.tracking.absolute(), LOGGER_TYPE_TO_CLASS[name]
    folder.mkdir(exist_ok=True)
    if name == "tensorboard":
        tracker = kind(name, str(folder), purge_step=first_step + 1)
    elif name == "wandb":
        name_there = _kept_id(folder / "wandb-id.txt")  # a resumed run goes on in the one that it began
        tracker = kind("invad", name=run.name, dir=str(folder), id=name_there, resume="allow")
    else:
        tracker = kind("invad", logging_dir=str(folder), run_name=run.name)
    tracker.start()
    return tracker


def _kept_id(file: Path) -> str:
    """The name that a file holds; a new one, which nobody else has, where there is no file."""
    if not file.is_file():
        write_text(file, uuid.uuid4().hex)
    return file.read_text(encoding="utf-8")


def _plain(settings: TrainSettings) -> dict[str, str | int | float | bool]:
    """Settings as all trackers take them."""
    values = dataclasses.asdict(settings)
    return {k: v if isinstance(v, str | int | float | bool) else str(v) for k, v in values.items() if v is not None}
