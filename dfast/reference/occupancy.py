"""An update of the occupancy grid, the oracle of ``dfast.ops.occupancy``."""

from __future__ import annotations

import torch
from torch import Tensor


def _visited(cells: Tensor, draw: Tensor) -> Tensor:
    """Return the visited cell of each run [R]."""
    runs, inside = draw.shape[0], cells.shape[0]
    starts = torch.arange(runs + 1, device=cells.device) * inside // runs
    lengths = starts[1:] - starts[:-1]
    pick = torch.minimum((draw[:, 3] * lengths).long(), lengths - 1)
    return cells[starts[:-1] + pick]


def occupancy_points(cells: Tensor, draw: Tensor, *, resolution: int, radius: float) -> Tensor:
    """Return a random point of one cell of each run of neighbouring cells [R, 3]."""
    visited, n = _visited(cells, draw), resolution
    corner = torch.stack([visited // (n * n), visited // n % n, visited % n], -1)
    return (corner + draw[:, :3]) * (2.0 * radius / n) - radius


def occupancy_update(
    density: Tensor,
    bits: Tensor,
    cells: Tensor,
    draw: Tensor,
    found: Tensor,
    *,
    resolution: int,
    decay: float,
    threshold: float,
) -> None:
    """Enter the densities found in the visited cells, and tell anew which cells are occupied.

    ``density = max(decay * density, found)``; a cell is occupied above the threshold, or above half
    the mean density of the cells ever visited where that is lower.
    """
    from dfast.ops.bitfield import pack_bits

    visited = _visited(cells, draw)
    density[visited] = torch.maximum(density[visited].clamp(min=0) * decay, found)
    known = (density[cells] >= 0).sum().clamp(min=1)
    mean = density[cells].clamp(min=0).sum() / known
    limit = torch.fmin(0.5 * mean, torch.full_like(mean, threshold))
    # Never visited (-1) is occupied, and so is NaN: the render must show it, not skip it.
    occupied = (density > limit) | (density < 0) | density.isnan()
    bits.copy_(pack_bits(occupied.view([resolution] * 3)))
