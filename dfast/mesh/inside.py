"""A mesh as a density field, for what measures fields."""

from __future__ import annotations

from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from dfast.mesh.density_grid import RADIUS, sample
from dfast.ops.texture import texture
from dfast.scene.loop_scene import LoopScene

DENSITY = 100.0
"""Density inside, per unit length: a ray fades within a hundredth."""
CELLS = 128
"""Cells a side of the grid of what is inside."""
SHIFT = (3.1e-4, 5.7e-4)
"""Shift of the grid's columns, in cells, so that none meets an edge of a regular mesh."""
TOGETHER = 1 << 12
"""Points whose nearest vertices are sought at once."""


class MeshField:
    """A mesh with the methods of `dfast.mesh.density_grid.DensityField`."""

    def __init__(self, positions: Tensor, faces: Tensor, colors: Tensor) -> None:
        """Keep a mesh.

        Args:
            positions: [V, 3] of the vertices, world coordinates.
            faces: [F, 3] int, of a closed surface.
            colors: [V, 3] of the vertices, display RGB in [0, 1].
        """
        self._positions, self._faces, self._colors = positions, faces, colors
        self.device = positions.device

    @classmethod
    @torch.no_grad()
    def of(cls, scene: LoopScene) -> Self:
        """Return an optimised mesh as it is now.

        Args:
            scene: the mesh.
        """
        return cls(scene.positions(), scene.topology.faces, vertex_colors(scene))

    def density(self, x: Tensor) -> Tensor:
        """Return `DENSITY` inside and 0 outside, blurred over a cell of a grid, [N].

        Args:
            x: [N, 3] world points on the mesh's device.
        """
        return DENSITY * sample(self._grid, x)

    @torch.no_grad()
    def albedo(self, x: Tensor) -> Tensor:
        """Return the colours of the nearest vertices, [N, 3] in [0, 1].

        Args:
            x: [N, 3] world points on the mesh's device.
        """
        nearest = [torch.cdist(part, self._positions).argmin(1) for part in x.split(TOGETHER)]
        return self._colors[torch.cat(nearest)] if nearest else self._colors[:0]

    @cached_property
    @torch.no_grad()
    def _grid(self) -> Tensor:
        """What is inside, [n, n, n] of 0 and 1."""
        found = inside_grid(self._positions.cpu(), self._faces.cpu().long(), CELLS)
        return found.float().to(self.device)


@torch.no_grad()
def vertex_colors(scene: LoopScene) -> Tensor:
    """Return the colours of a mesh's texture at its vertices, [V, 3] in [0, 1].

    Args:
        scene: the mesh.
    """
    mesh = scene.topology
    seen = texture(scene.maps()[..., :3].contiguous(), mesh.uv)
    colors = seen.new_zeros(int(mesh.source.max()) + 1, 3)
    colors[mesh.source] = seen
    return colors.clamp(0.0, 1.0)


def inside_grid(positions: Tensor, faces: Tensor, n: int) -> Tensor:
    """Return which centres of a grid's cells a closed mesh encloses, whatever crosses itself.

    A point is inside where its winding number is not 0: the number of triangles above it that face
    up, less those that face down.

    Args:
        positions: [V, 3] on the CPU.
        faces: [F, 3] int64.
        n: cells a side of the cube [-1, 1]^3.

    Returns:
        bool [n, n, n], axes (x, y, z).
    """
    # In cells: the centre of cell i is at i.
    corners = (positions.double() / RADIUS + 1.0) * (n / 2) - 0.5
    corners[:, :2] -= torch.tensor(SHIFT, dtype=torch.float64)
    triangles = corners[faces]  # [F, 3, 3]
    low = triangles[..., :2].amin(1).ceil().clamp(min=0).long()
    high = triangles[..., :2].amax(1).floor().clamp(max=n - 1).long()
    size = (high - low + 1).clamp(min=0)
    count = size.prod(1)
    face = torch.arange(len(faces)).repeat_interleave(count)
    index = torch.arange(len(face)) - (count.cumsum(0) - count)[face]  # within its triangle's box
    width = size[face, 1].clamp(min=1)
    column = low[face] + torch.stack([index // width, index % width], 1)
    a, b, c = (triangles[face, k] for k in range(3))
    weights = [_area(column, b, c), _area(column, c, a), _area(column, a, b)]
    twice = weights[0] + weights[1] + weights[2]
    hit = torch.stack([weight * twice > 0 for weight in weights]).all(0)
    height = sum(w * p[:, 2] for w, p in zip(weights, (a, b, c), strict=True)) / twice
    below = (height[hit].floor() + 1).clamp(0, n).long()  # cells of the column below the triangle
    x, y = column[hit].unbind(1)
    crossings = torch.zeros(n, n, n + 1, dtype=torch.int64)
    crossings.index_put_((x, y, below), twice[hit].sign().long(), accumulate=True)
    winding = crossings.flip(2).cumsum(2).flip(2)[..., 1:]
    return winding != 0


def _area(point: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Return twice the area, seen from above, of triangles that begin at points [N, 2]."""
    p, q = one[:, :2] - point, other[:, :2] - point
    return p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]
