"""What `/info` says of a model."""

import hashlib
from collections.abc import Sequence

import numpy as np

from invad import __version__
from invad.inference.calibration import Calibration
from invad.inference.listing import portable
from invad.inference.predictor import Predictor
from invad.serving import schemas
from invad.serving.limits import Limits

QUANTILES = 101


def describe(predictor: Predictor, *, name: str, limits: Limits, auth: bool, marks: bool) -> schemas.Info:
    """Return what is served, and how it decides."""
    assert predictor.scale is not None  # create_app refuses a predictor without
    calibration, given = predictor.calibration, predictor.threshold
    own = calibration.classes if calibration is not None and given is None else {}
    default = predictor.class_name
    pixel = given if given is not None or calibration is None else calibration.threshold(default).pixel
    said = schemas.Description(
        name=portable(name),
        checksum=predictor.checksum,
        version=__version__,
        classes=[portable(one) for one in predictor.classes],
        class_names=known_classes(predictor),
        image_size=predictor.size,
        threshold=image_threshold(predictor, None),
        thresholds={portable(key): threshold.image for key, threshold in own.items()},
        pixel_threshold=pixel,
        pixel_thresholds={portable(key): threshold.pixel for key, threshold in own.items()},
        scale=predictor.scale.of(default),
        scales={portable(key): predictor.scale.of(key) for key in predictor.scale.classes},
        calibration=None if calibration is None else _distribution(calibration, default),
        limits=schemas.Limits(
            body_bytes=limits.body_bytes, pixels=limits.pixels, batch=limits.batch, queue=limits.queue
        ),
        auth=auth,
        marks=marks,
    )
    return schemas.Info(**dict(said), state=_state(said))


def image_threshold(predictor: Predictor, class_name: str | None) -> float | None:
    """Return the score that decides about images of a class, or of the predictor's; None where nothing is decided."""
    if predictor.threshold is not None:
        return predictor.threshold
    if predictor.calibration is None:
        return None
    return predictor.calibration.threshold(class_name or predictor.class_name).image


def known_classes(predictor: Predictor) -> list[str]:
    """Return the classes that images may be said to show, as JSON names them; none: nothing is known of classes."""
    return sorted(portable(name) for name in _classes(predictor))


def own_class(predictor: Predictor, class_name: str | None) -> str | None:
    """Return the class that a request names, as the model has it; the predictor's own where it names none."""
    called = (name for name in _classes(predictor) if portable(name) == class_name)
    return next(called, class_name) or predictor.class_name


def _classes(predictor: Predictor) -> set[str]:
    """The classes of a model, whose names may hold bytes that are not UTF-8."""
    calibrated = predictor.calibration.scores if predictor.calibration is not None else ()
    return {*predictor.classes, *(name for name in calibrated if name)}


def _state(said: schemas.Description) -> str:
    """A digest of all that is said."""
    return hashlib.sha256(said.model_dump_json().encode()).hexdigest()[:16]


def _distribution(calibration: Calibration, default: str | None) -> schemas.Calibration:
    """The scores that an image is counted among whose class is not said: those of `default`, if it has its own."""
    decides, scores = calibration.threshold(default), calibration.reference(default)
    own = {portable(name): calibration.reference(name) for name in calibration.classes}
    return schemas.Calibration(
        scores=quantiles(scores),
        class_scores={name: quantiles(found) for name, found in own.items()},
        count=decides.normal,
        class_counts={name: len(found) for name, found in own.items()},
        method=calibration.method,
        false_alarm_rate=decides.false_alarms,
        wanted=calibration.wanted,
        interval=decides.false_alarm_interval,
        confidence=calibration.confidence,
        images=portable(calibration.images),
    )


def quantiles(scores: Sequence[float]) -> list[float]:
    """Return 101 quantiles of scores, 0 % to 100 %, interpolated linearly.

    Example:
        >>> quantiles((0.0, 1.0))[25]
        0.25
    """
    found: list[float] = np.quantile(np.asarray(scores, dtype=np.float64), np.linspace(0, 1, QUANTILES)).tolist()
    return found
