"""Bytes and operations that a workload cannot do without, whoever computes it.

Bytes: each input read once and each output written once, and every corner of every level of every
point gathered (or added to: one read and one write). Neighbours share corners, so caches may serve
a gather and a rate can exceed what the memory delivers. Operations: multiplications and additions
of the mathematics, nothing recomputed. Tables are read in half precision, all else is float32.
"""

from __future__ import annotations

from typing import NamedTuple

from dfast.ops.grid_spec import GridSpec

FLOAT, HALF = 4, 2
ADAM_BYTES = 8 * FLOAT + HALF
"""A parameter: value, gradient and two moments read; value, moments, a zero gradient and the half
copy written."""


class Cost(NamedTuple):
    """What has to be moved and computed."""

    bytes: int
    flops: int = 0

    def __add__(self, other: object) -> Cost:
        assert isinstance(other, Cost)
        return Cost(self.bytes + other.bytes, self.flops + other.flops)


def encode(points: int, grid: GridSpec) -> Cost:
    """Values of the grid."""
    corners = points * grid.levels * 8 * grid.features
    moved = points * (3 + grid.outputs) * FLOAT + corners * HALF
    return Cost(moved, 2 * corners)


def scatter(points: int, grid: GridSpec) -> Cost:
    """The table's gradient, with the zeros that it starts from."""
    corners = points * grid.levels * 8 * grid.features
    zeros = grid.entries * grid.features * FLOAT
    return Cost(points * (3 + grid.outputs) * FLOAT + corners * 2 * FLOAT + zeros, 2 * corners)


def march(rays: int, samples: int, cells: int) -> Cost:
    """Rays and bits read, samples written: t, dt, ray and position."""
    return Cost(rays * 8 * FLOAT + cells**3 // 8 + samples * 6 * FLOAT)


def composite(rays: int, samples: int) -> Cost:
    """Forward and backward of colour and opacity."""
    inputs, gradients = 6, 4  # t, dt, tau and rgb, read in each pass; tau's and rgb's
    return Cost((samples * (2 * inputs + gradients) + rays * 10) * FLOAT, 60 * samples)


def shaded(rays: int, samples: int, lit: bool) -> Cost:
    """Shading and compositing, forward and backward."""
    inputs = 9 if lit else 6  # t, dt, tau, albedo, gradient
    gradients = 7 if lit else 4
    return Cost((samples * (2 * inputs + gradients) + rays * 16) * FLOAT, 120 * samples)


def mlp_flops(inputs: int, width: int, layers: int) -> int:
    """One point through the MLP with four outputs."""
    return 2 * (inputs * width + (layers - 1) * width * width + width * 4)


def field(
    points: int, grid: GridSpec, width: int, layers: int, *, normal: bool, backward: bool
) -> Cost:
    """The field at some points; its backward pass includes the second order if `normal`."""
    products = 1 + normal + backward * (4 if normal else 2)  # per weight: value, a, edot, d, dW
    corners = points * grid.levels * 8 * grid.features
    results = 7 if normal else 4
    moved = points * (3 + results) * FLOAT + corners * HALF
    if backward:
        moved += points * results * FLOAT + corners * 2 * FLOAT
        moved += grid.entries * grid.features * FLOAT
    lerps = 2 * corners * (4 if normal else 1) * (2 if backward else 1)
    return Cost(moved, points * products * mlp_flops(grid.outputs, width, layers) + lerps)


def adam(parameters: int) -> Cost:
    """One step of Adam over all of them."""
    return Cost(parameters * ADAM_BYTES, 15 * parameters)
