"""InvAD: one model that learns the normal images of many products at once and shows where a new one is not normal.

    import invad

    run = invad.train(invad.TrainSettings(data=("folder:photos",)), "runs/parts")
    evaluation = invad.evaluate(run)
    prediction = invad.load("runs/parts")("new.jpg")

Importing this package binds names and does nothing else; what a name needs is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from invad.data import DataSet, check_dataset, open_dataset
    from invad.errors import InvadError
    from invad.evaluation import evaluate, evaluate_maps
    from invad.importing import import_weights
    from invad.inference import Calibration, Prediction, Predictor, calibrate, load
    from invad.model import InvAD, build_model
    from invad.records import Record
    from invad.runs import Run
    from invad.saved_evaluation import Evaluation
    from invad.settings import TrainSettings
    from invad.training import dry_run, reproduce, resume, train

_HOME = {
    "Calibration": "invad.inference",
    "DataSet": "invad.data",
    "Evaluation": "invad.saved_evaluation",
    "InvAD": "invad.model",
    "InvadError": "invad.errors",
    "Prediction": "invad.inference",
    "Predictor": "invad.inference",
    "Record": "invad.records",
    "Run": "invad.runs",
    "TrainSettings": "invad.settings",
    "build_model": "invad.model",
    "calibrate": "invad.inference",
    "check_dataset": "invad.data",
    "dry_run": "invad.training",
    "evaluate": "invad.evaluation",
    "evaluate_maps": "invad.evaluation",
    "import_weights": "invad.importing",
    "load": "invad.inference",
    "open_dataset": "invad.data",
    "reproduce": "invad.training",
    "resume": "invad.training",
    "train": "invad.training",
}

__all__ = [
    "Calibration",
    "DataSet",
    "Evaluation",
    "InvAD",
    "InvadError",
    "Prediction",
    "Predictor",
    "Record",
    "Run",
    "TrainSettings",
    "build_model",
    "calibrate",
    "check_dataset",
    "dry_run",
    "evaluate",
    "evaluate_maps",
    "import_weights",
    "load",
    "open_dataset",
    "reproduce",
    "resume",
    "train",
]


def __getattr__(name: str) -> object:
    """Import a public name from its home on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'invad' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
