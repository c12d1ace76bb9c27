"""Density grids: sampling, projections, the level of the silhouettes."""

from __future__ import annotations

import numpy as np
import torch
from density_fields import Ball
from torch import Tensor

from dfast.mesh.density_grid import density_grid, grid_points, projections, sample, silhouette_level


def test_level_is_the_one_of_the_silhouette() -> None:
    class Wide(Ball):
        def density(
            self, x: Tensor
        ) -> Tensor:  # dense core, faint wide halo that a picture hardly shows
            distance = x.norm(dim=-1)
            return 60 * (distance < 0.5).float() + 0.05 * (distance < 0.8).float()

    density = density_grid(Wide(), 48)
    assert 0.05 < silhouette_level(density) < 60
    assert silhouette_level(torch.zeros(16, 16, 16)) == 0.0


def test_projection_of_a_constant_ball_is_beers_law() -> None:
    density = density_grid(Ball(0.6, peak=3.0), 64)
    peak, opacity = projections(density)
    assert peak.shape == opacity.shape == (5, 64, 64)
    middle = opacity[:, 31:33, 31:33].mean((1, 2))
    assert torch.allclose(middle, torch.full((5,), 1 - np.exp(-3.0 * 1.2)), atol=0.01)


def test_sample_reads_axes_in_order() -> None:
    points = grid_points(8)
    grid = (points @ torch.tensor([1.0, 10.0, 100.0])).reshape(8, 8, 8)
    x = torch.tensor([[0.3, -0.2, 0.1], [-0.5, 0.6, 0.2]])
    assert torch.allclose(sample(grid, x), x @ torch.tensor([1.0, 10.0, 100.0]), atol=1e-4)
