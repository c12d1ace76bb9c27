"""Move points onto a level set of a density field, along given directions."""

from __future__ import annotations

import torch
from torch import Tensor

from dfast.mesh.density_grid import RADIUS, DensityField, device_of, query


def snap(
    density_field: DensityField,
    points: Tensor,
    normals: Tensor,
    level: float,
    reach: float,
    *,
    intervals: int = 4,
    halvings: int = 4,
) -> Tensor:
    """Move points along their normals to where the density rises through the level.

    The interval of the normal around the point is searched from outside; of several crossings the
    nearest one counts. It needs no gradient, so it also lands on jumps of the density, as at the
    bounding sphere.

    Args:
        density_field: the field.
        points: [N, 3] near the level set.
        normals: [N, 3] unit vectors, outward.
        level: density at the surface.
        reach: farthest that a point may move, in world units.
        intervals: parts into which the way from `reach` outside to `reach` inside is divided, even.
        halvings: of the interval that has the crossing, before a linear step in it.

    Returns:
        The moved points [N, 3]; those without a crossing within reach stay.
    """

    def excess(where: Tensor) -> Tensor:
        """Return a value in [-1/2, 1/2] that is zero at the level and saturates."""
        density = query(density_field.density, where, device_of(density_field))
        density = density * (where.square().sum(-1) <= RADIUS**2)
        return density / (density + level) - 0.5

    offsets = torch.linspace(reach, -reach, intervals + 1)
    values = torch.stack([excess(points + t * normals) for t in offsets.tolist()])
    enters = (values[:-1] < 0) & (values[1:] >= 0)  # [intervals, N]
    distance = (offsets[:-1] + offsets[1:]).abs()[:, None].expand_as(enters)
    nearest = torch.where(enters, distance, torch.inf).argmin(0)
    outside, inside = offsets[nearest], offsets[nearest + 1]
    low = values.gather(0, nearest[None])[0]
    high = values.gather(0, nearest[None] + 1)[0]
    for _ in range(halvings):
        middle = (outside + inside) / 2
        value = excess(points + middle[:, None] * normals)
        within = value >= 0
        inside, high = torch.where(within, middle, inside), torch.where(within, value, high)
        outside, low = torch.where(within, outside, middle), torch.where(within, low, value)
    share = low / (low - high).clamp(max=-1e-12)
    shift = torch.where(enters.any(0), outside + share * (inside - outside), 0.0)
    return points + shift[:, None] * normals
