"""From rendered images to a gradient on them: the interface, score distillation, CLIP."""

from dfast.guidance.base import Guidance, GuidanceBatch
from dfast.guidance.clip import Augmentation, ClipGuidance, ClipGuide
from dfast.guidance.diffusion import DiffusionGuidance
from dfast.guidance.variants import VARIANTS, Distillation, Variant, conditions_of

__all__ = [
    "VARIANTS", "Augmentation", "ClipGuidance", "ClipGuide", "DiffusionGuidance", "Distillation",
    "Guidance", "GuidanceBatch", "Variant", "conditions_of",
]  # fmt: skip
