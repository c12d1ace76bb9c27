"""The inputs of the benchmarks: sizes of the workloads, points along rays, equal numbers."""

from __future__ import annotations

import pytest
import torch

from dfast.bench import inputs, step

CPU = torch.device("cpu")


@pytest.mark.usefixtures("needs_native")
def test_marching_keeps_the_samples_of_the_workload() -> None:
    """110 308 samples on 711 rays are the published counts; a sample on a cell's face may fall
    either way in float32."""
    samples = inputs.samples(64, CPU)
    assert abs(int(samples.num_samples) - 110_308) <= 5
    assert int((samples.offsets.diff() > 0).sum()) == 711


def test_the_grid_is_the_one_of_the_workload() -> None:
    assert inputs.GRID.entries * inputs.GRID.features == 12_203_840
    assert step.FIELD.grid.levels == inputs.GRID.levels == 16


def test_points_along_rays_lie_on_them_and_in_the_cube() -> None:
    x = inputs.points(2 * 4096, CPU, "rays")
    assert x.shape == (8192, 3) and float(x.min()) >= 0 and float(x.max()) <= 1
    rays = inputs.rays(64, CPU)
    middle = 64 * 32 + 32  # a ray through the middle of the picture
    offset = 2.0 * x.view(4096, 2, 3)[middle] - 1.0 - rays.origins[middle]
    off = torch.linalg.cross(offset, rays.directions[middle].expand_as(offset))
    assert float(off.norm(dim=-1).max()) < 1e-5
    with pytest.raises(ValueError, match="multiple of 4096 along rays, got 100"):
        inputs.points(100, CPU, "rays")


def test_inputs_are_the_same_each_time() -> None:
    assert torch.equal(inputs.points(64, CPU), inputs.points(64, CPU))
    assert torch.equal(inputs.normal(CPU, 8, seed=3), inputs.normal(CPU, 8, seed=3))
