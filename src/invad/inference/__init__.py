"""Trained models at work."""

from invad.inference.exporting import Export, export
from invad.inference.opening import OpenModel, open_model
from invad.inference.predictor import Prediction, Predictor, load
from invad.inference.scorer import Scorer

__all__ = ["Export", "OpenModel", "Prediction", "Predictor", "Scorer", "export", "load", "open_model"]
