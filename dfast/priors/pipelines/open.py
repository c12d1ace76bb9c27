"""Open a diffusers folder as the prior of its family."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from dfast.config import PriorConfig
from dfast.ops.ambient import neutral_torch_state
from dfast.priors.loading.families import detect_family
from dfast.priors.loading.folder import Folder
from dfast.priors.pipelines.base import TextPrior
from dfast.priors.pipelines.conventions import CONVENTIONS
from dfast.priors.pipelines.deepfloyd import DeepFloyd
from dfast.priors.pipelines.multi_view import MultiViewDiffusion
from dfast.priors.pipelines.sdxl import StableDiffusionXL
from dfast.priors.pipelines.stable_diffusion import StableDiffusion
from dfast.priors.pipelines.transformer import TransformerPrior

FAMILIES: dict[str, Callable[[Folder, torch.device, PriorConfig], TextPrior]] = {
    "sd": StableDiffusion,
    "sdxl": StableDiffusionXL,
    "if": DeepFloyd,
    "mvdream": MultiViewDiffusion,
    **{name: partial(TransformerPrior, conventions=made) for name, made in CONVENTIONS.items()},
}
"""By what `detect_family` returns. A new family is an entry here, or in `CONVENTIONS`, and a rule
there."""


@neutral_torch_state(keep_grad=True)
def open_folder(folder: Folder, device: torch.device, options: PriorConfig) -> TextPrior:
    """Open the prior in a folder; no weights are read.

    Args:
        folder: a pipeline folder.
        device: where the networks will run.
        options: how they are loaded and run.

    Raises:
        PriorError: if the folder is incomplete, damaged or of no supported family.
    """
    return FAMILIES[detect_family(folder)](folder, device, options)
