"""Open a diffusers folder as the prior of its family."""

from __future__ import annotations

from typing import Any

import torch

from dfast.config import PriorConfig
from dfast.priors.loading.families import family
from dfast.priors.loading.folder import Folder
from dfast.priors.pipelines.base import TextPrior


def open_folder(folder: Folder, device: torch.device, options: PriorConfig) -> TextPrior:
    """The prior in `folder`; no weights are read. Raises PriorError."""
    made: Any
    match family(folder):
        case "sd":
            from dfast.priors.pipelines.stable_diffusion import StableDiffusion as made
        case "sdxl":
            from dfast.priors.pipelines.sdxl import StableDiffusionXL as made
        case _:
            from dfast.priors.pipelines.deepfloyd import DeepFloyd as made
    prior: TextPrior = made(folder, device, options)
    return prior
