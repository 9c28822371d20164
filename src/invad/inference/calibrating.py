"""A run and normal images in, its calibration out.

Training images are never calibrated on: a model's scores of them are lower than those of images that it has not seen.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from invad.data import open_datasets
from invad.data.dataset import trained_as
from invad.data.hashing import content_hashes
from invad.data.index import listed
from invad.devices import choose_device
from invad.errors import DataError, ImageError, RunError, SettingsError
from invad.files import write_text
from invad.inference.calibration import FILE, UNKNOWN, Calibration, Method
from invad.inference.checksum import model_checksum
from invad.inference.inputs import class_of, list_inputs
from invad.inference.predictor import Predictor
from invad.inference.scorer import folded_scorer
from invad.inference.thresholds import (
    Threshold,
    check_share,
    from_f1max,
    from_normal,
    from_recall,
    is_reachable,
    is_recall_reachable,
)
from invad.runs import Run, load_model

FALSE_ALARMS = 0.01
"""The false-alarm rate that is wanted unless another is given."""
LABELLED = 10
"""Normal and anomalous images that a class needs for a threshold of its own by F1-max."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One image to calibrate on."""

    path: Path
    class_name: str
    anomalous: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What thresholds are to promise."""

    method: Method
    rate: float | None
    """The false-alarm rate or the recall."""
    regions: float | None

    def threshold(self, normal: Sequence[float], anomalous: Sequence[float]) -> Threshold:
        """Return the threshold from these scores."""
        if self.method == "false-alarms":
            assert self.rate is not None
            return from_normal(normal, self.rate, regions=self.regions)
        if self.method == "recall":
            assert self.rate is not None
            return from_recall(normal, anomalous, self.rate, regions=self.regions)
        return from_f1max(normal, anomalous, regions=self.regions)

    def has_enough(self, normal: int, anomalous: int) -> bool:
        """Return whether so many images of a class give it a threshold of its own."""
        if self.regions is not None and not is_reachable(normal, self.regions):
            return False
        if self.method == "false-alarms":
            assert self.rate is not None
            return is_reachable(normal, self.rate)
        if self.method == "recall":
            assert self.rate is not None
            return normal > 0 and is_recall_reachable(anomalous, self.rate)
        return min(normal, anomalous) >= LABELLED


def calibrate(
    run: Run | Path | str,
    *,
    normal: Sequence[Path | str] = (),
    labelled: str | None = None,
    false_alarms: float | None = None,
    recall: float | None = None,
    regions: float | None = None,
    class_name: str | None = None,
    overwrite: bool = False,
    device: str = "auto",
    quiet: bool = False,
) -> Calibration:
    """Choose the thresholds of a run, and write them into its folder as `calibration.json`.

    Without `labelled` they come from normal images alone, for a wanted false-alarm rate; with it, from the labels.

    Args:
        run: a run, or its folder.
        normal: normal images: files, folders, patterns or manifests. An image's class is the one whose name a folder
            above it bears, or that a manifest names. None given: those that the training held back.
        labelled: a data set as LAYOUT:ROOT whose images are known to be normal or not; all its splits are used.
        false_alarms: the share of normal images that may count as anomalous, in (0, 1), without `labelled`; None: 0.01.
        recall: the share of anomalous images to find, in (0, 1), with `labelled`; None: the threshold of the best F1.
        regions: the share of normal images that may have a region, in (0, 1); None: regions begin at the image's
            threshold, so that an image is anomalous exactly where it has one.
        class_name: the class of all images of `normal`; None: as their folders or manifests say.
        overwrite: replace a calibration that is there.
        device: as in `TrainSettings`.
        quiet: show no progress.

    Raises:
        RunError: there is no such run, it is calibrated already, or nothing was held back and nothing is named.
        SettingsError: a rate is out of range, or two arguments contradict each other.
        DataError: an image cannot be read, or none is left without those that the run was trained on.
        MetricError: the labelled images are all normal, or all anomalous.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    if recall is not None and labelled is None:
        raise SettingsError("a recall needs images of defects; name them by --labelled LAYOUT:ROOT")
    if false_alarms is not None and labelled is not None:
        raise SettingsError(
            "a false-alarm rate decides where the images are normal ones alone; with --labelled it is the best F1 or "
            "--recall that does. Leave out --false-alarms or --labelled"
        )
    if class_name is not None and not normal:
        raise SettingsError("a class says what the images of --normal show; name some")
    for name, share in {"false-alarm rate": false_alarms, "recall": recall, "share of regions": regions}.items():
        if share is not None:
            check_share(name, share)
    require_uncalibrated(run, overwrite)
    if labelled is None:
        wish = Wish(method="false-alarms", rate=FALSE_ALARMS if false_alarms is None else false_alarms, regions=regions)
    else:
        wish = Wish(method="f1-max" if recall is None else "recall", rate=recall, regions=regions)
    samples: list[Sample]
    notices: list[str] = []
    if not normal and labelled is None:
        samples, origin = _held_back(run), "held back in training"
        notices += _chosen_by_them(run)
        if not samples:
            raise RunError(
                f"{run.path} held back no image in training; name normal images that it was not trained on: "
                f"invad calibrate {run.path} --normal FOLDER"
            )
        test_images = 0
    else:
        known, unclear = _labelled(run, labelled)
        samples, notices = _without_training_images(run, [*_normal(run, normal, class_name), *known])
        notices += [*unclear, *_of_unknown_class(run, samples)]
        origin = ", ".join([*map(str, normal), *([labelled] if labelled else [])])
        test_images, more = _test_images(run, samples)
        notices += more
    return _calibrate(run, samples, wish, origin, test_images, notices, device=device, quiet=quiet)


