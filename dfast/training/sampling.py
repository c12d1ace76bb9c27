"""Draw the cameras, the lighting and the timesteps of a training step from seeded generators."""

from __future__ import annotations

import math
from collections.abc import Sequence

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


def stratified(n: int, generator: torch.Generator, steps: int = 1) -> Tensor:
    """Return n draws in [0, 1), one from each interval [i/n, (i+1)/n), in shuffled order.

    Args:
        n: number of draws.
        generator: source of randomness.
        steps: how often, S.

    Returns:
        float32 [S n] on the generator's device.
    """
    shape = (steps, n)
    strata = torch.rand(shape, generator=generator, device=generator.device).argsort(1)
    jitter = torch.rand(shape, generator=generator, device=generator.device)
    return ((strata + jitter) / n).clamp(max=1.0 - 2.0**-24).flatten()


def sample_cameras(
    config: CameraConfig, n: int, generator: torch.Generator, steps: int = 1
) -> CameraBatch:
    """Draw training cameras from the distribution of DreamFusion (arXiv 2209.14988).

    Args:
        config: distributions. With `stratified`, each n-th of the circle has one azimuth. The
            elevation mode "mixed" draws each elevation uniform in angle or uniform in area with
            even odds, as the paper does; "beta" inverts the distribution function of Beta(1, 5),
            1 - (1 - x)^5. Cameras of a `ring` follow each other, by growing azimuth.
        n: number of cameras of a step, a multiple of those of a ring.
        generator: source of randomness; the cameras are on its device.
        steps: number of steps; their cameras follow each other.
    """
    device, ring = generator.device, config.ring
    rings, views = n // ring, n * steps
    n = rings * steps
    low, high = config.elevation
    in_angle = uniform(n, low, high, generator)
    limits = torch.sin(torch.deg2rad(torch.tensor([low, high])))
    in_area = torch.rad2deg(torch.asin(uniform(n, float(limits[0]), float(limits[1]), generator)))
    coin = torch.rand(n, generator=generator, device=device) < 0.5
    if config.elevation_mode == "beta":
        part = (in_angle - low) / max(high - low, 1e-6)
        in_angle = low + (high - low) * (1.0 - (1.0 - part.clamp(0.0, 1.0)) ** 0.2)
    always = torch.ones_like(coin)
    by_area = {"area": always, "mixed": coin}.get(config.elevation_mode, ~always)
    elevation = torch.where(by_area, in_area, in_angle).clamp(low, high)
    if config.stratified:
        turn = stratified(rings, generator, steps)
    else:
        turn = uniform(n, 0.0, 1.0, generator)
    turned = torch.rand(steps, generator=generator, device=device).repeat_interleave(rings)
    distance, fov = uniform(n, *config.distance, generator), _fovs(config, n, generator)
    # Each ring begins in its own first part of the circle, and its others are a part further each.
    turn = ((turn[:, None] + torch.arange(ring, device=device)) / ring + turned[:, None]) % 1.0
    elevation, distance, fov = (v.repeat_interleave(ring) for v in (elevation, distance, fov))
    origin = position(360.0 * turn.flatten(), elevation, distance)
    offset = 2.0 * torch.rand(views, 3, generator=generator, device=device) - 1.0
    target = torch.randn(views, 3, generator=generator, device=device) * config.lookat_jitter
    tilt = torch.randn(views, 3, generator=generator, device=device) * config.up_jitter
    up = torch.tensor([0.0, 0.0, 1.0], device=device) + tilt
    return look_at(origin + config.position_jitter * offset, target, up, fov)


def _fovs(config: CameraConfig, n: int, generator: torch.Generator) -> Tensor:
    """Return n angles of view in degrees, uniform in the angle or in the focal length."""
    low, high = config.fov
    if config.fov_mode == "angle":
        return uniform(n, low, high, generator)
    long, short = (0.5 / math.tan(math.radians(0.5 * fov)) for fov in (low, high))
    return torch.rad2deg(2.0 * torch.atan(0.5 / uniform(n, short, long, generator)))


def sample_timesteps(
    n: int, ranges: Sequence[tuple[float, float]], count: int, generator: torch.Generator
) -> Tensor:
    """Draw timesteps, one from each n-th of a step's range, in shuffled order.

    Args:
        n: number of timesteps of a step.
        ranges: (low, high) of each of S steps, as fractions of `count`.
        count: number of timesteps of the noise schedule.
        generator: source of randomness.

    Returns:
        int64 [S n] in [0, count) on the generator's device.
    """
    limits = torch.tensor(ranges, device=generator.device).repeat_interleave(n, 0)
    low, high = limits.unbind(1)
    t = (low + (high - low) * stratified(n, generator, len(ranges))) * count
    return t.long().clamp(0, count - 1)


def sample_lighting(
    shading: ShadingConfig,
    light: LightConfig,
    cameras: CameraBatch,
    progress: Sequence[float],
    generator: torch.Generator,
    ring: int = 1,
) -> Lighting:
    """Draw a shading mode and a point light for each camera, as DreamFusion does.

    Args:
        shading: odds of the shading modes, and when those other than albedo begin.
        light: distribution of the point light.
        cameras: B cameras, on the generator's device, as many for each step.
        progress: fraction of the run at each of S steps, in [0, 1].
        generator: source of randomness, on the host, so that `lit` costs no synchronisation.
        ring: neighbouring cameras that share what is drawn; each has the light beside itself.
    """
    n, device = len(cameras) // ring, generator.device
    odds = torch.tensor([shading.albedo, shading.diffuse, shading.textureless], device=device)
    odds = odds / odds.sum()
    chances = [lit_probability(p, shading) for p in progress]
    lit = torch.tensor(chances, device=device).repeat_interleave(n // len(chances))
    odds = torch.stack([1.0 - lit * (odds[1] + odds[2]), lit * odds[1], lit * odds[2]], 1)
    draw = torch.rand(n, generator=generator, device=device)
    mode = (draw[:, None] >= torch.cumsum(odds, 1)[:, :2]).sum(-1)  # index in SHADING_MODES
    spread = light.spread * torch.randn(n, 3, generator=generator, device=device)
    away, ambient = (uniform(n, *span, generator) for span in (light.distance, light.ambient))
    mode, spread, away, ambient = (
        drawn.repeat_interleave(ring, 0) for drawn in (mode, spread, away, ambient)
    )
    middle = cameras.origin
    if light.around == "direction":
        middle = normalize(middle, dim=-1)
    direction = normalize(middle + spread, dim=-1)
    is_lit = mode > 0
    return Lighting(
        light_position=away[:, None] * direction,
        ambient=torch.where(is_lit, ambient, 1.0),
        diffuse=torch.where(is_lit, 1.0 - ambient, 0.0),
        textureless=(mode == 2).float(),
        lit=bool(is_lit.any()),
    )
