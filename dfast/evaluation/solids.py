"""The two shapes that evaluation compares: a true solid as points, a result as a density grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dfast.mesh.density_grid import RADIUS, grid_points, sample, silhouette_level

DENSITY_FLOOR = 0.01
"""Densities are compared as log(1 + density / DENSITY_FLOOR): zero stays zero, and level sets stay
level sets."""
LEVELS = 40
"""Number of level sets that are tried."""


@dataclass(frozen=True)
class SolidPoints:
    """A solid, represented by points spread evenly inside it."""

    inside: Tensor
    """[N, 3], one a grid cell, in random order: any prefix is a fair sample."""
    volume: float
    """In world units cubed."""

    @property
    def centroid(self) -> Tensor:
        """Return the mean of the points, [3]."""
        return self.inside.mean(0)

    @property
    def spread(self) -> float:
        """Return the root of the mean squared distance of the points from their mean."""
        return spread(self.inside)

    @staticmethod
    def from_occupancy(occupied: Callable[[Tensor], Tensor], n: int = 64) -> SolidPoints:
        """Sample a solid that is given by a predicate.

        Args:
            occupied: world points [N, 3] to bool [N].
            n: cells a side; the predicate is evaluated once in each of the n**3 cells.

        Returns:
            The points for which the predicate holds.

        Raises:
            ValueError: if there are none.
        """
        points = jittered_points(n, seed=1)
        points = points[points.square().sum(-1) <= RADIUS**2]
        inside = points[occupied(points)]
        if not len(inside):
            raise ValueError("a truth must occupy at least one cell, got an empty solid")
        order = torch.randperm(len(inside), generator=torch.Generator().manual_seed(0))
        return SolidPoints(inside[order], len(inside) * (2 * RADIUS / n) ** 3)

    def sample(self, count: int) -> Tensor:
        """Return `count` points [count, 3] inside, repeated when there are fewer."""
        return self.inside[torch.arange(count) % len(self.inside)]


class Prediction:
    """A density grid, prepared for alignment.

    Attributes:
        density: [n, n, n].
        grid: the same in the units of comparison, see `DENSITY_FLOOR`.
        level: density of the silhouettes' level set.
        empty: whether nothing can be seen.
        centroid: of the solid at `level`, [3].
        volume: of that solid.
        spread: of that solid, see `SolidPoints.spread`.
        volumes: world volume above each candidate level, [LEVELS].
    """

    def __init__(self, density: Tensor) -> None:
        """Prepare a density grid [n, n, n] over [-1, 1]^3."""
        n = density.shape[0]
        self.density = density
        self.grid = torch.log1p(density / DENSITY_FLOOR)
        self.level = silhouette_level(density)
        self.empty = self.level <= 0
        top = float(self.grid.max())
        self._lowest = min(math.log1p(0.1 / DENSITY_FLOOR), 0.2 * top)
        self._spacing = max((top - self._lowest) / LEVELS, 1e-6)
        # Volumes are measured at one jittered point a cell, because poses are scored with the same
        # interpolated field at such points.
        points = jittered_points(n, seed=0)
        values = sample(self.grid, points)
        self.volumes = self.fractions_above(values[None])[0] * (2 * RADIUS) ** 3
        solid = points[values > math.log1p(self.level / DENSITY_FLOOR)]
        self.centroid = solid.mean(0) if len(solid) else torch.zeros(3)
        self.volume = len(solid) / n**3 * (2 * RADIUS) ** 3
        self.spread = spread(solid) if len(solid) else 0.0

    def level_of(self, volume: float) -> float:
        """Return the candidate level, in the units of `grid`, with the volume nearest to one."""
        return self._lowest + int((self.volumes - volume).abs().argmin()) * self._spacing

    def fractions_above(self, values: Tensor) -> Tensor:
        """Return the fraction of values [B, P] above each candidate level, [B, LEVELS]."""
        rows, count = values.shape
        bins = ((values - self._lowest) / self._spacing).ceil().clamp(0, LEVELS).long()
        bins += torch.arange(rows)[:, None] * (LEVELS + 1)
        histogram = torch.bincount(bins.ravel(), minlength=rows * (LEVELS + 1)).reshape(rows, -1)
        return histogram.flip(1).cumsum(1).flip(1)[:, 1:] / count


def spread(points: Tensor) -> float:
    """Return the root of the mean squared distance of points [N, 3] from their mean."""
    return float((points - points.mean(0)).square().sum(1).mean().sqrt())


def jittered_points(n: int, seed: int) -> Tensor:
    """Return one point [n**3, 3] at a random place in each cell, the same places for equal seeds.

    Unlike cell centres, these measure volumes without bias for faces aligned with the grid.
    """
    jitter = torch.rand(n**3, 3, generator=torch.Generator().manual_seed(seed)) - 0.5
    return grid_points(n) + jitter * (2 * RADIUS / n)
