"""The level of a mesh: peaks of the density along the rays of pixels."""

from __future__ import annotations

import pytest
import torch
from density_fields import SceneField

from dfast.mesh.density_grid import density_grid, sample
from dfast.mesh.level import DISTANCE, PIXELS, _cameras, _peaks


@pytest.mark.usefixtures("needs_native")
@pytest.mark.parametrize("cells", [10, 96])
def test_peaks_are_those_of_rays_that_skip_nothing(cells: int) -> None:
    density, lowest = density_grid(SceneField("a red chair"), cells), 0.5
    cameras = _cameras()
    found = _peaks(density, cameras, lowest)
    origins, directions = cameras.rays(PIXELS)
    peak = torch.zeros(len(origins))
    for t in torch.linspace(DISTANCE - 1, DISTANCE + 1, 320).tolist():
        inside = (origins + t * directions).norm(dim=1) <= 1
        peak = torch.maximum(peak, sample(density, origins + t * directions) * inside)
    assert (peak > lowest).float().mean() > 0.02
    for level in (lowest, 5.0, 20.0):
        assert ((found > level) == (peak > level)).float().mean() > 0.997
