"""What a density field shows at points of its surface: colour, exact place and normal.

A field has no surface but a density that rises within a few hundredths of a world unit. So each
point gets a short ray along its normal, from outside to inside, which is composited as the renderer
composites its rays.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dfast.mesh.density_grid import RADIUS, DensityField, sample

OFFSETS = torch.linspace(0.04, -0.12, 9, dtype=torch.float32, device="cpu")
"""Samples of a ray: distances along the outward normal, in world units."""
FAINT = 0.01
"""Weight below which a sample's albedo is not asked for."""
TOGETHER = 1 << 16
"""Most rays that are looked along together, which bounds the memory."""


def look_at(
    density_field: DensityField, points: Tensor, normals: Tensor, level: float
) -> tuple[Tensor, Tensor]:
    """Return the albedo that surface points show, and the points moved onto the level set.

    Args:
        density_field: the field.
        points: [N, 3] near the surface, on the field's device.
        normals: [N, 3] unit vectors, outward.
        level: density at the surface.

    Returns:
        The composited albedo [N, 3], and the points of the rays, [N, 3], where the density first
        reaches the level near the given points; those that find none stay.
    """
    parts = zip(points.split(TOGETHER), normals.split(TOGETHER), strict=True)
    looks = [_look(density_field, *part, level) for part in parts]
    albedo, moved = (torch.cat(part) for part in zip(*looks, strict=True))
    return albedo, moved


@torch.no_grad()
def _look(
    density_field: DensityField, points: Tensor, normals: Tensor, level: float
) -> tuple[Tensor, Tensor]:
    """Return what `look_at` returns, by one call of each function of the field."""
    rays = points + OFFSETS.to(points)[:, None, None] * normals  # [K, N, 3]
    flat = rays.flatten(0, 1)
    inside = flat.square().sum(-1) <= RADIUS**2  # the density is zero outside, as in renders
    density = (density_field.density(flat).to(points) * inside).view(rays.shape[:2])
    weights = _weights(density)
    seen = weights > FAINT
    weights = weights * seen
    albedo = torch.zeros_like(rays)
    albedo[seen] = density_field.albedo(rays[seen]).to(points).clamp(0, 1)
    mean = (weights[..., None] * albedo).sum(0) / weights.sum(0)[:, None]
    return mean, points + _crossing(density, level)[:, None] * normals


def _weights(density: Tensor) -> Tensor:
    """Return the shares [K, N] of samples in the colour of their rays; the last takes the rest."""
    step = float(OFFSETS[0] - OFFSETS[1])
    transmittance = torch.exp(-step * density).cumprod(0)
    before = torch.cat([torch.ones_like(density[:1]), transmittance[:-1]])
    weights = before - transmittance
    weights[-1] += transmittance[-1]
    return weights


def _crossing(density: Tensor, level: float) -> Tensor:
    """Return the offset [N] at which the density rises through the level, the nearest to 0."""
    value = density / (density + level) - 0.5  # zero at the level; it saturates in steep densities
    enters = (value[:-1] < 0) & (value[1:] >= 0)  # [K - 1, N]
    offsets = OFFSETS.to(density)
    middle = (offsets[:-1] + offsets[1:]).abs()[:, None]
    nearest = torch.where(enters, middle, torch.inf).argmin(0, keepdim=True)
    low, high = value.gather(0, nearest)[0], value.gather(0, nearest + 1)[0]
    outside, inside = offsets[nearest[0]], offsets[nearest[0] + 1]
    share = low / (low - high).clamp(max=-1e-12)
    return torch.where(enters.any(0), outside + share * (inside - outside), 0.0)


def normals_at(points: Tensor, density: Tensor, level: float) -> Tensor:
    """Return the unit directions [N, 3] in which the density falls.

    They are differences over a cell of the density grid, blurred by about a cell. Differences
    of the field itself see lumps that are finer than that: in trained fields they are noise. The
    density is compressed to density / (density + level), so that the differences are about the
    level set and not about peaks beside it.

    Args:
        points: [N, 3] on the level set, on any device.
        density: a density grid [n, n, n].
        level: density at the surface.

    Returns:
        [N, 3], zeros where the density is even.
    """
    grid = density.to(points)
    value = _blurred(grid / (grid + level))
    half = RADIUS / len(grid)
    sides = []
    for axis in range(3):
        step = torch.zeros_like(points[0])
        step[axis] = half
        sides.append(sample(value, points - step) - sample(value, points + step))
    falls = torch.stack(sides, 1)
    return torch.where(falls.norm(dim=1, keepdim=True) > 1e-6, normalize(falls, dim=1), 0.0)


def _blurred(grid: Tensor) -> Tensor:
    """Return a grid [n, n, n] whose nodes take a quarter, a half, a quarter along each axis."""
    for axis in range(3):
        ends = [grid.narrow(axis, 0, 1), grid, grid.narrow(axis, grid.shape[axis] - 1, 1)]
        padded, length = torch.cat(ends, axis), grid.shape[axis]
        before, after = padded.narrow(axis, 0, length), padded.narrow(axis, 2, length)
        grid = 0.25 * before + 0.5 * grid + 0.25 * after
    return grid
