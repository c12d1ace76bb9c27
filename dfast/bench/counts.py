"""The fewest bytes and operations that a workload needs, whoever computes it.

Bytes: each input is read once and each output is written once, and every corner of every level of
every point is gathered (or added to: one read and one write). Neighbours share corners, so caches
may serve a gather, and a rate can exceed what the memory delivers. Operations: multiplications and
additions of the mathematics; nothing is recomputed. Tables are read in half precision, everything
else is float32.
"""

from __future__ import annotations

from typing import NamedTuple

from dfast.ops.grid_spec import GridSpec

FLOAT, HALF = 4, 2
"""Bytes of a number."""
ADAM_BYTES = 8 * FLOAT + HALF
"""Of a parameter: value, gradient and two moments are read; value, moments, a zero gradient and the
half copy are written."""


class Cost(NamedTuple):
    """What has to be moved and computed."""

    bytes: int
    flops: int = 0

    def __add__(self, other: object) -> Cost:
        """Return the sum of two costs."""
        assert isinstance(other, Cost)
        return Cost(self.bytes + other.bytes, self.flops + other.flops)


def encode(points: int, grid: GridSpec) -> Cost:
    """Return the cost of the grid's values at some points."""
    corners = points * grid.levels * 8 * grid.features
    moved = points * (3 + grid.outputs) * FLOAT + corners * HALF
    return Cost(moved, 2 * corners)


def scatter(points: int, grid: GridSpec) -> Cost:
    """Return the cost of the table's gradient, with the zeros from which it starts."""
    corners = points * grid.levels * 8 * grid.features
    zeros = grid.entries * grid.features * FLOAT
    return Cost(points * (3 + grid.outputs) * FLOAT + corners * 2 * FLOAT + zeros, 2 * corners)


def march(rays: int, samples: int, cells: int) -> Cost:
    """Return the cost of marching through cells^3.

    Rays and the occupancy bitfield are read; t, dt, ray and position of each sample are written.
    """
    return Cost(rays * 8 * FLOAT + cells**3 // 8 + samples * 6 * FLOAT)


def composite(rays: int, samples: int) -> Cost:
    """Return the cost of compositing colour and opacity, forward and backward."""
    inputs = 6  # t, dt, density and rgb, read in each pass
    gradients = 4  # of density and rgb
    return Cost((samples * (2 * inputs + gradients) + rays * 10) * FLOAT, 60 * samples)


def shaded(rays: int, samples: int, lit: bool) -> Cost:
    """Return the cost of shading and compositing, forward and backward.

    Args:
        rays: number of rays.
        samples: number of samples.
        lit: whether normals are used; otherwise the albedo is composited.
    """
    inputs = 9 if lit else 6  # t, dt, density, albedo, gradient
    gradients = 7 if lit else 4
    return Cost((samples * (2 * inputs + gradients) + rays * 16) * FLOAT, 120 * samples)


def mlp_flops(inputs: int, width: int, layers: int) -> int:
    """Return the operations of one point in an MLP with `layers` hidden layers and 4 outputs."""
    return 2 * (inputs * width + (layers - 1) * width * width + width * 4)


def field(
    points: int, grid: GridSpec, width: int, layers: int, *, normal: bool, backward: bool
) -> Cost:
    """Return the cost of the field at some points.

    Args:
        points: number of points.
        grid: its hash grid.
        width: of the hidden layers.
        layers: number of hidden layers.
        normal: with the gradient of the density logit by the position.
        backward: with the gradients of table and MLP, which have a second-order part if `normal`.
    """
    # Matrix products per weight: the value, its tangent, and their gradients by inputs and weights.
    products = 1 + normal + backward * (4 if normal else 2)
    corners = points * grid.levels * 8 * grid.features
    results = 7 if normal else 4
    moved = points * (3 + results) * FLOAT + corners * HALF
    if backward:
        moved += points * results * FLOAT + corners * 2 * FLOAT
        moved += grid.entries * grid.features * FLOAT
    lerps = 2 * corners * (4 if normal else 1) * (2 if backward else 1)
    return Cost(moved, points * products * mlp_flops(grid.outputs, width, layers) + lerps)


def adam(parameters: int) -> Cost:
    """Return the cost of one step of Adam over some parameters."""
    return Cost(parameters * ADAM_BYTES, 15 * parameters)
