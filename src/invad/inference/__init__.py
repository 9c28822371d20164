"""Trained models at work."""

from invad.inference.calibrating import calibrate, calibrate_run
from invad.inference.calibration import Calibration
from invad.inference.decisions import Prediction
from invad.inference.predictor import Predictor, load
from invad.inference.regions import Region

__all__ = ["Calibration", "Prediction", "Predictor", "Region", "calibrate", "calibrate_run", "load"]
