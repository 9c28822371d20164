"""Training: the loop, the optimiser, progress."""

from invad.training.dry_run import Forecast, dry_run
from invad.training.loop import resume, train
from invad.training.reproduce import Reproduction, reproduce

__all__ = ["Forecast", "Reproduction", "dry_run", "reproduce", "resume", "train"]
