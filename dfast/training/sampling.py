"""Draw the cameras, the lighting and the timesteps of a training step from seeded generators."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dfast.config import CameraConfig, LightConfig, ShadingConfig
from dfast.config.schedules import lit_probability
from dfast.scene.cameras import CameraBatch, look_at, position
from dfast.scene.lighting import Lighting


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Return n independent draws from U(low, high), float32 [n] on the generator's device."""
    return low + (high - low) * torch.rand(n, generator=generator, device=generator.device)


def stratified(n: int, generator: torch.Generator) -> Tensor:
    """Return n draws in [0, 1), one from each interval [i/n, (i+1)/n), in shuffled order.

    Args:
        n: number of draws.
        generator: source of randomness.

    Returns:
        float32 [n] on the generator's device.
    """
    strata = torch.randperm(n, generator=generator, device=generator.device)
    jitter = torch.rand(n, generator=generator, device=generator.device)
    return ((strata + jitter) / n).clamp(max=1.0 - 2.0**-24)


def sample_cameras(config: CameraConfig, n: int, generator: torch.Generator) -> CameraBatch:
    """Draw training cameras from the distribution of DreamFusion (arXiv 2209.14988).

    Args:
        config: distributions. With `stratified`, each n-th of the circle has one azimuth. The
            elevation mode "mixed" draws each elevation uniform in angle or uniform in area with
            even odds, as the paper does.
        n: number of cameras.
        generator: source of randomness; the cameras are on its device.
    """
    device = generator.device
    low, high = config.elevation
    in_angle = uniform(n, low, high, generator)
    limits = torch.sin(torch.deg2rad(torch.tensor([low, high])))
    in_area = torch.rad2deg(torch.asin(uniform(n, float(limits[0]), float(limits[1]), generator)))
    coin = torch.rand(n, generator=generator, device=device) < 0.5
    by_area = {"angle": torch.zeros_like(coin), "area": torch.ones_like(coin), "mixed": coin}
    elevation = torch.where(by_area[config.elevation_mode], in_area, in_angle).clamp(low, high)
    turn = stratified(n, generator) if config.stratified else uniform(n, 0.0, 1.0, generator)
    turn = (turn + torch.rand(1, generator=generator, device=device)) % 1.0
    distance, fov = uniform(n, *config.distance, generator), uniform(n, *config.fov, generator)
    origin = position(360.0 * turn, elevation, distance)
    offset = 2.0 * torch.rand(n, 3, generator=generator, device=device) - 1.0
    target = torch.randn(n, 3, generator=generator, device=device) * config.lookat_jitter
    tilt = torch.randn(n, 3, generator=generator, device=device) * config.up_jitter
    up = torch.tensor([0.0, 0.0, 1.0], device=device) + tilt
    return look_at(origin + config.position_jitter * offset, target, up, fov)


def sample_timesteps(
    n: int, low: float, high: float, count: int, generator: torch.Generator
) -> Tensor:
    """Draw timesteps, one from each n-th of a range, in shuffled order.

    Args:
        n: number of timesteps.
        low: start of the range, as a fraction of `count`.
        high: end of the range, as a fraction of `count`.
        count: number of timesteps of the noise schedule.
        generator: source of randomness.

    Returns:
        int64 [n] in [0, count) on the generator's device.
    """
    t = (low + (high - low) * stratified(n, generator)) * count
    return t.long().clamp(0, count - 1)


def sample_lighting(
    shading: ShadingConfig,
    light: LightConfig,
    cameras: CameraBatch,
    progress: float,
    generator: torch.Generator,
) -> Lighting:
    """Draw a shading mode and a point light for each camera, as DreamFusion does.

    Args:
        shading: odds of the shading modes, and when those other than albedo begin.
        light: distribution of the point light.
        cameras: B cameras, on the generator's device.
        progress: fraction of the run, in [0, 1].
        generator: source of randomness, on the host, so that `lit` costs no synchronisation.
    """
    n, device = len(cameras), generator.device
    odds = torch.tensor([shading.albedo, shading.diffuse, shading.textureless], device=device)
    odds = odds / odds.sum()
    lit = lit_probability(progress, shading)
    odds = torch.stack([1.0 - lit * (odds[1] + odds[2]), lit * odds[1], lit * odds[2]])
    draw = torch.rand(n, generator=generator, device=device)
    mode = (draw[:, None] >= torch.cumsum(odds, 0)[None, :2]).sum(-1)  # index in SHADING_MODES
    spread = light.spread * torch.randn(n, 3, generator=generator, device=device)
    direction = normalize(normalize(cameras.origin, dim=-1) + spread, dim=-1)
    position = uniform(n, *light.distance, generator)[:, None] * direction
    ambient = uniform(n, *light.ambient, generator)
    is_lit = mode > 0
    return Lighting(
        light_position=position,
        ambient=torch.where(is_lit, ambient, 1.0),
        diffuse=torch.where(is_lit, 1.0 - ambient, 0.0),
        textureless=(mode == 2).float(),
        lit=bool(is_lit.any()),
    )
