"""How each picture is lit: albedo, diffuse or textureless, and from where.

c = rho (diffuse max(0, n . l) + ambient), l the direction to a point light (`dfast.ops.shade`).
Albedo is ambient 1 and diffuse 0; textureless replaces rho by white.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dfast.scene.cameras import CameraBatch

SHADING_MODES = ("albedo", "diffuse", "textureless")


@dataclass(frozen=True)
class Lighting:
    """The light and look of B pictures."""

    light_position: Tensor
    """[B,3]"""
    ambient: Tensor
    """[B] in [0, 1]"""
    diffuse: Tensor
    """[B] in [0, 1]"""
    textureless: Tensor
    """[B] 1 where the albedo is replaced by white, else 0"""
    lit: bool
    """Whether any picture needs normals; known on the host, so that asking costs no
    synchronisation.
    """

    def to(self, device: torch.device | str) -> Lighting:
        """The same shading on `device`."""
        return Lighting(
            light_position=self.light_position.to(device, non_blocking=True),
            ambient=self.ambient.to(device, non_blocking=True),
            diffuse=self.diffuse.to(device, non_blocking=True),
            textureless=self.textureless.to(device, non_blocking=True),
            lit=self.lit,
        )


def fixed_lighting(look: str, cameras: CameraBatch, ambient: float = 0.3) -> Lighting:
    """One look for all, lit from above and to the left of each camera. Raises ValueError on an
    unknown look.
    """
    if look not in SHADING_MODES:
        raise ValueError(f"shading: expected one of {', '.join(SHADING_MODES)}, got {look!r}")
    n, device = len(cameras), cameras.origin.device
    right, up = cameras.rotation[..., 0], cameras.rotation[..., 1]
    ones = torch.ones(n, device=device)
    lit = look != "albedo"
    return Lighting(
        light_position=cameras.origin + 0.5 * cameras.distance[:, None] * (up - right),
        ambient=ones * (ambient if lit else 1.0),
        diffuse=ones * (1.0 - ambient if lit else 0.0),
        textureless=ones * (1.0 if look == "textureless" else 0.0),
        lit=lit,
    )
