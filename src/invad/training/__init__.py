"""Training: the loop, the optimiser, progress."""

from invad.training.loop import resume, train

__all__ = ["resume", "train"]
