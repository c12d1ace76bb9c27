"""From rendered images to a gradient on them: the interface, and score distillation."""

from dfast.guidance.base import Guidance, GuidanceBatch
from dfast.guidance.diffusion import DiffusionGuidance

__all__ = ["DiffusionGuidance", "Guidance", "GuidanceBatch"]
