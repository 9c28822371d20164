"""Trained models at work."""

from invad.inference.predictor import Prediction, Predictor, load

__all__ = ["Prediction", "Predictor", "load"]
