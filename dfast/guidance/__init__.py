"""From rendered images to a gradient on them: the interface, and score distillation."""

from dfast.guidance.base import Guidance, GuidanceBatch
from dfast.guidance.diffusion import DiffusionGuidance
from dfast.guidance.variants import VARIANTS, Distillation, Variant, conditions_of
from dfast.guidance.variational import VariationalGuidance

__all__ = [
    "VARIANTS", "DiffusionGuidance", "Distillation", "Guidance", "GuidanceBatch", "Variant",
    "VariationalGuidance", "conditions_of",
]  # fmt: skip
