"""Loop subdivision of closed triangle meshes, as linear maps of their vertices.

A mesh that is refined again and again becomes a smooth surface, whose points are fixed weighted
means of the vertices of the first mesh, the control vertices. Sources: Loop 1987 ("Smooth
subdivision surfaces based on triangles", the weights), and the mask of the limit that follows from
them (Hoppe et al. 1994, SIGGRAPH).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Split(NamedTuple):
    """A mesh whose every triangle was split into four."""

    faces: Tensor
    """[4 F, 3] int64: of each triangle the three at its corners, then the one in its middle; new
    vertices come after the old ones"""
    edges: Tensor
    """[E, 2] int64, ends of the edge in the middle of which each new vertex is"""


def split(faces: Tensor, vertices: int) -> Split:
    """Split every triangle of a mesh into four, at the middles of its edges.

    Args:
        faces: [F, 3] int64.
        vertices: number of vertices.

    Returns:
        The mesh, in which triangles keep their orientation.
    """
    ends = torch.stack([faces, faces.roll(-1, 1)], -1).sort(-1).values  # [F, 3, 2]
    edges, which = ends.view(-1, 2).unique(dim=0, return_inverse=True)
    ab, bc, ca = (which.view(-1, 3) + vertices).unbind(1)
    a, b, c = faces.unbind(1)
    children = [a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca]
    return Split(torch.stack(children, 1).view(-1, 3), edges)


class Means(NamedTuple):
    """A linear map from the vertices of one mesh to those of another, by its entries."""

    rows: Tensor
    """[E] int64, vertex of the new mesh"""
    columns: Tensor
    """[E] int64, vertex of the old mesh"""
    weights: Tensor
    """[E] float32; those of a row add up to 1"""
    size: int
    """Vertices of the new mesh."""

    def __call__(self, values: Tensor) -> Tensor:
        """Return values of the new vertices [size, C] from those of the old ones, [V, C].

        Differentiable, and on a CPU the same bytes every time.
        """
        parts = self.weights[:, None].to(values) * values[self.columns]
        return values.new_zeros(self.size, values.shape[1]).index_add(0, self.rows, parts)

    def to(self, device: torch.device | str) -> Means:
        """Return the same map on a device."""
        return Means(
            self.rows.to(device), self.columns.to(device), self.weights.to(device), self.size
        )


def subdivide(faces: Tensor, vertices: int) -> tuple[Means, Tensor]:
    """Return one step of Loop's subdivision of a closed mesh.

    Args:
        faces: [F, 3] int64, two triangles at every edge.
        vertices: number of vertices, V.

    Returns:
        The map from the V vertices to the V + E new ones, and the new faces [4 F, 3].

    Raises:
        ValueError: on a mesh with an edge at which there are not two triangles.
    """
    fine, edges = split(faces, vertices)
    corners = torch.stack([faces, faces.roll(-1, 1), faces.roll(-2, 1)], -1).view(-1, 3)
    ends = corners[:, :2].sort(-1).values  # an edge, and the vertex opposite to it
    _, which, times = ends.unique(dim=0, return_inverse=True, return_counts=True)
    if bool((times != 2).any()):
        raise ValueError("faces must be a closed mesh: two triangles at every edge")
    even, neighbours, valence = neighbours_of(edges, vertices)
    beta = loop_weight(valence)
    old, new = torch.arange(vertices), vertices + torch.arange(len(edges))
    entries = [
        (old, old, 1.0 - valence * beta),
        (even, neighbours, beta[even]),
        (new.repeat_interleave(2), edges.flatten(), torch.full((2 * len(edges),), 0.375)),
        (which + vertices, corners[:, 2], torch.full((len(corners),), 0.125)),
    ]
    return _means(entries, vertices + len(edges)), fine


def limit(faces: Tensor, vertices: int) -> Means:
    """Return the map that moves the V vertices of a closed mesh to the limit surface.

    Args:
        faces: [F, 3] int64.
        vertices: number of vertices, V.
    """
    even, neighbours, valence = neighbours_of(split(faces, vertices).edges, vertices)
    chi = 1.0 / (0.375 / loop_weight(valence) + valence)
    old = torch.arange(vertices)
    entries = [(old, old, 1.0 - valence * chi), (even, neighbours, chi[even])]
    return _means(entries, vertices)


def loop_weight(valence: Tensor) -> Tensor:
    """Return the weight of each of n neighbours in a step: (5/8 - (3/8 + cos(2 pi/n)/4)^2) / n."""
    return (0.625 - (0.375 + 0.25 * torch.cos(2.0 * math.pi / valence)).square()) / valence


def limit_surface(faces: Tensor, vertices: int, steps: int) -> tuple[list[Means], Tensor]:
    """Return how points of the limit surface are made of the control vertices.

    Args:
        faces: [F, 3] int64, of a closed control mesh.
        vertices: number of control vertices.
        steps: of subdivision before the points are moved to the limit.

    Returns:
        Maps to be applied one after the other, and the faces [4^steps F, 3] int64.
    """
    maps, count = [], vertices
    for _ in range(steps):
        step, faces = subdivide(faces, count)
        maps.append(step)
        count = step.size
    return [*maps, limit(faces, count)], faces


def neighbours_of(edges: Tensor, vertices: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the neighbours of vertices.

    Args:
        edges: [E, 2] int64, each once.
        vertices: number of vertices, V.

    Returns:
        Pairs of neighbours, each in both orders, [2 E] and [2 E]; and valences [V] float64.
    """
    even, neighbours = torch.cat([edges, edges.flip(1)]).unbind(1)
    return even, neighbours, torch.bincount(even, minlength=vertices).double()


def _means(entries: list[tuple[Tensor, Tensor, Tensor]], count: int) -> Means:
    """Return the map of (rows, columns, weights)."""
    rows, columns, weights = (torch.cat(part) for part in zip(*entries, strict=True))
    return Means(rows, columns, weights.float(), count)