def calibrate_run(run: Run, *, quiet: bool) -> Calibration:
    """Calibrate a run that has just been trained on the images that it held back, for the default false-alarm rate.

    Raises:
        RunError: it held back none.
        ImageError: one of them cannot be read, and the settings do not say to leave such out.
    """
    return calibrate(run, overwrite=True, device=run.settings().device, quiet=quiet)


def require_uncalibrated(run: Run, overwrite: bool) -> None:
    """Refuse to replace a calibration that nobody said may be replaced.

    Raises:
        RunError: there is one.
    """
    if (run.path / FILE).exists() and not overwrite:
        raise RunError(f"{run.path / FILE} exists; pass --overwrite to replace it")


def _calibrate(
    run: Run,
    samples: Sequence[Sample],
    wish: Wish,
    origin: str,
    test_images: int,
    notices: Sequence[str],
    *,
    device: str,
    quiet: bool,
) -> Calibration:
    """Score, choose, write."""
    settings = run.settings()
    model = load_model(run)
    checksum = model_checksum(model)
    predictor = Predictor(folded_scorer(model, settings.size, choose_device(device)))  # as `load` opens the run
    scores, unreadable = _scores(predictor, samples, skip_unreadable=settings.skip_unreadable, quiet=quiet)
    normal = {name: values for (name, anomalous), values in scores.items() if not anomalous}
    defective = {name: values for (name, anomalous), values in scores.items() if anomalous}
    overall = wish.threshold(_joined(normal.values()), _joined(defective.values()))
    own = {
        name: wish.threshold(values, defective.get(name, []))
        for name, values in normal.items()
        if name != UNKNOWN and wish.has_enough(len(values), len(defective.get(name, [])))
    }
    calibration = Calibration(
        method=wish.method,
        wanted=wish.rate,
        regions=wish.regions,
        overall=overall,
        classes=own,
        scores={name: tuple(values) for name, values in sorted(normal.items())},
        images=origin,
        test_images=test_images,
        model=checksum,
        notices=(*notices, *unreadable, *_shortages(wish, overall, normal, own)),
    )
    write_text(run.path / FILE, calibration.to_json())
    return calibration


def _scores(
    predictor: Predictor, samples: Sequence[Sample], *, skip_unreadable: bool, quiet: bool
) -> tuple[dict[tuple[str, bool], list[float]], list[str]]:
    """The sorted scores of every class, normal and anomalous apart; and a notice of what cannot be read, if skipped."""
    outcomes = predictor.outcomes([sample.path for sample in samples], batch_size=16)
    shown = track(
        outcomes, "calibrating", total=len(samples), console=Console(stderr=True), disable=quiet, transient=True
    )
    scores: dict[tuple[str, bool], list[float]] = {}
    unreadable = []
    for sample, outcome in zip(samples, shown, strict=True):
        if not isinstance(outcome, ImageError):
            scores.setdefault((sample.class_name, sample.anomalous), []).append(outcome.score)
        elif skip_unreadable:
            unreadable.append(sample.path)
        else:
            raise outcome
    notices = [f"{len(unreadable)} images cannot be read and were left out: {listed(unreadable)}"] if unreadable else []
    return {key: sorted(values) for key, values in scores.items()}, notices


def _shortages(
    wish: Wish, overall: Threshold, normal: dict[str, list[float]], own: dict[str, Threshold]
) -> Iterator[str]:
    """Say where there are too few images for what is wanted."""
    if wish.method == "false-alarms" and wish.rate is not None and not is_reachable(overall.normal, wish.rate):
        yield (
            f"{overall.normal} normal images cannot promise a false-alarm rate of {wish.rate:.3g}; the threshold lies "
            f"just above their largest score, which promises {overall.false_alarms:.3g}"
        )
    if wish.method == "recall" and wish.rate is not None and not is_recall_reachable(overall.anomalous, wish.rate):
        yield (
            f"{overall.anomalous} anomalous images cannot promise a recall of {wish.rate:.3g}; the threshold is their "
            f"lowest score, which promises {overall.recall:.3g}"
        )
    if wish.regions is not None and not is_reachable(overall.normal, wish.regions):
        yield (
            f"{overall.normal} normal images cannot promise regions in {wish.regions:.3g} of them; the pixel threshold "
            f"lies just above their largest value, which promises {1 / (overall.normal + 1):.3g}"
        )
    few = [f"{name} ({len(values)})" for name, values in sorted(normal.items()) if name != UNKNOWN and name not in own]
    if few and len(normal) > 1:
        yield f"too few images for thresholds of their own, so the overall ones hold: {', '.join(few)}"


