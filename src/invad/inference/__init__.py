"""Trained models at work."""

from invad.inference.calibrating import calibrate, calibrate_run
from invad.inference.calibration import Calibration
from invad.inference.decisions import Prediction
from invad.inference.drift import Drift, DriftWatch
from invad.inference.exporting import Export, export
from invad.inference.opening import OpenModel, open_model
from invad.inference.predictor import Predictor, load
from invad.inference.regions import Region
from invad.inference.scorer import Scorer

__all__ = [
    "Calibration",
    "Drift",
    "DriftWatch",
    "Export",
    "OpenModel",
    "Prediction",
    "Predictor",
    "Region",
    "Scorer",
    "calibrate",
    "calibrate_run",
    "export",
    "load",
    "open_model",
]
