"""Callbacks for `dfast.train` that pass on what a run reports: `TensorBoard`."""

from dfast.callbacks.tensorboard import TensorBoard

__all__ = ["TensorBoard"]