def _joined(parts: Iterable[list[float]]) -> list[float]:
    return [score for part in parts for score in part]


def _held_back(run: Run) -> list[Sample]:
    return [Sample(path=record.image, class_name=record.class_name) for record in run.held_back()]


def _chosen_by_them(run: Run) -> list[str]:
    """A notice where the images held back have had a say in the weights: chose them, or ended the training early."""
    settings = run.settings()
    epochs = [event["epoch"] for event in run.events() if event["event"] == "finished"]
    if settings.keep == "last" and epochs[-1:] == [settings.epochs]:
        return []
    return [
        "the images held back also said when to end the training or which weights to keep, so they are not quite new "
        "to the model; for the last word, calibrate on others by --normal"
    ]


def _normal(run: Run, roots: Sequence[Path | str], class_name: str | None) -> Iterator[Sample]:
    """The normal images that are named, each with its class if it is known."""
    if not roots:
        return
    known = _trained_classes(run)
    for item in list_inputs([str(root) for root in roots]):
        name = class_name or item.class_name or class_of(item.path.absolute(), known)
        yield Sample(path=item.path, class_name=name or UNKNOWN)


def _labelled(run: Run, spec: str | None) -> tuple[list[Sample], list[str]]:
    """The images of a labelled data set, their classes called as in training, and a notice of those that may be two."""
    if spec is None:
        return [], []
    trained = _trained_classes(run)
    data = open_datasets([spec], trained=trained)
    found = {name: trained_as(name, data.root, trained) for name in data.classes}
    samples = [Sample(path=r.image, class_name=r.class_name, anomalous=r.anomalous) for r in data.records]
    notices = [
        f"the class {name} of {spec} may be {' or '.join(may_be)}, which go by the overall threshold therefore; to say "
        f"which it is, give the set's folder the name that stands in front"
        for name, may_be in found.items()
        if len(may_be) > 1
    ]
    return samples, notices


def _of_unknown_class(run: Run, samples: Sequence[Sample]) -> list[str]:
    """A notice of the images whose class is not known, where there are several."""
    count, classes = sum(sample.class_name == UNKNOWN for sample in samples), sorted(_trained_classes(run))
    if not count or len(classes) < 2:
        return []
    return [
        f"what {count} of {len(samples)} images show is not known, so they count for the overall threshold alone; put "
        f"them into folders named {', '.join(classes[:3])}{', ...' if classes[3:] else ''}, or say --class"
    ]


def _without_training_images(run: Run, samples: Sequence[Sample]) -> tuple[list[Sample], list[str]]:
    """The images that the run was not trained on, each once, and a notice of the others.

    An image is the same under another name or in another folder, if its file is.

    Raises:
        DataError: all were.
    """
    lines = _trained_on(run)
    trained = {Path(line["image"]).resolve() for line in lines}
    contents = {line["sha256"] for line in lines if "sha256" in line}
    distinct = {sample.path.resolve(): sample for sample in samples}
    hashes = dict(zip(distinct, content_hashes(list(distinct)), strict=True)) if contents else {}
    fresh = [sample for path, sample in distinct.items() if path not in trained and hashes.get(path) not in contents]
    count = len(distinct) - len(fresh)
    if not any(not sample.anomalous for sample in fresh):
        raise DataError(
            f"no normal image is left: the run was trained on {count} of those named, and scores lower on them than on "
            f"new ones. Name a folder of normal images that it has not seen"
        )
    return fresh, [f"{count} images were left out: the run was trained on them"] if count else []


def _test_images(run: Run, samples: Sequence[Sample]) -> tuple[int, list[str]]:
    """How many of the images are test images of the run, and a notice of that."""
    settings = run.settings()
    if not settings.data:
        return 0, ["whether there are test images among them is not known: the run names no data set"]
    try:
        data = open_datasets(settings.data, settings.classes, views=settings.views, split=settings.split)
    except (DataError, SettingsError) as error:
        return 0, [f"whether there are test images among them is not known: {error}"]
    test = {record.image.resolve() for record in data.split("test")}
    count = sum(sample.path.resolve() in test for sample in samples)
    if not count:
        return 0, []
    return count, [f"{count} of the {len(samples)} images are test images: do not judge the thresholds by those"]


def _trained_classes(run: Run) -> Collection[str]:
    return run.trained_classes() or run.settings().classes


def _trained_on(run: Run) -> list[dict[str, str]]:
    """The training images of a run; none of an imported one."""
    if not run.records_file.is_file():
        return []
    return [json.loads(line) for line in run.records_file.read_text(encoding="utf-8").splitlines()]
