"""Surface nets: the level set of a density grid as a closed, outward-oriented triangle mesh.

Each cell of the grid that the surface crosses gets one vertex for each sheet of surface in it, at
the mean of the sheet's crossings with the cell's edges; each crossed grid edge gets a quad of the
four cells around it. Source: Gibson, "Constrained elastic surface nets" (1998), with several
vertices a cell where several sheets pass through it.

A cell's corner (dx, dy, dz) has number dx + 2 dy + 4 dz. Its edge 4 a + o1 + 2 o2 runs along axis a
at offsets o1, o2 along the axes a + 1 and a + 2 (modulo 3).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from dfast.mesh.arrays import Floats, Indices
from dfast.mesh.density_grid import RADIUS
from dfast.mesh.manifold import part_sheets

AROUND = ((0, 0), (1, 0), (1, 1), (0, 1))
"""Offsets of four corners of a square, counterclockwise."""


def closed_surface(density: Floats, level: float) -> tuple[Floats, Indices]:
    """Extract the closed level set of a density grid over [-1, 1]^3.

    Sheets that touch each other are parted, see `dfast.mesh.manifold`.

    Args:
        density: [n, n, n].
        level: density at the surface, positive.

    Returns:
        The vertices [V, 3] and the faces [F, 3]. Every edge is shared by two faces; faces are
        counterclockwise as seen from outside.
    """
    parted = part_sheets(*_surface_nets(density, level))
    assert parted is not None, "surface nets are closed"
    return parted


def _surface_nets(density: Floats, level: float) -> tuple[Floats, Indices]:
    """Return vertices and faces of the level set; edges may be shared by four faces."""
    n = density.shape[0]
    # density / (density + level) - 1/2 is zero at the level and saturates, so that steep densities
    # interpolate well.
    value = np.pad(
        density / (density + np.float32(level)) - np.float32(0.5), 1, constant_values=-0.5
    )
    inside = value > 0
    vertices, vertex_of = _vertices(value, inside)
    # Node i of the padded grid is the centre of cell i - 1.
    vertices = (vertices - 0.5) * (2 * RADIUS / n) - RADIUS
    faces = _faces(inside, vertices, vertex_of)
    return vertices.astype(np.float32), faces


def _vertices(value: Floats, inside: NDArray[np.bool_]) -> tuple[NDArray[np.float64], _VertexIndex]:
    """Return the vertices of a padded grid [m + 1]^3 in units of cells, and their index.

    Args:
        value: at the nodes, positive inside.
        inside: whether a node is inside.
    """
    sheet, count = _sheets()
    m = value.shape[0] - 1  # cells a side, the padding included
    pattern = np.zeros((m, m, m), np.uint8)
    for corner in range(8):
        dx, dy, dz = corner & 1, corner >> 1 & 1, corner >> 2
        pattern |= inside[dx : m + dx, dy : m + dy, dz : m + dz].astype(np.uint8) << corner
    cells = np.stack(np.nonzero((pattern != 0) & (pattern != 255)), 1)  # [K, 3]
    own = pattern[tuple(cells.T)]
    first = np.cumsum(count[own]) - count[own]
    total = int(count[own].sum())

    sums, crossings = np.zeros((total, 3)), np.zeros(total)
    for edge in range(12):
        a, o1, o2 = edge // 4, edge & 1, edge >> 1 & 1
        on = np.nonzero(sheet[own, edge] >= 0)[0]
        start = cells[on].copy()
        start[:, (a + 1) % 3] += o1
        start[:, (a + 2) % 3] += o2
        end = start.copy()
        end[:, a] += 1
        v0, v1 = value[tuple(start.T)].astype(float), value[tuple(end.T)].astype(float)
        point = start.astype(float)
        point[:, a] += v0 / (v0 - v1)
        vertex = first[on] + sheet[own[on], edge]
        crossings += np.bincount(vertex, minlength=total)
        for axis in range(3):
            sums[:, axis] += np.bincount(vertex, point[:, axis], total)
    return sums / crossings[:, None], _VertexIndex(m, cells, own, first)


class _VertexIndex:
    """Which vertex a cell has for each of its crossed edges."""

    def __init__(self, m: int, cells: Indices, patterns: NDArray[np.uint8], first: Indices) -> None:
        """Index K crossed cells [K, 3] of m^3 by their corner patterns and first vertices [K]."""
        self.patterns, self.first = patterns, first
        self.row = np.full((m, m, m), -1, np.int64)
        self.row[tuple(cells.T)] = np.arange(len(cells))

    def at(self, cells: Indices, edge: int) -> Indices:
        """Return the vertices [N] of cells [N, 3] on the sheet that crosses their edge `edge`."""
        k = self.row[tuple(cells.T)]
        sheet, _ = _sheets()
        return self.first[k] + sheet[self.patterns[k], edge]


def _faces(
    inside: NDArray[np.bool_], vertices: NDArray[np.float64], vertex_of: _VertexIndex
) -> Indices:
    """Return two triangles for each crossed grid edge: the quad of the four cells around it."""
    m = inside.shape[0] - 1
    faces = []
    for a in range(3):
        b, c = (a + 1) % 3, (a + 2) % 3
        near = np.take(inside, range(m), a)
        crossed = near != np.take(inside, range(1, m + 1), a)
        starts = np.stack(np.nonzero(crossed), 1)
        quad = []
        for o1, o2 in AROUND:  # counterclockwise as seen from +a
            cell = starts.copy()
            cell[:, b] -= o1
            cell[:, c] -= o2
            quad.append(vertex_of.at(cell, a * 4 + o1 + 2 * o2))
        q = np.stack(quad, 1)
        flip = ~near[tuple(starts.T)]
        q[flip] = q[flip][:, ::-1]
        # Each quad is split along its shorter diagonal.
        d02 = np.linalg.norm(vertices[q[:, 0]] - vertices[q[:, 2]], axis=1)
        d13 = np.linalg.norm(vertices[q[:, 1]] - vertices[q[:, 3]], axis=1)
        q = np.where((d02 <= d13)[:, None], q, np.roll(q, -1, 1))
        faces += [q[:, [0, 1, 2]], q[:, [0, 2, 3]]]
    return np.concatenate(faces)


@cache
def _sheets() -> tuple[NDArray[np.int8], Indices]:
    """Return the sheets of surface in a cell for every pattern of inside corners.

    Two inside corners that face each other diagonally across a face are separated there. Both cells
    at that face decide alike, which closes the surface. The table has 256 rows and is computed once
    in a process.

    Returns:
        The sheet of each crossed edge, [256, 12], -1 for an edge that is not crossed, and the
        number of sheets, [256].
    """
    ends = [
        (_corner(a, 0, o1, o2), _corner(a, 1, o1, o2))
        for a in range(3)
        for o2 in (0, 1)
        for o1 in (0, 1)
    ]
    edge_of = {frozenset(pair): e for e, pair in enumerate(ends)}
    rings = [[_corner(a, side, o1, o2) for o1, o2 in AROUND] for a in range(3) for side in (0, 1)]
    sheet = np.full((256, 12), -1, np.int8)
    count = np.zeros(256, np.int64)
    for pattern in range(256):
        inside = [bool(pattern >> c & 1) for c in range(8)]
        # Crossed edges that are joined across a face get the same label.
        label = {e: e for e, (p, q) in enumerate(ends) if inside[p] != inside[q]}
        for ring in rings:
            # Edge i of a face follows its corner i.
            edges = [edge_of[frozenset((ring[i], ring[(i + 1) % 4]))] for i in range(4)]
            crossed = [e for e in edges if e in label]
            pairs = [crossed] if len(crossed) == 2 else []
            if len(crossed) == 4:
                pairs = [[edges[i - 1], edges[i]] for i in range(4) if inside[ring[i]]]
            for e, f in pairs:
                old, new = label[f], label[e]
                label = {k: new if v == old else v for k, v in label.items()}
        roots = sorted(set(label.values()))
        count[pattern] = len(roots)
        for e, root in label.items():
            sheet[pattern, e] = roots.index(root)
    return sheet, count


def _corner(axis: int, along: int, o1: int, o2: int) -> int:
    """Return the number of the corner at these offsets along axis, axis + 1 and axis + 2."""
    return along << axis | o1 << (axis + 1) % 3 | o2 << (axis + 2) % 3
