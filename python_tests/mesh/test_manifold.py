"""Closed surfaces become manifold ones, whatever touches whatever."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dfast.mesh.manifold import is_closed, part_sheets
from dfast.mesh.surface_nets import _surface_nets

TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)


@pytest.mark.parametrize("level", [0.4, 0.5, 0.6])
def test_surfaces_of_noise_become_manifold(level: float) -> None:
    touching = 0
    for seed in range(6):
        noise = torch.rand(12, 12, 12, generator=torch.Generator().manual_seed(seed)).numpy()
        vertices, faces = _surface_nets(noise, level)
        touching += not is_closed(faces)
        parted = part_sheets(vertices, faces)
        assert parted is not None and is_closed(parted[1])
        assert len(parted[0]) == len(np.unique(parted[1]))
    assert touching  # or this shows nothing


def test_two_solids_that_share_an_edge_or_a_vertex_are_parted() -> None:
    for shared in ([0, 1, 4, 5], [0, 4, 5, 6]):  # an edge, a vertex
        second = np.array(shared)[TETRAHEDRON]
        away = CORNERS[1:] * -1.0
        vertices = np.concatenate([CORNERS, away.astype(np.float32)])
        parted = part_sheets(vertices, np.concatenate([TETRAHEDRON, second]))
        assert parted is not None and is_closed(parted[1])
        assert len(parted[0]) == 8
        assert len(np.unique(parted[0].round(4), axis=0)) == 8  # apart, also by their places


def test_an_edge_that_two_fans_share_at_both_ends_is_divided() -> None:
    # Two tetrahedra on one edge, joined so that each end of the edge has one fan: no vertex can
    # be parted, and only a vertex on the edge tells the two edges apart.
    noise = torch.rand(14, 14, 14, generator=torch.Generator().manual_seed(2)).numpy()
    vertices, faces = _surface_nets(noise, 0.6)
    parted = part_sheets(vertices, faces)
    assert parted is not None and len(parted[1]) > len(faces) and is_closed(parted[1])


def test_folded_faces_vanish() -> None:
    fold = np.array([[1, 2, 4], [1, 4, 2], [3, 3, 4]])
    vertices = np.concatenate([CORNERS, [[2, 2, 2]]]).astype(np.float32)
    parted = part_sheets(vertices, np.concatenate([TETRAHEDRON, fold]))
    assert parted is not None and len(parted[0]) == 4 and len(parted[1]) == 4


def test_what_is_open_or_winds_both_ways_is_refused() -> None:
    assert part_sheets(CORNERS, TETRAHEDRON[:3]) is None
    flipped = TETRAHEDRON.copy()
    flipped[0] = flipped[0, ::-1]
    assert part_sheets(CORNERS, flipped) is None


def _vertices_with_several_fans(faces: np.ndarray) -> int:
    """Count the vertices of closed faces around which no single ring of faces goes."""
    several = 0
    for vertex in np.unique(faces):
        after = {}  # in each face at the vertex, the corner that follows another one
        for face in faces[(faces == vertex).any(1)]:
            _, a, b = np.roll(face, -int(np.argmax(face == vertex)))
            after[a] = b
        start = a = next(iter(after))
        length = 0
        while length == 0 or a != start:
            a, length = after[a], length + 1
        several += length != (faces == vertex).any(1).sum()
    return several


# Faces of which an edge is still double, and pairs in another way, after the first was divided.
AGAIN = """503 534 540 043 312 320 301 102 435 452 423 325
431 412 423 321 051 012 025 521 314 340 301 104"""


def test_every_vertex_has_one_fan_whatever_solids_are_put_together() -> None:
    cases = [np.array([[int(corner) for corner in face] for face in AGAIN.split()])]
    for seed in range(200):
        generator = np.random.default_rng(seed)
        number = int(generator.integers(4, 8))
        solids = [generator.permutation(number)[:4] for _ in range(generator.integers(1, 8))]
        cases.append(np.concatenate([solid[TETRAHEDRON] for solid in solids]))
    for faces in cases:
        vertices = np.random.default_rng(0).random((8, 3)).astype(np.float32)
        parted = part_sheets(vertices, faces)
        assert parted is not None
        if len(parted[1]):  # nothing is left of a solid and the same one turned inside out
            assert is_closed(parted[1]) and _vertices_with_several_fans(parted[1]) == 0
