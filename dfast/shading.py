"""How each picture is lit: albedo, diffuse or textureless, and from where.

c = rho (diffuse max(0, n . l) + ambient), l the direction to a point light (`dfast.ops.shade`).
Albedo is ambient 1 and diffuse 0; textureless replaces rho by white.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ._rng import uniform
from .cameras import CameraBatch
from .config import LightConfig, ShadingConfig
from .schedules import lit_probability

LOOKS = ("albedo", "diffuse", "textureless")


@dataclass(frozen=True)
class ShadingBatch:
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

    def to(self, device: torch.device | str) -> ShadingBatch:
        """The same shading on `device`."""
        return ShadingBatch(
            light_position=self.light_position.to(device, non_blocking=True),
            ambient=self.ambient.to(device, non_blocking=True),
            diffuse=self.diffuse.to(device, non_blocking=True),
            textureless=self.textureless.to(device, non_blocking=True),
            lit=self.lit,
        )


def sample_shading(
    shading: ShadingConfig,
    light: LightConfig,
    cameras: CameraBatch,
    progress: float,
    generator: torch.Generator,
) -> ShadingBatch:
    """A look and a light for each camera; cameras and result live on the generator's device, the
    host.
    """
    n, device = len(cameras), generator.device
    odds = torch.tensor([shading.albedo, shading.diffuse, shading.textureless], device=device)
    odds = odds / odds.sum()
    lit = lit_probability(progress, shading)
    odds = torch.stack([1.0 - lit * (odds[1] + odds[2]), lit * odds[1], lit * odds[2]])
    draw = torch.rand(n, generator=generator, device=device)
    look = (draw[:, None] >= torch.cumsum(odds, 0)[None, :2]).sum(-1)
    spread = light.spread * torch.randn(n, 3, generator=generator, device=device)
    direction = normalize(normalize(cameras.origin, dim=-1) + spread, dim=-1)
    position = uniform(n, *light.distance, generator)[:, None] * direction
    ambient = uniform(n, *light.ambient, generator)
    is_lit = look > 0
    return ShadingBatch(
        light_position=position,
        ambient=torch.where(is_lit, ambient, 1.0),
        diffuse=torch.where(is_lit, 1.0 - ambient, 0.0),
        textureless=(look == 2).float(),
        lit=bool(is_lit.any()),
    )


def fixed_shading(look: str, cameras: CameraBatch, ambient: float = 0.3) -> ShadingBatch:
    """One look for all, lit from above and to the left of each camera. Raises ValueError on an
    unknown look.
    """
    if look not in LOOKS:
        raise ValueError(f"shading: expected one of {', '.join(LOOKS)}, got {look!r}")
    n, device = len(cameras), cameras.origin.device
    right, up = cameras.rotation[..., 0], cameras.rotation[..., 1]
    ones = torch.ones(n, device=device)
    lit = look != "albedo"
    return ShadingBatch(
        light_position=cameras.origin + 0.5 * cameras.distance[:, None] * (up - right),
        ambient=ones * (ambient if lit else 1.0),
        diffuse=ones * (1.0 - ambient if lit else 0.0),
        textureless=ones * (1.0 if look == "textureless" else 0.0),
        lit=lit,
    )
