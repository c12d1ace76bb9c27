"""An update of the occupancy grid against the reference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dfast import reference
from dfast.nn.occupancy import OccupancyGrid
from dfast.ops.occupancy import occupancy_points, occupancy_update

pytestmark = pytest.mark.usefixtures("needs_native")


def make(
    resolution: int, runs: int, dtype: torch.dtype, device: torch.device
) -> tuple[OccupancyGrid, Tensor, Tensor]:
    """Return a grid of which some cells were visited, draws, and densities at their points."""
    g = torch.Generator().manual_seed(0)
    grid = OccupancyGrid(resolution)
    known = torch.rand(len(grid._cells), generator=g) < 0.6
    values = torch.where(known, torch.rand(known.shape, generator=g) ** 3, torch.tensor(-1.0))
    grid.density[grid._cells] = values
    draw, found = torch.rand(runs, 4, generator=g), torch.rand(runs, generator=g) ** 3
    return grid.to(device, dtype), draw.to(device, dtype), found.to(device, dtype)


@pytest.mark.parametrize("fraction", [1.0, 0.5, 0.013, 0.0])
@pytest.mark.parametrize("threshold", [0.05, 10.0])
def test_equals_the_reference(
    device: torch.device, dtype: torch.dtype, fraction: float, threshold: float
) -> None:
    n, inside = 20, len(OccupancyGrid(20)._cells)
    grid, draw, found = make(n, max(1, int(inside * fraction)), dtype, device)
    got = occupancy_points(grid._cells, draw, resolution=n, radius=1.5)
    want = reference.occupancy_points(grid._cells, draw, resolution=n, radius=1.5)
    torch.testing.assert_close(got, want, rtol=0, atol=4 * torch.finfo(dtype).eps)
    results = []
    for update in (occupancy_update, reference.occupancy_update):
        density, bits = grid.density.clone(), grid.bits.clone()
        update(
            density,
            bits,
            grid._cells,
            draw,
            found,
            resolution=n,
            decay=0.6,
            threshold=threshold,
        )
        results.append((density, bits))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_what_is_not_finite_is_occupied(device: torch.device) -> None:
    grid, draw, found = make(8, 100, torch.float32, device)
    found[:4] = torch.tensor([float("nan"), float("inf"), 0.0, -1.0])
    results = []
    for update in (occupancy_update, reference.occupancy_update):
        density, bits = grid.density.clone(), grid.bits.clone()
        density[grid._cells[::7]] = float("nan")
        update(density, bits, grid._cells, draw, found, resolution=8, decay=0.6, threshold=0.1)
        results.append((density, bits))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=0, equal_nan=True)
    assert torch.equal(results[0][1], results[1][1])


def test_in_place_and_counted(device: torch.device) -> None:
    grid, draw, found = make(8, 50, torch.float32, device)
    versions = grid.density._version, grid.bits._version
    occupancy_update(
        grid.density, grid.bits, grid._cells, draw, found, resolution=8, decay=0.6, threshold=0.1
    )
    assert (grid.density._version, grid.bits._version) == (versions[0] + 1, versions[1] + 1)


def test_threads_give_the_same_bytes() -> None:
    grid, draw, found = make(64, 40000, torch.float32, torch.device("cpu"))
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            density, bits = grid.density.clone(), grid.bits.clone()
            occupancy_update(
                density, bits, grid._cells, draw, found, resolution=64, decay=0.6, threshold=10.0
            )
            results.append((density, bits))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_grid_in_half_precision_is_updated() -> None:
    grid = OccupancyGrid(8).half()
    grid.update(lambda x: torch.ones_like(x[:, 0]), warmup=True)
    assert bool((grid.density[grid._cells] == 1).all())


def test_bad_input() -> None:
    grid, draw, found = make(8, 50, torch.float32, torch.device("cpu"))
    with pytest.raises(ValueError, match=r"draw must have shape \[\*, 4\], got \[50, 3\]"):
        occupancy_points(grid._cells, draw[:, :3], resolution=8, radius=1.0)
    with pytest.raises(ValueError, match=r"draw must have 1 to .* rows"):
        occupancy_points(grid._cells, draw[:0], resolution=8, radius=1.0)
    with pytest.raises(ValueError, match=r"cells must be torch.int64"):
        occupancy_points(grid._cells.int(), draw, resolution=8, radius=1.0)

    def update(density: Tensor, bits: Tensor, found: Tensor, resolution: int = 8) -> None:
        occupancy_update(
            density,
            bits,
            grid._cells,
            draw,
            found,
            resolution=resolution,
            decay=0.6,
            threshold=0.1,
        )

    with pytest.raises(ValueError, match=r"found must have shape \[50\], got \[49\]"):
        update(grid.density, grid.bits, found[:49])
    with pytest.raises(ValueError, match=r"bits must be torch.uint8"):
        update(grid.density, grid.bits.int(), found)
    with pytest.raises(ValueError, match="density is written in place"):
        update(grid.density.repeat_interleave(2)[::2], grid.bits, found)
    with pytest.raises(ValueError, match="resolution must be a multiple of 4, got 6"):
        update(grid.density, grid.bits, found, resolution=6)
