"""Make closed triangle meshes manifold: two faces at every edge, one fan of faces at every vertex.

Surfaces of grids and decimated ones touch themselves now and then: four faces then share an edge,
or two fans a vertex. Programs call such meshes open. Here the sheets that touch are parted: each
gets vertices of its own, drawn apart by a small fraction of an edge.
"""

from __future__ import annotations

import numpy as np

from dfast.mesh.arrays import Floats, Indices
from dfast.mesh.components import component_labels

APART = 0.05
"""Way of a parted vertex towards its neighbours, as a fraction of the way to their mean."""


def is_closed(faces: Indices) -> bool:
    """Return whether every edge of faces [F, 3] is shared by two, which wind alike."""
    forward, backward, _ = _half_edges(faces)
    return bool(
        len(forward) == len(backward)
        and (forward == backward).all()
        and (forward[1:] != forward[:-1]).all()
    )


def part_sheets(vertices: Floats, faces: Indices) -> tuple[Floats, Indices] | None:
    """Part the sheets of a surface that touch at edges or vertices.

    Args:
        vertices: [V, 3].
        faces: [F, 3] indices.

    Returns:
        Vertices, all used, and faces of a manifold mesh; None if the surface is open, or does not
        wind consistently.
    """
    faces = _without_folds(faces)
    pairs = _pairs(faces)
    if pairs is None:
        return None
    vertices, faces = _part_fans(vertices, faces, pairs)
    while len(twice := _double_edges(faces)):
        vertices, faces = _split_edges(vertices, faces, twice)
        # The faces have another order now, in which the half-edges of an edge that is still double
        # may pair in another way, with other fans.
        pairs = _pairs(faces)
        assert pairs is not None
        vertices, faces = _part_fans(vertices, faces, pairs)
    return vertices, faces


def _half_edges(faces: Indices) -> tuple[Indices, Indices, tuple[Indices, Indices]]:
    """Return the sorted edges of half-edges that go up and down in index, and these half-edges.

    Half-edge 3 f + k goes from corner k of face f to the next one. An edge is the number
    (smaller vertex) * (number of vertices) + (larger vertex).
    """
    start, end = faces.ravel(), np.roll(faces, -1, 1).ravel()
    edge = np.minimum(start, end) * (int(faces.max(initial=0)) + 1) + np.maximum(start, end)
    halves = []
    for direction in (start < end, start > end):
        half = np.nonzero(direction)[0]
        halves.append(half[np.argsort(edge[half], kind="stable")])
    return edge[halves[0]], edge[halves[1]], (halves[0], halves[1])


def _pairs(faces: Indices) -> tuple[Indices, Indices] | None:
    """Return half-edges [E] and their opposites [E], None if one has none."""
    forward, backward, halves = _half_edges(faces)
    if len(forward) != len(backward) or (forward != backward).any():
        return None
    return halves


def _next(half: Indices) -> Indices:
    """Return the half-edges that follow in their faces."""
    return half - half % 3 + (half + 1) % 3


def _without_folds(faces: Indices) -> Indices:
    """Return the faces without those of fewer than three corners, and without opposite twins."""
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    first = np.argmin(faces, 1)
    turned = np.take_along_axis(faces, (first[:, None] + np.arange(3)) % 3, 1)
    up = turned[:, 1] < turned[:, 2]
    same = _numbered(np.sort(faces, 1))
    # As many are left of each set of corners as one direction has more than the other.
    extra = np.bincount(same, np.where(up, 1, -1), same.max(initial=-1) + 1)
    keep = np.zeros(len(faces), bool)
    for direction, sign in ((up, 1), (~up, -1)):
        index = np.nonzero(direction)[0]
        index = index[np.argsort(same[index], kind="stable")]
        group = same[index]
        rank = np.arange(len(index)) - np.searchsorted(group, group)
        keep[index] = rank < sign * extra[group]
    return faces[keep]


def _numbered(rows: Indices) -> Indices:
    """Return a number [F] for each of rows [F, K], the same for equal rows, from 0 without gaps."""
    number = np.zeros(len(rows), np.int64)
    for column in rows.T:
        _, number = np.unique(number * (int(rows.max(initial=0)) + 1) + column, return_inverse=True)
    return number


def _part_fans(
    vertices: Floats, faces: Indices, pairs: tuple[Indices, Indices]
) -> tuple[Floats, Indices]:
    """Give every fan of faces a vertex of its own."""
    there, back = pairs
    same = np.concatenate(
        [np.stack([there, _next(back)], 1), np.stack([_next(there), back], 1)]
    )  # corners, by the half-edges that start at them, of one vertex and fan
    _, first, corner = np.unique(
        component_labels(faces.size, same), return_index=True, return_inverse=True
    )
    source = faces.ravel()[first]  # the old vertex of each new one
    faces = corner.reshape(-1, 3)
    count = np.bincount(source, minlength=len(vertices))
    moved = np.nonzero(count[source] > 1)[0]
    vertices = vertices[source]
    return _drawn_in(vertices, faces, moved), faces


def _drawn_in(vertices: Floats, faces: Indices, moved: Indices) -> Floats:
    """Return the vertices with those of the index `moved` drawn towards their neighbours."""
    if not len(moved):
        return vertices
    of_corner, others = faces.ravel(), [np.roll(faces, -k, 1).ravel() for k in (1, 2)]
    near = np.isin(of_corner, moved)
    total, number = np.zeros((len(vertices), 3)), np.zeros((len(vertices), 1))
    for other in others:
        np.add.at(total, of_corner[near], vertices[other[near]])
        np.add.at(number, of_corner[near], 1.0)
    drawn = vertices.copy()
    drawn[moved] += (APART * (total[moved] / number[moved] - vertices[moved])).astype(np.float32)
    return drawn


def _double_edges(faces: Indices) -> Indices:
    """Return half-edges that run where another one of their direction runs, one a face, [D]."""
    forward, _, (there, _) = _half_edges(faces)
    again = there[1:][forward[1:] == forward[:-1]]
    return again


def _split_edges(vertices: Floats, faces: Indices, twice: Indices) -> tuple[Floats, Indices]:
    """Put a vertex on each of some edges that have the ends of another edge, and divide its faces.

    Edges of one face are divided one at a time: those that had to wait are still double afterwards.
    """
    pairs = _pairs(faces)
    assert pairs is not None
    opposite = np.empty(faces.size, np.int64)
    opposite[pairs[0]], opposite[pairs[1]] = pairs[1], pairs[0]
    busy: set[int] = set()
    alone = []
    for half in twice.tolist():
        touched = {half // 3, int(opposite[half]) // 3}
        if not touched & busy:
            busy |= touched
            alone.append(half)
    there = np.array(alone)
    back = opposite[there]
    flat, added = faces.ravel(), len(vertices) + np.arange(len(there))
    a, b = flat[there], flat[back]
    c, d = flat[_next(_next(there))], flat[_next(_next(back))]
    middle = (vertices[a] + vertices[b]) / 2
    middle += APART * ((vertices[c] + vertices[d]) / 2 - middle)
    corners = [(a, added, c), (added, b, c), (b, added, d), (added, a, d)]
    keep = np.ones(len(faces), bool)
    keep[list(busy)] = False
    faces = np.concatenate([faces[keep], *(np.stack(corner, 1) for corner in corners)])
    return np.concatenate([vertices, middle.astype(np.float32)]), faces
