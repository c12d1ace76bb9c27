"""Training steps: their inputs, the trainer, losses beside the guidance, health, CUDA graphs."""

from dfast.training.build import build_trainer
from dfast.training.losses import Loss, regularizer_losses
from dfast.training.trainer import Metrics, Trainer

__all__ = ["Loss", "Metrics", "Trainer", "build_trainer", "regularizer_losses"]
