"""Priors of the families of diffusers pipelines: UNets, a class each, and transformers, a table."""

from dfast.priors.pipelines.base import TextCondition, TextPrior
from dfast.priors.pipelines.conventions import CONVENTIONS, Conventions
from dfast.priors.pipelines.deepfloyd import DeepFloyd
from dfast.priors.pipelines.open import open_folder
from dfast.priors.pipelines.sdxl import StableDiffusionXL
from dfast.priors.pipelines.stable_diffusion import StableDiffusion
from dfast.priors.pipelines.transformer import TransformerPrior
from dfast.priors.pipelines.vae import LatentEncoder

__all__ = [
    "CONVENTIONS", "Conventions", "DeepFloyd", "LatentEncoder", "StableDiffusion",
    "StableDiffusionXL", "TextCondition", "TextPrior", "TransformerPrior", "open_folder",
]  # fmt: skip
