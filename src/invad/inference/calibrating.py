"""A run or an exported file and normal images in, its calibration out, written where it belongs.

Training images are never calibrated on: a model's scores of them are lower than those of images that it has not seen.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from invad.data import open_datasets
from invad.data.dataset import parse_spec, trained_as
from invad.data.hashing import content_hash, content_hashes
from invad.data.mvtec import folder_name
from invad.devices import choose_device
from invad.errors import DataError, RunError, SettingsError, command
from invad.files import write_text
from invad.inference.calibration import FILE, UNKNOWN, UNKNOWN_NAME, Calibration, without_places
from invad.inference.checksum import model_checksum
from invad.inference.choosing import Images, Sample, Wish, calibrate_scorer
from invad.inference.inputs import class_of, list_inputs
from invad.inference.opening import open_model
from invad.inference.rewriting import write_decision
from invad.inference.scorer import folded_scorer
from invad.inference.thresholds import check_share
from invad.runs import Run, load_model
from invad.trained_images import read_records

FALSE_ALARMS = 0.01
"""The false-alarm rate that is wanted unless another is given."""
HELD_BACK = "held back in training"
"""The origin of images that the training held back."""


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
    """Choose the thresholds of a run or an exported file, and write them into the run's folder or into the file.

    Without `labelled` they come from normal images alone, for a wanted false-alarm rate; with it, from the labels. The
    scores are those of what is calibrated: an int8 file's are not those of its run.

    Args:
        run: a run, its folder (which gets a `calibration.json`), or a file that `invad export` made.
        normal: normal images: files, folders, patterns or manifests. An image's class is the one whose name a folder
            above it bears, or that a manifest names. None given: those that a run's training held back.
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
        RunError: there is no such run or file, it is calibrated already, or nothing was held back and nothing is named.
        ModelFileError: the file is damaged, or was changed while it was calibrated.
        MissingExtraError: what runs the file is not installed.
        SettingsError: a rate is out of range, or two arguments contradict each other.
        DataError: an image cannot be read, or none is left without those that the run was trained on.
        MetricError: the labelled images are all normal, or all anomalous.
    """
    wish = _wish(labelled is not None, false_alarms, recall, regions)
    if class_name is not None and not normal:
        raise SettingsError("a class says what the images of --normal show; name some")
    named = bool(normal) or labelled is not None
    path = run.path if isinstance(run, Run) else Path(run)
    if path.is_file():
        if not named:
            raise RunError(
                f"{path} does not know which images its training held back; name normal images that it was not trained "
                f"on: {command('calibrate', path, '--normal', 'FOLDER')}"
            )
        return _calibrate_file(
            path, wish, normal, labelled, class_name, overwrite=overwrite, device=device, quiet=quiet
        )
    run = Run.open(path)
    require_uncalibrated(run, overwrite)
    settings, classes = run.settings(), _trained_classes(run)
    images = _named(run, classes, normal, labelled, class_name) if named else held_back_images(run)
    model = load_model(run)
    calibration = calibrate_scorer(
        folded_scorer(model, settings.size, choose_device(device)),  # as `load` opens the run
        images,
        wish,
        model=model_checksum(model),
        classes=classes,
        skip_unreadable=settings.skip_unreadable,
        quiet=quiet,
    )
    write_text(run.path / FILE, calibration.to_json())
    return calibration


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


def held_back_images(run: Run) -> Images:
    """Return the normal images that the training held back, to calibrate on.

    Where all are copies of images that were trained on they are taken all the same, and a notice says what that means.

    Raises:
        RunError: there are none.
    """
    samples = [Sample(path=record.image, class_name=record.class_name) for record in run.held_back()]
    if not samples:
        raise RunError(
            f"{run.path} held back no image in training; name normal images that it was not trained on: "
            f"{command('calibrate', run.path, '--normal', 'FOLDER')}"
        )
    fresh, _, notices = _fresh(run, samples)
    if not fresh:
        fresh, notices = (
            samples,
            [
                "all images held back are copies of images that the run was trained on, so new ones may score higher; "
                "calibrate on others by --normal"
            ],
        )
    return Images(samples=fresh, origin=HELD_BACK, notices=(*_chosen_by_them(run), *notices))


def _wish(labelled: bool, false_alarms: float | None, recall: float | None, regions: float | None) -> Wish:
    """What thresholds are to promise, by what was said."""
    if recall is not None and not labelled:
        raise SettingsError("a recall needs images of defects; name them by --labelled LAYOUT:ROOT")
    if false_alarms is not None and labelled:
        raise SettingsError(
            "a false-alarm rate decides where the images are normal ones alone; with --labelled it is the best F1 or "
            "--recall that does. Leave out --false-alarms or --labelled"
        )
    for name, share in {"false-alarm rate": false_alarms, "recall": recall, "share of regions": regions}.items():
        if share is not None:
            check_share(name, share)
    if labelled:
        return Wish(method="f1-max" if recall is None else "recall", rate=recall, regions=regions)
    return Wish(method="false-alarms", rate=FALSE_ALARMS if false_alarms is None else false_alarms, regions=regions)


def _calibrate_file(
    path: Path,
    wish: Wish,
    normal: Sequence[Path | str],
    labelled: str | None,
    class_name: str | None,
    *,
    overwrite: bool,
    device: str,
    quiet: bool,
) -> Calibration:
    """Calibrate an exported file by its own scores, and write the result into it."""
    before = content_hash(path)
    opened = open_model(path, device=device)
    assert opened.manifest is not None
    if opened.decision is not None and not overwrite:
        raise RunError(f"{path} holds a calibration; pass --overwrite to replace it")
    calibration = calibrate_scorer(
        opened.scorer,
        _named(None, opened.classes, normal, labelled, class_name),
        wish,
        model=opened.model,
        classes=opened.classes,
        skip_unreadable=bool(opened.manifest.settings.get("skip_unreadable")),
        quiet=quiet,
    )
    calibration = without_places(calibration)
    write_decision(path, opened.manifest, calibration, expected=before)
    return calibration


def _named(
    run: Run | None,
    classes: Collection[str],
    normal: Sequence[Path | str],
    labelled: str | None,
    class_name: str | None,
) -> Images:
    """The images that were named, less those that the run was trained on; None: a file, which does not know them."""
    known, unclear = _labelled(labelled, classes)
    samples, seen, notices = _fresh(run, [*_normal(normal, class_name, classes), *known])
    if not any(not sample.anomalous for sample in samples):
        raise DataError(
            f"no normal image is left: the run was trained on {seen} of those named, and scores lower on them than on "
            f"new ones. Name a folder of normal images that it has not seen"
        )
    test_images, of_test, places = (0, [], []) if run is None else _test_images(run, samples)
    named = [*map(Path, normal), *([parse_spec(labelled)[1]] if labelled else [])]
    return Images(
        samples=samples,
        origin=", ".join(map(folder_name, named)),
        test_images=test_images,
        notices=(*notices, *unclear, *_of_unknown_class(samples, classes), *of_test),
        places=(*(f"images: {path}" for path in named if str(path) != folder_name(path)), *places),
    )


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


def _normal(roots: Sequence[Path | str], class_name: str | None, known: Collection[str]) -> Iterator[Sample]:
    """The normal images that are named, each with its class if it is known."""
    if not roots:
        return
    for item in list_inputs([str(root) for root in roots]):
        name = class_name or item.class_name or class_of(item.path.absolute(), known)
        yield Sample(path=item.path, class_name=name or UNKNOWN)


def _labelled(spec: str | None, trained: Collection[str]) -> tuple[list[Sample], list[str]]:
    """The images of a labelled data set, their classes called as in training, and a notice of those that may be two."""
    if spec is None:
        return [], []
    data = open_datasets([spec], trained=trained)
    found = {name: trained_as(name, data.root, trained) for name in data.classes}
    unknown = {UNKNOWN_NAME} - set(trained)
    samples = [
        Sample(path=r.image, class_name=UNKNOWN if r.class_name in unknown else r.class_name, anomalous=r.anomalous)
        for r in data.records
    ]
    notices = [
        f"the class {name} of the labelled images may be {' or '.join(may_be)}, which go by the overall threshold "
        f"therefore; to say which it is, give the set's folder the name that stands in front"
        for name, may_be in found.items()
        if len(may_be) > 1
    ]
    return samples, notices


def _of_unknown_class(samples: Sequence[Sample], trained: Collection[str]) -> list[str]:
    """A notice of the images whose class is not known, where there are several."""
    count, classes = sum(sample.class_name == UNKNOWN for sample in samples), sorted(trained)
    if not count or len(classes) < 2:
        return []
    return [
        f"what {count} of {len(samples)} images show is not known, so they count for the overall threshold alone; put "
        f"them into folders named {', '.join(classes[:3])}{', ...' if classes[3:] else ''}, or say --class"
    ]


def _fresh(run: Run | None, samples: Sequence[Sample]) -> tuple[list[Sample], int, list[str]]:
    """The images that the model was not trained on, each once; how many it was trained on; and notices of all these.

    An image is the same under another name or in another folder, if its file is. Of several the last one counts.
    """
    lines = None if run is None else _trained_on(run)
    files = {_place(sample.path): sample for sample in samples}
    there = [path for path in files if path.is_file()]  # what is missing is refused, or skipped, when it is read
    keys = {path: str(path) for path in files} | dict(zip(there, content_hashes(there), strict=True))
    paths = {_place(Path(line["image"])) for line in lines or ()}
    trained = {line["sha256"] for line in lines or () if "sha256" in line} | {keys[path] for path in paths & set(files)}
    distinct = {keys[path]: sample for path, sample in files.items()}
    fresh = [sample for key, sample in distinct.items() if key not in trained]
    copies, seen = len(files) - len(distinct), len(distinct) - len(fresh)
    notices = [f"{seen} images were left out: the run was trained on them"] if seen else []
    if copies:
        notices.append(f"{copies} images are copies of others, byte for byte, and do not count again")
    if lines is None:
        notices.append(
            "which images the model was trained on is not known, so none was left out; the thresholds are right only "
            "if it was trained on none of these"
        )
    return fresh, seen, notices


def _test_images(run: Run, samples: Sequence[Sample]) -> tuple[int, list[str], list[str]]:
    """How many of the images are test images of the run, a notice of that, and why it cannot be said."""
    settings = run.settings()
    if not settings.data:
        return 0, ["whether there are test images among them is not known: the run names no data set"], []
    try:
        data = open_datasets(settings.data, settings.classes, views=settings.views, split=settings.split)
    except (DataError, SettingsError) as error:
        reason = "the run's data cannot be used"
        return 0, [f"whether there are test images among them is not known: {reason}"], [f"{reason}: {error}"]
    test = {_place(record.image) for record in data.split("test")}
    count = sum(_place(sample.path) in test for sample in samples)
    if not count:
        return 0, [], []
    return count, [f"{count} of the {len(samples)} images are test images: do not judge the thresholds by those"], []


def _place(path: Path) -> Path:
    """Where a file lies, whatever links lead there; a path that leads nowhere, in a circle say, stands for itself."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return path


def _trained_classes(run: Run) -> Collection[str]:
    return run.trained_classes() or run.settings().classes


def _trained_on(run: Run) -> list[dict[str, str]] | None:
    """The training images of a run; None: not known, of an imported one say."""
    return read_records(run.records_file) if run.records_file.is_file() else None
