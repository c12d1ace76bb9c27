"""A sphere of triangles with a texture that fills a square: a divided octahedron.

The octahedral map (Praun and Hoppe 2003, SIGGRAPH) unfolds the octahedron |x| + |y| + |z| = 1: the
upper half is the diamond in the middle of the square, the lower half its four corners. So texels
have neighbours on the sphere but at the outer edges, and no chart wastes a part of the square.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize


class Octasphere(NamedTuple):
    """A closed mesh with V = 4 n^2 + 2 vertices on the unit sphere, and its texture coordinates."""

    positions: Tensor
    """[V, 3] float32"""
    faces: Tensor
    """[8 n^2, 3] int64, counterclockwise as seen from outside"""
    uv: Tensor
    """[(2 n + 1)^2, 2] float32 in [0, 1], v grows downwards, as in glTF"""
    uv_faces: Tensor
    """[8 n^2, 3] int64 rows of `uv`"""
    source: Tensor
    """[(2 n + 1)^2] int64, the vertex that each row of `uv` is"""


def octasphere(n: int) -> Octasphere:
    """Return the sphere.

    Args:
        n: parts of each edge of the octahedron, >= 1.
    """
    line = torch.arange(-n, n + 1)
    b, a = (axis.flatten() for axis in torch.meshgrid(line, line, indexing="ij"))
    x, y = torch.where(_lower(a, b, n), _folded(a, b, n), torch.stack([a, b]))
    z = n - a.abs() - b.abs()
    points, source = torch.stack([x, y, z], 1).unique(dim=0, return_inverse=True)
    side = 2 * n + 1
    first = (torch.arange(side - 1)[:, None] * side + torch.arange(side - 1)).flatten()
    # Of a cell's two diagonals, the one along which |a| + |b| is constant divides it.
    down = ((a[first] + 0.5) * (b[first] + 0.5) > 0)[:, None]
    right, up, both = first + 1, first + side, first + side + 1
    one = torch.where(
        down, torch.stack([first, right, up], 1), torch.stack([first, right, both], 1)
    )
    two = torch.where(down, torch.stack([right, both, up], 1), torch.stack([first, both, up], 1))
    uv_faces = torch.cat([one, two])
    uv = torch.stack([a + n, n - b], 1) / (2.0 * n)
    return Octasphere(normalize(points.float(), dim=1), source[uv_faces], uv, uv_faces, source)


def _lower(a: Tensor, b: Tensor, n: int) -> Tensor:
    """Return which points of the square lie on the lower half."""
    return a.abs() + b.abs() > n


def _folded(a: Tensor, b: Tensor, n: int) -> Tensor:
    """Return x and y of points of the lower half, [2, ...]."""
    return torch.stack([a.sign() * (n - b.abs()), b.sign() * (n - a.abs())])
