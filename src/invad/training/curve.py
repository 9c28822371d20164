"""The learning curve of a run, as a picture in its folder."""

import io
from collections.abc import Iterable, Mapping
from typing import Any

from invad.files import write_bytes
from invad.runs import Run

Points = list[tuple[float, float]]
"""Epochs completed, and a loss."""


def write_curve(run: Run) -> None:
    """Draw the losses of a run over its epochs into `curve.png`.

    Raises:
        RunError: the picture cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    learnt, held_back = losses(run.events())
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*_columns(learnt), color="#9fb4d6", linewidth=1, label="training, each look")
    axes.plot(*_columns(smooth(learnt)), color="#1f4e9e", linewidth=2, label="training, smoothed")
    if held_back:
        axes.plot(*_columns(held_back), color="#c4541a", linewidth=2, marker=".", label="images held back")
    axes.set(xlabel="epoch", ylabel="loss", yscale="log")
    axes.set_title(run.name, parse_math=False)
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatter(ScalarFormatter())
    axes.grid(True, which="both", alpha=0.25)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(run.curve_file, buffer.getvalue())


def losses(events: Iterable[Mapping[str, Any]]) -> tuple[Points, Points]:
    """Return the losses of a log: in training, and on the images held back.

    What was logged after a checkpoint that the run went on from later counts once.

    Example:
        >>> step = {"event": "step", "epoch": 1, "step": 1, "total_steps": 1, "loss": 2.0}
        >>> losses([step, {"event": "resumed", "total_steps": 0}, step])
        ([(1.0, 2.0)], [])
    """
    learnt: list[tuple[int, float]] = []
    held_back: list[tuple[int, float]] = []
    per_epoch = 1
    for event in events:
        if event["event"] == "resumed":
            learnt = [point for point in learnt if point[0] <= event["total_steps"]]
            held_back = [point for point in held_back if point[0] <= event["total_steps"]]
        elif event["event"] == "step":
            learnt.append((event["total_steps"], event["loss"]))
            per_epoch = max(per_epoch, event["step"])
        elif event["event"] == "held_back":
            held_back.append((event["total_steps"], event["loss"]))
    return _in_epochs(learnt, per_epoch), _in_epochs(held_back, per_epoch)


def _in_epochs(points: list[tuple[int, float]], per_epoch: int) -> Points:
    return [(steps / per_epoch, loss) for steps, loss in points]


def smooth(points: Points, keep: float = 0.8) -> Points:
    """Return the running mean of the losses, in which one counts `keep` times as much as the next."""
    smoothed: Points = []
    total = weight = 0.0
    for epoch, loss in points:
        total, weight = keep * total + loss, keep * weight + 1.0
        smoothed.append((epoch, total / weight))
    return smoothed


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
