"""Smaller runs that stand for huge ones: an estimate does not allocate what it estimates."""

from __future__ import annotations

import math
from typing import NamedTuple

from dfast.config import Config, GridConfig

RAYS = {"cuda": 1 << 20, "cpu": 1 << 14}
"""Most rays of a step that is timed as it is."""
SAMPLES = {"cuda": 1 << 26, "cpu": 1 << 20}
"""Most samples along those rays."""
IPE_SAMPLES = {"cuda": 1 << 20, "cpu": 1 << 14}
"""The same for a field of the kind "ipe"."""
TABLE = 1 << 22
"""Most numbers in the hash grid's table of a step that is timed as it is."""


class ScaledDown(NamedTuple):
    """A run that stands for another."""

    config: Config
    """Its settings; those of the other run where that is not huge."""
    rays: float
    """Rays of the other run for each of its own."""
    numbers: int
    """Numbers in the other run's table beyond its own."""


def scaled_down(config: Config, device: str) -> ScaledDown:
    """Return a run of bounded size that stands for a run.

    Args:
        config: settings of the run.
        device: kind of the device, "cpu" or "cuda".
    """
    views, pixels = config.camera.views, config.camera.resolution[0][1]
    along = math.ceil(2.0 / config.march.step_size)
    samples = SAMPLES if config.field.kind == "hash" else IPE_SAMPLES
    most = max(16, min(RAYS[device], samples[device] // along))
    rays = 1.0
    if views * pixels**2 > most:
        size = min(pixels, math.isqrt(most))
        few = max(1, most // (size**2 * config.camera.ring)) * config.camera.ring
        rays = views * pixels**2 / (few * size**2)
        config = config.replace(camera={"views": few, "resolution": [[0.0, size]]})
    if config.field.kind != "hash":
        return ScaledDown(config, rays, 0)
    grid = config.field.grid
    entries = grid.log2_entries
    while entries > 4 and table_numbers(grid, entries) > TABLE:
        entries -= 1
    numbers = table_numbers(grid, grid.log2_entries) - table_numbers(grid, entries)
    if numbers:
        config = config.replace(field={"grid": {"log2_entries": entries}})
    return ScaledDown(config, rays, numbers)


def table_numbers(grid: GridConfig, log2_entries: int) -> int:
    """Return about how many numbers a hash grid's table has.

    Args:
        grid: its settings.
        log2_entries: in place of theirs.
    """
    growth = (grid.max_resolution / grid.base_resolution) ** (1 / max(grid.levels - 1, 1))
    cells = [grid.base_resolution * growth**level for level in range(grid.levels)]
    return grid.features * sum(min(int(c + 1) ** 3, 1 << log2_entries) for c in cells)
