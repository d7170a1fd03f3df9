"""Training: the plain loop, its optimizers and its checkpoints."""

from elman.train.loop import Reporter, Result, train

__all__ = ["Reporter", "Result", "train"]
