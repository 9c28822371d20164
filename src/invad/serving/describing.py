"""What `/info` says of a model."""

import hashlib
from collections.abc import Sequence

import numpy as np

from invad import __version__
from invad.inference.calibration import Calibration
from invad.inference.predictor import Predictor
from invad.serving import schemas
from invad.serving.limits import Limits

QUANTILES = 101


def describe(predictor: Predictor, *, name: str, limits: Limits, auth: bool, marks: bool) -> schemas.Info:
    """Return what is served, and how it decides."""
    assert predictor.scale is not None  # create_app refuses a predictor without
    calibration, given = predictor.calibration, predictor.threshold
    own = calibration.classes if calibration is not None and given is None else {}
    pixel = given if given is not None or calibration is None else calibration.overall.pixel
    said = schemas.Description(
        name=name,
        checksum=predictor.checksum,
        version=__version__,
        classes=list(predictor.classes),
        class_names=known_classes(predictor),
        image_size=predictor.size,
        threshold=image_threshold(predictor, None),
        thresholds={key: threshold.image for key, threshold in own.items()},
        pixel_threshold=pixel,
        pixel_thresholds={key: threshold.pixel for key, threshold in own.items()},
        scale=predictor.scale.of(None),
        scales={name: predictor.scale.of(name) for name in predictor.scale.classes},
        calibration=None if calibration is None else _distribution(calibration),
        limits=schemas.Limits(
            body_bytes=limits.body_bytes, pixels=limits.pixels, batch=limits.batch, queue=limits.queue
        ),
        auth=auth,
        marks=marks,
    )
    return schemas.Info(**dict(said), state=_state(said))


def image_threshold(predictor: Predictor, class_name: str | None) -> float | None:
    """Return the score that decides about images of a class; None where nothing is decided."""
    if predictor.threshold is not None:
        return predictor.threshold
    return None if predictor.calibration is None else predictor.calibration.threshold(class_name).image


def known_classes(predictor: Predictor) -> list[str]:
    """Return the classes that images may be said to show, by name; none: nothing is known of classes."""
    calibrated = predictor.calibration.scores if predictor.calibration is not None else ()
    return sorted({*predictor.classes, *(name for name in calibrated if name)})


def _state(said: schemas.Description) -> str:
    """A digest of all that is said."""
    return hashlib.sha256(said.model_dump_json().encode()).hexdigest()[:16]


def _distribution(calibration: Calibration) -> schemas.Calibration:
    own = {name: calibration.reference(name) for name in calibration.classes}
    return schemas.Calibration(
        scores=quantiles(calibration.reference()),
        class_scores={name: quantiles(scores) for name, scores in own.items()},
        count=calibration.overall.normal,
        class_counts={name: len(scores) for name, scores in own.items()},
        method=calibration.method,
        false_alarm_rate=calibration.overall.false_alarms,
        wanted=calibration.wanted,
        interval=calibration.overall.false_alarm_interval,
        confidence=calibration.confidence,
        images=calibration.images,
    )


def quantiles(scores: Sequence[float]) -> list[float]:
    """Return 101 quantiles of scores, 0 % to 100 %, interpolated linearly.

    Example:
        >>> quantiles((0.0, 1.0))[25]
        0.25
    """
    found: list[float] = np.quantile(np.asarray(scores, dtype=np.float64), np.linspace(0, 1, QUANTILES)).tolist()
    return found
