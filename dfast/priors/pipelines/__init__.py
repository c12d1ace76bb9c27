"""Priors of the families of diffusers pipelines: Stable Diffusion, SDXL, DeepFloyd IF."""

from dfast.priors.pipelines.base import TextCondition, TextPrior
from dfast.priors.pipelines.deepfloyd import DeepFloyd
from dfast.priors.pipelines.open import open_folder
from dfast.priors.pipelines.sdxl import StableDiffusionXL
from dfast.priors.pipelines.stable_diffusion import StableDiffusion
from dfast.priors.pipelines.vae import LatentEncoder

__all__ = [
    "DeepFloyd", "LatentEncoder", "StableDiffusion", "StableDiffusionXL", "TextCondition",
    "TextPrior", "open_folder",
]  # fmt: skip
