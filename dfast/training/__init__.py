"""One training step: its inputs, the trainer, health checks, and CUDA graphs."""

from dfast.training.trainer import Metrics, Trainer

__all__ = ["Metrics", "Trainer"]
