"""The occupancy grid: which cells of the scene may hold density, so that rays can skip the rest."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dfast._numbers import shown, whole
from dfast.ops.bitfield import pack_bits, unpack_bits
from dfast.ops.occupancy import occupancy_points, occupancy_update


class OccupancyGrid(nn.Module):
    """A decaying maximum of the density in each cell, and the bitfield of cells to march through.

    Cells that do not touch the scene's sphere are empty for good. The others count as occupied
    until they are visited for the first time. Nothing here waits for the device. Call `update`
    every few training steps: a cell whose density vanishes is emptied after
    ``log(density / threshold) / log(1 / decay)`` visits, and is visited in every ``1 / fraction``
    updates. With the defaults an untrained density of 1 is forgotten in three visits or six
    updates.

    >>> grid = OccupancyGrid(16)
    >>> for _ in range(20):
    ...     grid.update(lambda x: 10.0 * (x.norm(dim=-1) < 0.5))
    >>> float(grid.occupancy()) < 0.3
    True

    Attributes:
        density: float32 [resolution**3], x slowest; per unit length, -1 where never visited.
        bits: uint8 [resolution**3 / 8], see :func:`dfast.ops.bitfield.pack_bits`.
    """

    density: Tensor
    bits: Tensor
    _cells: Tensor

    def __init__(
        self,
        resolution: int = 64,
        radius: float = 1.0,
        decay: float = 0.6,
        threshold: float | None = None,
        *,
        device: torch.device | str | None = None,
    ) -> None:
        """Make a grid in which every cell is occupied.

        Args:
            resolution: cells a side, a multiple of 4.
            radius: of the scene's sphere; the grid spans ``[-radius, radius]**3``.
            decay: factor in (0, 1] on a cell's density at each visit.
            threshold: density per unit length above which a cell is occupied; half the mean density
                of the visited cells where that is lower, so that a thin field is not emptied at
                once. None for the density that absorbs 1 % of the light along a cell's side.
            device: where the buffers live.

        Raises:
            ValueError: on a bad resolution, radius, decay or threshold.
        """
        super().__init__()
        cells = whole(resolution)
        if cells is None or cells < 4 or cells % 4:
            raise ValueError(
                f"resolution must be a positive multiple of 4, got {shown(resolution)}"
            )
        resolution = cells
        if not radius > 0:
            raise ValueError(f"radius must be positive, got {radius}")
        if not 0 < decay <= 1:
            raise ValueError(f"decay must be in (0, 1], got {decay}")
        if threshold is None:
            threshold = -math.log(0.99) * resolution / (2 * radius)
        if not threshold >= 0:
            raise ValueError(f"threshold must not be negative, got {threshold}")
        self.resolution, self.radius = resolution, radius
        self.decay, self.threshold = decay, threshold
        inside = self._inside(device)
        self.register_buffer("density", -inside.float())
        self.register_buffer("bits", pack_bits(inside.view([resolution] * 3)))
        self.register_buffer("_cells", inside.nonzero()[:, 0], persistent=False)

    @torch.no_grad()
    def reset(self) -> None:
        """Make every cell occupied again, in the same memory."""
        inside = self._inside(self.density.device)
        self.density.copy_(-inside.float())
        self.bits.copy_(pack_bits(inside.view([self.resolution] * 3)))

    def _inside(self, device: torch.device | str | None) -> Tensor:
        """Bool [resolution**3]: cells with a point in the sphere."""
        n = self.resolution
        low = torch.arange(n, device=device) * (2.0 / n) - 1.0
        nearest = torch.maximum(low, -low - 2.0 / n).clamp(min=0)  # to the origin, along one axis
        sq = nearest**2
        return ((sq[:, None, None] + sq[:, None] + sq) <= 1.0 + 1e-6).reshape(-1)

    @torch.no_grad()
    def update(
        self,
        density_fn: Callable[[Tensor], Tensor],
        generator: torch.Generator | None = None,
        *,
        fraction: float = 0.5,
        warmup: bool = False,
    ) -> None:
        """Visit some cells.

        ``density = max(decay * density, density_fn(a random point of the cell))``.
        The cells of the sphere are cut into equal runs of neighbours and one of each run is
        visited.

        Args:
            density_fn: world points [N, 3] to density per unit length [N] or [N, 1].
            generator: source of randomness, on any device (one on the grid's own device avoids a
                copy).
            fraction: of the cells to visit, in (0, 1].
            warmup: visit all cells.

        Raises:
            ValueError: if ``fraction`` is out of range or ``density_fn`` returns a wrong shape.
        """
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction must be in (0, 1], got {fraction}")
        device = self.density.device
        source = device if generator is None else generator.device
        inside = self._cells.numel()
        runs = inside if warmup else max(1, round(inside * fraction))
        dtype = self.density.dtype
        if dtype not in (torch.float32, torch.float64):
            dtype = torch.float32
        draw = torch.rand(runs, 4, generator=generator, device=source).to(device, dtype)
        points = occupancy_points(self._cells, draw, resolution=self.resolution, radius=self.radius)
        found = density_fn(points)
        if found.shape == (runs, 1):
            found = found[:, 0]
        if found.shape != (runs,):
            raise ValueError(f"density_fn must return [{runs}], got {list(found.shape)}")
        density = self.density.to(dtype)  # itself, unless the module was cast to half precision
        occupancy_update(
            density,
            self.bits,
            self._cells,
            draw,
            found.to(density),
            resolution=self.resolution,
            decay=self.decay,
            threshold=self.threshold,
        )
        if density is not self.density:
            self.density.copy_(density)

    def occupancy(self) -> Tensor:
        """Fraction of the sphere's cells that are occupied, a scalar on the grid's device."""
        occupied = unpack_bits(self.bits, self.resolution).sum()
        return torch.true_divide(occupied.double(), self._cells.numel()).float()
