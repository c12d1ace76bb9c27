"""Sample a density field on a dense grid: the common ground of export and evaluation.

Axes of every grid here are (x, y, z). Nodes sit at the centres of n equal cells a side of the cube
[-1, 1]^3, and the density is zero outside the bounding sphere of radius 1, where the renderer
places no samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

RADIUS = 1.0
"""Radius of the bounding sphere and half the side of the grid, in world units."""


class DensityField(Protocol):
    """What export and evaluation need of a result; any object with these two methods will do."""

    def density(self, x: Tensor) -> Tensor:
        """Return the density per unit length [N] at world points x [N, 3]."""

    def albedo(self, x: Tensor) -> Tensor:
        """Return display RGB in [0, 1], [N, 3], at world points x [N, 3]."""


def grid_points(n: int) -> Tensor:
    """Return the cell centres of a grid of n cells a side, float32 [n**3, 3], z fastest."""
    line = _centers(n)
    return torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)


def _centers(n: int, device: str | torch.device = "cpu") -> Tensor:
    """Return the coordinates [n] of the cell centres along an axis."""
    return (torch.arange(n, dtype=torch.float32, device=device) + 0.5) * (2 * RADIUS / n) - RADIUS


def query(
    function: Callable[[Tensor], Tensor], x: Tensor, device: str | torch.device = "cpu"
) -> Tensor:
    """Evaluate a function of points in chunks of bounded size, without gradients.

    Args:
        function: points [n, 3] on `device` to values [n, ...].
        x: points [N, 3].
        device: where the function is evaluated.

    Returns:
        The values [N, ...], float32, on the CPU.
    """
    with torch.no_grad():
        parts = [function(part.to(device)).float().cpu() for part in x.split(1 << 17)]
    return torch.cat(parts) if parts else function(x.to(device)).float().cpu()


def device_of(density_field: DensityField) -> torch.device:
    """Return the device on which a field takes points: its `device`, or the CPU if it has none."""
    return torch.device(getattr(density_field, "device", "cpu"))


def density_grid(density_field: DensityField, n: int = 64) -> Tensor:
    """Return the density [n, n, n] at the cell centres, zero outside the bounding sphere."""
    device = device_of(density_field)
    line = _centers(n, device)
    square = line.square()
    inside = square[:, None, None] + square[:, None] + square <= RADIUS**2
    points = torch.stack([line[index] for index in inside.nonzero(as_tuple=True)], 1)
    values = torch.zeros(n, n, n)
    values[inside.cpu()] = query(density_field.density, points, device)
    return values


def sample(grid: Tensor, x: Tensor) -> Tensor:
    """Return the trilinear values [N] of a grid [n, n, n] at points x [N, 3], zero outside it."""
    # The last coordinate that `grid_sample` takes selects along the first axis of the grid.
    where = x.flip(-1).reshape(1, 1, 1, -1, 3) / RADIUS
    return F.grid_sample(grid[None, None], where, align_corners=False)[0, 0, 0, 0]


def projections(
    density: Tensor, yaws: tuple[float, ...] = (0, 45, 90, 135)
) -> tuple[Tensor, Tensor]:
    """Project a density grid along parallel rays, from the horizon and from above.

    Args:
        density: [n, n, n].
        yaws: headings of the views from the horizon, in degrees. One view from above follows.

    Returns:
        (peak, opacity), each [V, n, n]: the largest density along every ray, and
        1 - exp(-integral of the density), which is what a renderer shows as opacity.
    """
    n = density.shape[0]
    step = 2 * RADIUS / n
    points = grid_points(n)
    grids = []
    for yaw in yaws:
        c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
        x, y, z = points.unbind(-1)
        turned = torch.stack([c * x - s * y, s * x + c * y, z], -1)
        grids.append(sample(density, turned).reshape(n, n, n))
    grids.append(density.permute(2, 0, 1))
    stack = torch.stack(grids)  # [V, depth, n, n]
    return stack.amax(1), 1 - torch.exp(-stack.sum(1) * step)


def silhouette_level(density: Tensor, candidates: int = 64) -> float:
    """Return the density whose level set best covers the rendered silhouettes.

    In each parallel view, a surface at level l covers the pixels whose ray meets a density above l.
    The level returned has the largest soft IoU of that cover with the rendered opacity, over all
    views together.

    Args:
        density: [n, n, n].
        candidates: number of levels to try, spaced logarithmically.

    Returns:
        The level, or 0.0 for an empty grid.
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
