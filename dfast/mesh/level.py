"""Choose the level set that looks like the renders."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool3d, max_pool3d

from dfast.mesh.density_grid import RADIUS, DensityField, sample, silhouette_level
from dfast.ops.bitfield import pack_bits
from dfast.ops.march import march
from dfast.scene.cameras import CameraBatch, aimed

ELEVATIONS = (0.0, 30.0, -20.0, 55.0, 10.0, 40.0, -5.0, 20.0)
"""Of the views, whose azimuths are spread evenly, in degrees."""
DISTANCE, FOV = 3.0, 40.0
"""Of the cameras, as in `Result.render`."""
PIXELS = 96
"""A side of each view."""
STEP = 2 * RADIUS / 160
"""Distance between the samples of a ray."""
CELLS = 64
"""A side of the grid that tells where rays have samples."""
CANDIDATES = 64
"""Levels that are tried."""
OPAQUE = 0.5
"""Opacity from which on a pixel belongs to the silhouette."""


def rendered_level(density_field: DensityField, density: Tensor) -> float:
    """Return the density whose level set has the silhouettes that the field's renders have.

    A surface at level l covers the pixels whose rays meet a density above l. The level returned has
    the largest IoU of that cover with the pixels that are opaque in the renders, over all views
    together. Renders differ from sums over a density grid: they leave out cells that the occupancy
    grid calls empty.

    Args:
        density_field: a result. A field that has no method `opacity` is projected along parallel
            rays instead, see `silhouette_level`.
        density: its density grid [n, n, n].

    Returns:
        The level, or 0.0 where there is nothing to see.
    """
    render: Any = getattr(density_field, "opacity", None)
    if render is None:
        return silhouette_level(density)
    cameras = _cameras()
    opacity = render(cameras, PIXELS).float().reshape(-1)
    most, top = float(opacity.max()), float(density.max())
    if most < 0.05 or not top > 0:
        return 0.0
    solid = opacity > OPAQUE * min(1.0, most)
    lowest = max(top * 1e-3, 0.02 * min(1.0, top))
    peak = _peaks(density.to(opacity), cameras.to(opacity.device), lowest)
    levels = torch.logspace(math.log10(lowest), math.log10(top * 0.95), CANDIDATES).to(peak)
    cover = peak > levels[:, None]
    iou = (cover & solid).sum(1) / (cover | solid).sum(1)
    return float(levels[iou.argmax()])


def _cameras() -> CameraBatch:
    """Return cameras all around the object."""
    elevation = torch.tensor(ELEVATIONS)
    azimuth = (torch.arange(len(elevation)) + 0.5) * (360.0 / len(elevation))
    fill = torch.ones_like(elevation)
    return aimed(azimuth, elevation, DISTANCE * fill, FOV * fill)


def _peaks(density: Tensor, cameras: CameraBatch, lowest: float) -> Tensor:
    """Return the largest density along the ray of every pixel, [B * PIXELS^2], 0 below `lowest`."""
    origins, directions = cameras.rays(PIXELS)
    reach = math.ceil(CELLS / len(density))  # interpolation reaches as far as the next node
    largest = adaptive_max_pool3d(density[None, None], CELLS)
    occupied = max_pool3d(largest, 2 * reach + 1, 1, reach)[0, 0] > lowest
    samples = march(
        origins,
        directions,
        pack_bits(occupied),
        resolution=CELLS,
        radius=RADIUS,
        step_size=STEP,
    )
    values = sample(density, samples.x)
    peak = torch.zeros_like(origins[:, 0])
    return peak.scatter_reduce(0, samples.ray.long(), values, "amax")
