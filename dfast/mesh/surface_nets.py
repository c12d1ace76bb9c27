"""Surface nets: the level set of a density grid as a closed, outward-oriented triangle mesh."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from dfast.mesh.density_grid import RADIUS

Floats = NDArray[np.float32]

# A cell's corner (dx, dy, dz) has number dx + 2 dy + 4 dz. Its edge a*4 + o1 + 2*o2 runs along axis
# a at offsets o1, o2 along the axes a+1 and a+2 (mod 3).


def _corner(axis: int, along: int, o1: int, o2: int) -> int:
    return along << axis | o1 << (axis + 1) % 3 | o2 << (axis + 2) % 3


@cache
def _sheets() -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """For every pattern of inside corners, which sheet of surface each crossed edge is on ([256,
    12], -1 where it is not crossed) and how many sheets there are ([256]). Where two inside corners
    face each other across a face they stay apart; both cells at that face decide alike, which is
    what closes the surface.
    """
    ends = [
        (_corner(a, 0, o1, o2), _corner(a, 1, o1, o2))
        for a in range(3)
        for o2 in (0, 1)
        for o1 in (0, 1)
    ]
    edge_of = {frozenset(pair): e for e, pair in enumerate(ends)}
    rings = []
    for a in range(3):
        for side in (0, 1):
            rings.append([_corner(a, side, o1, o2) for o1, o2 in ((0, 0), (1, 0), (1, 1), (0, 1))])
    sheet = np.full((256, 12), -1, np.int8)
    count = np.zeros(256, np.int64)
    for pattern in range(256):
        inside = [bool(pattern >> c & 1) for c in range(8)]
        label = {e: e for e, (p, q) in enumerate(ends) if inside[p] != inside[q]}
        for ring in rings:
            edges = [
                edge_of[frozenset((ring[i], ring[(i + 1) % 4]))] for i in range(4)
            ]  # after corner i
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


def closed_surface(density: Floats, level: float) -> tuple[Floats, NDArray[np.int64]]:
    """Naive surface nets with one vertex a sheet: the closed level set of a density grid [n, n, n]
    over [-1, 1]^3.

    Returns (vertices [V, 3], faces [F, 3]), every edge shared by two faces, outward orientation. In
    the rare case that a pattern of corners pinches two sheets together, the level is moved by a few
    parts in a thousand.
    """
    for attempt in range(6):
        vertices, faces = _surface_nets(density, level * (1 + 0.004 * attempt))
        edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        _, shared = np.unique(edges[:, 0] * len(vertices) + edges[:, 1], return_counts=True)
        if (shared == 2).all():
            break
    return vertices, faces


def _surface_nets(density: Floats, level: float) -> tuple[Floats, NDArray[np.int64]]:
    sheet, count = _sheets()
    n = density.shape[0]
    # tau/(tau + level) - 1/2 has its zero at the level and saturates, so steep densities
    # interpolate well
    value = np.pad(
        density / (density + np.float32(level)) - np.float32(0.5), 1, constant_values=-0.5
    )
    inside = value > 0
    m = n + 1  # cells along a side, the padding included
    pattern = np.zeros((m, m, m), np.uint8)
    for corner in range(8):
        dx, dy, dz = corner & 1, corner >> 1 & 1, corner >> 2
        pattern |= inside[dx : m + dx, dy : m + dy, dz : m + dz].astype(np.uint8) << corner
    cells = np.stack(np.nonzero((pattern != 0) & (pattern != 255)), 1)  # [K, 3]
    own = pattern[tuple(cells.T)]
    first = np.cumsum(count[own]) - count[own]  # first vertex of each active cell
    total = int(count[own].sum())
    row = np.full((m, m, m), -1, np.int64)
    row[tuple(cells.T)] = np.arange(len(cells))

    sums, hits = np.zeros((total, 3)), np.zeros(total)
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
        hits += np.bincount(vertex, minlength=total)
        for axis in range(3):
            sums[:, axis] += np.bincount(vertex, point[:, axis], total)
    # node i of the padded grid is the centre of cell i - 1
    vertices = (sums / hits[:, None] - 0.5) * (2 * RADIUS / n) - RADIUS

    faces = []
    for a in range(3):
        b, c = (a + 1) % 3, (a + 2) % 3
        near = np.take(inside, range(n + 1), a)
        starts = np.stack(
            np.nonzero(near != np.take(inside, range(1, n + 2), a)), 1
        )  # crossed grid edges along a
        quad = []
        for o1, o2 in (
            (0, 0),
            (1, 0),
            (1, 1),
            (0, 1),
        ):  # the four cells around it, counterclockwise from +a
            cell = starts.copy()
            cell[:, b] -= o1
            cell[:, c] -= o2
            k = row[tuple(cell.T)]
            quad.append(first[k] + sheet[own[k], a * 4 + o1 + 2 * o2])
        q = np.stack(quad, 1)
        flip = ~near[tuple(starts.T)]
        q[flip] = q[flip][:, ::-1]
        d02 = np.linalg.norm(vertices[q[:, 0]] - vertices[q[:, 2]], axis=1)
        d13 = np.linalg.norm(vertices[q[:, 1]] - vertices[q[:, 3]], axis=1)
        q = np.where(
            (d02 <= d13)[:, None], q, np.roll(q, -1, 1)
        )  # split along the shorter diagonal
        faces += [q[:, [0, 1, 2]], q[:, [0, 2, 3]]]
    return vertices.astype(np.float32), np.concatenate(faces)


def drop_specks(
    vertices: Floats, faces: NDArray[np.int64], keep: float
) -> tuple[Floats, NDArray[np.int64]]:
    """Without the components below ``keep`` of the largest one's area, and without inward-facing
    cavities.
    """
    label = np.arange(len(vertices))
    while True:  # smallest label spreads over faces, then labels point at their own label
        low = label[faces].min(1)
        new = label.copy()
        np.minimum.at(new, faces.ravel(), np.repeat(low, 3))
        new = new[new]
        if (new == label).all():
            break
        label = new
    corner = vertices[faces].astype(float)
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    of_face = label[faces[:, 0]]
    area = np.bincount(of_face, np.linalg.norm(cross, axis=1), len(vertices))
    volume = np.bincount(of_face, (cross * corner[:, 0]).sum(1), len(vertices))
    good = (area >= keep * area.max()) & (volume > 0)
    if not good.any():
        good = area == area.max()
    faces = faces[good[of_face]]
    used, faces = np.unique(faces, return_inverse=True)
    return vertices[used], faces.reshape(-1, 3)
