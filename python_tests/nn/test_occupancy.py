"""The occupancy grid: packing, updates, state."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dfast.nn import Adam, Field
from dfast.nn.occupancy import OccupancyGrid
from dfast.ops import FieldSpec, GridSpec
from dfast.ops.bitfield import pack_bits, unpack_bits


def ball(radius: float) -> Callable[[Tensor], Tensor]:
    """Return the density of a ball: 10 inside, 0 outside."""
    return lambda x: 10.0 * (x.norm(dim=-1) < radius).to(x)


def test_pack_round_trip_and_layout(device: torch.device) -> None:
    cells = (torch.rand(8, 8, 8) < 0.3).to(device)
    assert torch.equal(unpack_bits(pack_bits(cells), 8), cells)
    one = torch.zeros(8, 8, 8, dtype=torch.bool, device=device)
    one[5, 2, 7] = True  # brick (1, 0, 1) = 5, cell (1, 2, 3) in it = 27
    bits = pack_bits(one)
    assert bits.nonzero().tolist() == [[5 * 8 + 27 // 8]] and int(bits.sum()) == 1 << 27 % 8


def test_starts_full_and_finds_a_ball(device: torch.device) -> None:
    grid = OccupancyGrid(32, device=device)
    assert float(grid.occupancy()) == 1.0
    g = torch.Generator().manual_seed(0)
    for _ in range(40):
        grid.update(ball(0.5), g, fraction=1.0)
    cells = unpack_bits(grid.bits, 32)
    line = (torch.arange(32, device=device) + 0.5) / 16 - 1
    r = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).norm(dim=-1)
    assert bool(cells[r < 0.45].all()) and not bool(cells[r > 0.56].any())
    assert float(grid.occupancy()) == pytest.approx(0.5**3, rel=0.35)


def test_partial_updates_reach_every_cell_and_forget_slowly() -> None:
    grid = OccupancyGrid(16, decay=0.5, threshold=1.0)
    g = torch.Generator().manual_seed(0)
    visited: list[int] = []

    def count(x: torch.Tensor) -> torch.Tensor:
        visited.append(len(x))
        assert bool((x.abs() <= 1).all())
        return torch.full_like(x[:, 0], 4.0)

    for _ in range(60):
        grid.update(count, g, fraction=0.25)
    cells = len(grid._cells)
    assert set(visited) == {round(cells * 0.25)}
    assert bool((grid.density[grid._cells] == 4).all())
    grid.update(lambda x: torch.zeros_like(x[:, 0]), g, warmup=True)
    assert bool((grid.density[grid._cells] == 2).all()) and float(grid.occupancy()) == 1.0


def test_a_thin_uniform_field_stays_occupied() -> None:
    grid = OccupancyGrid(16, threshold=1.0)
    grid.update(
        lambda x: torch.full_like(x[:, 0], 1e-3), torch.Generator().manual_seed(0), warmup=True
    )
    assert float(grid.occupancy()) == 1.0


def test_same_generator_same_grid_and_state_dict() -> None:
    grids = [OccupancyGrid(16) for _ in range(2)]
    for grid in grids:
        g = torch.Generator().manual_seed(3)
        for _ in range(5):
            grid.update(ball(0.4), g)
    assert torch.equal(grids[0].density, grids[1].density) and torch.equal(
        grids[0].bits, grids[1].bits
    )
    other = OccupancyGrid(16)
    other.load_state_dict(grids[0].state_dict())
    assert set(grids[0].state_dict()) == {"density", "bits"}
    assert torch.equal(other.bits, grids[0].bits)


def test_reset_makes_a_new_grid_in_the_same_memory(device: torch.device) -> None:
    grid = OccupancyGrid(16, device=device)
    places = grid.density.data_ptr(), grid.bits.data_ptr()
    grid.update(ball(0.4), torch.Generator().manual_seed(0), warmup=True)
    assert float(grid.occupancy()) < 1.0
    grid.reset()
    fresh = OccupancyGrid(16, device=device)
    assert torch.equal(grid.density, fresh.density) and torch.equal(grid.bits, fresh.bits)
    assert places == (grid.density.data_ptr(), grid.bits.data_ptr())


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"resolution": 10}, "resolution must be"),
        ({"radius": 0.0}, "radius must be"),
        ({"decay": 0.0}, "decay must be"),
        ({"threshold": -1.0}, "threshold must"),
    ],
)
def test_bad_arguments(kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OccupancyGrid(**kwargs)
    grid = OccupancyGrid(8)
    with pytest.raises(ValueError, match="fraction must be"):
        grid.update(ball(0.5), fraction=0.0)
    with pytest.raises(ValueError, match=r"density_fn must return"):
        grid.update(lambda x: x, fraction=1.0)


def test_the_defaults_empty_cells_around_a_ball_in_a_training_loop() -> None:
    """A field learns a ball for 300 steps, the grid is updated in every sixteenth of them."""
    torch.manual_seed(0)
    field = Field(FieldSpec(GridSpec(4, log2_entries=12, base_resolution=4, max_resolution=32)))
    grid, optimizer = OccupancyGrid(32), Adam(field.parameters(), lr=1e-2)
    density = ball(0.5)
    for step in range(300):
        if step % 16 == 0:
            grid.update(field.density)
        x = 2 * torch.rand(512, 3) - 1
        loss = (torch.exp(-field(x).density * 0.1) - torch.exp(-density(x) * 0.1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    cells = unpack_bits(grid.bits, 32)
    line = (torch.arange(32) + 0.5) / 16 - 1
    r = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).norm(dim=-1)
    assert bool(cells[r < 0.45].all())
    assert float(cells[(r > 0.7) & (r < 1)].float().mean()) < 0.1
    assert float(grid.occupancy()) < 0.3


def test_the_default_threshold_is_a_share_of_light_a_cell() -> None:
    assert OccupancyGrid(64).threshold == pytest.approx(0.01005 * 32, rel=1e-3)
    assert OccupancyGrid(64, radius=2.0).threshold == pytest.approx(0.01005 * 16, rel=1e-3)
    grid = OccupancyGrid(16)
    grid.update(lambda x: torch.ones(len(x), 1), warmup=True)  # [N, 1] is taken as well
    assert float(grid.occupancy()) == 1.0
