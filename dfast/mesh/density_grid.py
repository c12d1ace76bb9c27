"""A trained field as a dense grid of densities: the common ground of export and evaluation.

Axes of every grid here are (x, y, z), nodes sit at the centres of ``n`` equal cells over [-1, 1],
and the density is zero outside the bounding sphere of radius 1, exactly where the renderer never
looks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

RADIUS = 1.0


class DensityField(Protocol):
    """What export and evaluation need of a result; any object with these two methods will do."""

    def density(self, x: Tensor) -> Tensor:
        """World points [N, 3] to density per unit length [N]."""

    def albedo(self, x: Tensor) -> Tensor:
        """World points [N, 3] to RGB in [0, 1], [N, 3]."""


def grid_points(n: int) -> Tensor:
    """Cell centres of an ``n``-cubed grid over [-1, 1]: float32 [n**3, 3], z fastest."""
    line = (torch.arange(n, dtype=torch.float32) + 0.5) * (2 * RADIUS / n) - RADIUS
    return torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)


def query(
    function: Callable[[Tensor], Tensor], x: Tensor, device: str | torch.device = "cpu"
) -> Tensor:
    """``function(x)`` in bounded chunks without gradients, x [N, 3]; the float32 answer is on the
    CPU.
    """
    with torch.no_grad():
        parts = [function(part.to(device)).float().cpu() for part in x.split(1 << 17)]
    return torch.cat(parts) if parts else function(x.to(device)).float().cpu()


def device_of(solid: DensityField) -> torch.device:
    """The device a result wants its query points on (the CPU for objects that do not say)."""
    return torch.device(getattr(solid, "device", "cpu"))


def density_grid(solid: DensityField, n: int = 64) -> Tensor:
    """Density [n, n, n] of a result at the cell centres; zero outside the bounding sphere."""
    points = grid_points(n)
    inside = (points.square().sum(-1) <= RADIUS**2).nonzero()[:, 0]
    values = torch.zeros(len(points))
    values[inside] = query(solid.density, points[inside], device_of(solid))
    return values.reshape(n, n, n)


def projections(
    density: Tensor, yaws: tuple[float, ...] = (0, 45, 90, 135)
) -> tuple[Tensor, Tensor]:
    """Parallel views of a density grid: from the horizon at each yaw (degrees), then one from
    above.

    Returns (peak, opacity), each [V, n, n]: along every ray the largest density, and
    ``1 - exp(-integral of density)``, what a renderer shows as opacity.
    """
    n = density.shape[0]
    step = 2 * RADIUS / n
    volumes = []
    for yaw in yaws:
        c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
        points = grid_points(n)
        turned = torch.stack(
            [
                c * points[:, 0] - s * points[:, 1],
                s * points[:, 0] + c * points[:, 1],
                points[:, 2],
            ],
            -1,
        )
        volumes.append(sample(density, turned).reshape(n, n, n))
    volumes.append(density.permute(2, 0, 1))
    stack = torch.stack(volumes)  # [V, depth, n, n]
    return stack.amax(1), 1 - torch.exp(-stack.sum(1) * step)


def sample(grid: Tensor, x: Tensor) -> Tensor:
    """Trilinear value [N] of ``grid`` [n, n, n] at world points [N, 3]; zero outside the cube."""
    # grid_sample wants its last coordinate to name the slowest axis, hence the flip
    where = x.flip(-1).reshape(1, 1, 1, -1, 3) / RADIUS
    return F.grid_sample(grid[None, None], where, align_corners=False)[0, 0, 0, 0]


def silhouette_level(density: Tensor, candidates: int = 64) -> float:
    """The density whose level set best covers the rendered silhouettes, or 0.0 for an empty scene.

    In each parallel view a surface at level l covers the pixels whose ray meets a density above l.
    The level returned has the largest soft IoU of that cover with the rendered opacity, over all
    views together.
    """
    peak, opacity = projections(density)
    top = float(peak.max())
    if not top > 0 or float(opacity.max()) < 0.05:
        return 0.0
    levels = torch.logspace(
        math.log10(max(top * 1e-3, 0.02 * min(1.0, top))), math.log10(top * 0.95), candidates
    )
    best, best_score = float(levels[0]), -1.0
    for level in levels.tolist():
        cover = (peak > level).float()
        both = (cover * opacity).sum()
        score = float(both / (cover.sum() + opacity.sum() - both))
        if score > best_score:
            best, best_score = level, score
    return best
