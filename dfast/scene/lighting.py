"""How each image is lit and shaded: albedo, diffuse or textureless, and from where.

A sample of albedo rho and unit normal n has the colour c = rho (diffuse max(0, n . l) + ambient),
where l is the direction to a point light: see "Shading" in docs/math.md and DreamFusion
(arXiv 2209.14988). The shading mode "albedo" is ambient 1 and diffuse 0; "textureless" replaces rho
by white.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dfast.scene.cameras import CameraBatch
from dfast.scene.tree import map_tensors

SHADING_MODES = ("albedo", "diffuse", "textureless")


@dataclass(frozen=True)
class Lighting:
    """The light and the shading mode of B images; nothing here is differentiable."""

    light_position: Tensor
    """[B, 3] point light, world coordinates"""
    ambient: Tensor
    """[B] in [0, 1]"""
    diffuse: Tensor
    """[B] in [0, 1]"""
    textureless: Tensor
    """[B] 1 where white replaces the albedo, else 0"""
    lit: bool
    """Whether any image needs normals. It is a Python value, so that code may branch on it without
    a synchronisation with the device."""

    def to(self, device: torch.device | str) -> Lighting:
        """Return the same lighting on `device`."""
        return map_tensors(lambda values: values.to(device, non_blocking=True), self)


def fixed_lighting(mode: str, cameras: CameraBatch, ambient: float = 0.3) -> Lighting:
    """Return lighting of one shading mode, from above and to the left of each camera.

    Args:
        mode: one of `SHADING_MODES`.
        cameras: the B cameras whose images are lit.
        ambient: in [0, 1], strength of the ambient light unless the mode is "albedo"; the diffuse
            strength is the rest.

    Raises:
        ValueError: on an unknown mode.
    """
    if mode not in SHADING_MODES:
        raise ValueError(f"shading: expected one of {', '.join(SHADING_MODES)}, got {mode!r}")
    n, device = len(cameras), cameras.origin.device
    right, up = cameras.rotation[..., 0], cameras.rotation[..., 1]
    ones = torch.ones(n, device=device)
    lit = mode != "albedo"
    return Lighting(
        light_position=cameras.origin + 0.5 * cameras.distance[:, None] * (up - right),
        ambient=ones * (ambient if lit else 1.0),
        diffuse=ones * (1.0 - ambient if lit else 0.0),
        textureless=ones * (1.0 if mode == "textureless" else 0.0),
        lit=lit,
    )
