"""The cameras that the embedded prior is trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from dfast.scene.cameras import CameraBatch, aimed


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Return n numbers in [low, high), on the generator's device."""
    return low + (high - low) * torch.rand(n, device=generator.device, generator=generator)


def random_cameras(
    n: int, elevation: tuple[float, float], generator: torch.Generator
) -> CameraBatch:
    """Draw n cameras from all around, at elevations in the given range of degrees."""
    return aimed(
        uniform(n, -180, 180, generator),
        uniform(n, *elevation, generator),
        uniform(n, 2.7, 3.3, generator),
        uniform(n, 37, 43, generator),
    )
