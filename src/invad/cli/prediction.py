"""`invad predict`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from invad.cli.main import mute
from invad.colours import ColourScale
from invad.errors import RunError
from invad.inference import load
from invad.inference.drift import FALSE_WARNINGS, Drift
from invad.inference.predicting import Output, Predicting, Summary
from invad.inference.sharding import Shard, current_shard, from_first
from invad.runs import Run

LONG_WAIT = 20
"""Looks for the other processes' results, half a second each, before this one says what it waits for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Predict:
    """Score images with a model: a line for each, with decision and regions, and a picture.

    The images may be millions: they are read one after another while others are computed, a line is written as soon as
    it is known, and after a stop or a kill `--resume` goes on behind the last one. Under `torchrun` the processes share
    the work; its results are merged into one file in the order of the images.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run folder made by `invad train`, or a file made by `invad export`."""
    images: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES")]
    """Images, folders that are searched for them, patterns such as 'a/**/*.png', manifests (.csv or .jsonl, with
    `image` and perhaps `class`), or - for standard input, a path a line."""
    out: Path = Path("predictions")
    """The folder for the lines and the pictures."""
    format: Literal["jsonl", "parquet"] = "jsonl"
    """How the lines are written: predictions.jsonl, or predictions.parquet (needs the extra `parquet`)."""
    threshold: float | None = None
    """The score and map value from which on an image and a pixel count as anomalous. None: the run's calibration, and
    no decisions where there is none."""
    class_name: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """The class of all images that a manifest gives none; its own thresholds decide. None: the class whose name a
    folder above the image bears; the overall thresholds where none does."""
    scale: tuple[float, float] | None = None
    """The map values shown as untouched and as full colour. None: from the model's normal images, for each class its
    own."""
    overlays: bool = True
    """Write a picture for each image with its map laid over it."""
    maps: bool = False
    """Write each raw map as a NumPy file (H, W) float32 too."""
    batch_size: int = 8
    """Images computed at a time. With 1, each line is written before the next path on standard input is waited for;
    else lines come some images late."""
    strict: bool = False
    """Stop at an image that cannot be read, instead of saying so in its line."""
    resume: bool = False
    """Go on with predictions that were stopped, with the same options and images; start where there are none. Images
    that were added since are not among them: predict those into another folder. Standard input has to name the same
    images again."""
    overwrite: bool = False
    """Replace the predictions that are in the folder, finished or not, with their pictures; other files stay."""
    quiet: bool = False
    """Do not print the lines; several processes never do."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the first accelerator there is, and under torchrun one for each process."""

    def run(self) -> None:
        """Score every image, in order."""
        shard = current_shard()
        predictor = load(
            self.model, threshold=self.threshold, class_name=self.class_name, device=shard.device(self.device)
        )
        scale = (ColourScale(*self.scale) if self.scale else predictor.scale) or Run.open(self.model).scale()
        job = Predicting(
            predictor,
            self.images,
            Output(folder=self.out, format=self.format, scale=scale if self.overlays else None, maps=self.maps),
            class_name=self.class_name,
            batch_size=self.batch_size,
            strict=self.strict,
            shard=shard,
            on_drift=say_drift,
        )
        with job.alone():
            self._predict(job, shard)

    def _predict(self, job: Predicting, shard: Shard) -> None:
        """Score this process's images; the first process merges the lines of all."""
        if not begin(job, shard, resume=self.resume, overwrite=self.overwrite):
            if shard.first:
                say(f"complete: {self.out}")
            return
        try:
            for line in job.run():
                if shard.alone and not self.quiet:
                    print(line, flush=job.streams)
        except KeyboardInterrupt:
            say(f"stopped; go on with the same command and --resume: the lines so far are in {self.out}")
            raise
        except BrokenPipeError as error:
            mute()
            raise RunError(
                f"stopped, since nobody reads the lines any more; go on with the same command, --resume and --quiet: "
                f"the lines so far are in {self.out}"
            ) from error
        for text in in_words(job.summary):
            say(text)
        if shard.first:
            wait(job, shard)
            say(f"predictions: {job.finish()}")


def begin(job: Predicting, shard: Shard, *, resume: bool, overwrite: bool) -> bool:
    """Begin, or go on, as the first process decides; return whether there is something to do."""
    token = from_first(shard, lambda: job.begin(resume=resume, overwrite=overwrite))
    if token is None:
        return False
    if not shard.first:
        job.join(token)
    elif job.resumed and not job.streams:
        say("going on with the images that were listed at the first start; later ones are not among them")
    return True


def wait(job: Predicting, shard: Shard) -> None:
    """Wait until all processes are done; say so where it takes long."""
    for looks, missing in enumerate(job.wait()):
        if looks == LONG_WAIT:
            say(f"waiting for the processes {', '.join(map(str, missing))} of {shard.count}")


def in_words(summary: Summary) -> list[str]:
    """Return what happened, a sentence each."""
    counts = f"{summary.images:,} images, {summary.anomalous:,} anomalous"
    if summary.kept:
        counts += f", {summary.kept:,} of them predicted before"
    texts = [counts]
    if summary.unreadable:
        texts.append(f"{summary.unreadable:,} images cannot be read: their lines have an `error`")
    if summary.of_unknown_class:
        texts.append(
            f"{summary.of_unknown_class:,} images are of classes that the model does not know, {summary.unknown_class} "
            f"for one: the overall thresholds decided"
        )
    if summary.drifted:
        texts.append(
            f"drift: {summary.drifted} of {summary.windows} windows of scores left the calibration's distribution; "
            f"{FALSE_WARNINGS * summary.windows:.2g} are expected by chance. If these images are not of all classes "
            f"calibrated on, say which by --class; else look at them, and calibrate again if they are normal"
        )
    return texts


def say_drift(drift: Drift) -> None:
    """Warn of one window."""
    say(f"drift: {drift.text()}")


def say(text: str) -> None:
    """Print for a person, apart from the lines."""
    print(f"invad: {text}", file=sys.stderr)
