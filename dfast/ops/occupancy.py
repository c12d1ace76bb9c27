"""An update of the occupancy grid in three launches, without host synchronisation.

These are plain functions, not custom operators, for the reasons of `dfast.ops.adam`: nothing
differentiates or traces them, and the update writes in place. csrc/ops/occupancy.h has the formulas
and `dfast.reference.occupancy` the same in plain torch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dfast import _native


@torch.no_grad()
def occupancy_points(cells: Tensor, draw: Tensor, *, resolution: int, radius: float) -> Tensor:
    """Return a random point of one cell of each run of neighbouring cells.

    Args:
        cells: int64 [C] rising indices of cells, x slowest, of which equal runs are visited.
        draw: [R, 4] uniform numbers in [0, 1), float32 or float64, 1 <= R <= C: for each run the
            place in the cell, and which cell of the run.
        resolution: cells a side.
        radius: the grid spans [-radius, radius]^3.

    Returns:
        World points [R, 3], dtype of draw.

    Raises:
        ValueError: on a wrong shape, dtype, device or range.
    """
    runs = _check_runs(cells, draw)
    resolution = _native.whole_number("resolution", resolution, 1, 2048)
    x = draw.new_empty(runs, 3)
    _native.call(
        "occupancy_points",
        like=draw,
        cells=cells,
        inside=cells.shape[0],
        draw=draw,
        runs=runs,
        resolution=resolution,
        radius=float(radius),
        x=x,
    )
    return x


@torch.no_grad()
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

    Args:
        density: [resolution^3] in place, float32 or float64; -1 where never visited.
        bits: uint8 [resolution^3 / 8] in place, see :func:`dfast.ops.bitfield.pack_bits`.
        cells: as in :func:`occupancy_points`; the mean is that of these cells.
        draw: as in :func:`occupancy_points`, dtype of density.
        found: [R] density at its points, dtype of density.
        resolution: cells a side, a multiple of 4.
        decay: factor in (0, 1] on a visited cell's density.
        threshold: largest density of an empty cell, see `dfast.nn.OccupancyGrid`.

    Raises:
        ValueError: on a wrong shape, dtype, device or range.
    """
    resolution = _native.whole_number("resolution", resolution, 4, 2048)
    if resolution % 4:
        raise ValueError(f"resolution must be a multiple of 4, got {resolution}")
    runs = _check_runs(cells, draw)
    _native.contiguous("density", density, (resolution**3,), draw)
    found = _native.contiguous("found", found, (runs,), draw)
    like = draw.new_empty(0, dtype=torch.uint8)
    _native.contiguous("bits", bits, (resolution**3 // 8,), like)
    for name, tensor in (("density", density), ("bits", bits)):
        if not tensor.is_contiguous() or tensor.data_ptr() % 8:
            raise ValueError(f"{name} is written in place and must be contiguous and aligned")
    parts = -(-runs // _native.constant("occupancy_part"))
    _native.call(
        "occupancy_update",
        like=density,
        cells=cells,
        inside=cells.shape[0],
        draw=draw,
        runs=runs,
        found=found,
        resolution=resolution,
        decay=float(decay),
        threshold=float(threshold),
        parts=draw.new_empty(2 * parts, dtype=torch.float64),
        density=density,
        bricks=bits,
    )
    for tensor in (density, bits):
        torch.autograd.graph.increment_version(tensor)


def _check_runs(cells: Tensor, draw: Tensor) -> int:
    """Check the cells and draws of both functions, and return the number of runs."""
    like = draw.new_empty(0, dtype=torch.int64)
    if not _native.contiguous("cells", cells, (None,), like).is_contiguous():
        raise ValueError("cells must be contiguous")
    if not _native.contiguous("draw", draw, (None, 4), draw).is_contiguous():
        raise ValueError("draw must be contiguous")
    runs, inside = draw.shape[0], cells.shape[0]
    if not 1 <= runs <= inside:
        raise ValueError(f"draw must have 1 to {inside} rows, one for each run, got {runs}")
    return runs
