"""Tangents of a mesh with texture coordinates, by the rule of MikkTSpace.

A tangent is the direction in which the texture's u grows. The rule is the one that programs follow
which compute tangents themselves: at each vertex the tangents of its faces, projected onto the
plane of the normal, are averaged with the angles of the faces' corners as weights, and faces that
are mirrored in the texture are kept apart. Source: M. Mikkelsen, "Simulation of Wrinkled Surfaces
Revisited" (2008), and his mikktspace.c.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfast.mesh.arrays import Floats
from dfast.mesh.unwrap import Atlas


def tangents(vertices: Floats, normals: Floats, atlas: Atlas) -> tuple[Atlas, Floats]:
    """Return an atlas whose vertices have one tangent each, and the tangents.

    Args:
        vertices: [V, 3] of the mesh.
        normals: [V, 3] unit normals of the mesh's vertices.
        atlas: where its corners lie in the texture.

    Returns:
        The atlas, with vertices doubled where mirrored and other faces meet; and [W, 4]: the unit
        tangent, and the sign w of the bitangent, which is w (normal x tangent). v grows downwards,
        as in glTF, and the bitangent is the direction in which it falls.
    """
    direction, sign = _of_faces(vertices, atlas)
    # Vertex 2 i is vertex i seen from faces that are not mirrored, 2 i + 1 from those that are.
    used, faces = np.unique(2 * atlas.faces + (sign < 0)[:, None], return_inverse=True)
    faces = faces.reshape(-1, 3)
    source = atlas.source[used // 2]
    normal = normals[source].astype(float)
    corner = vertices[source[faces]].astype(float)
    total = np.zeros((len(used), 3))
    for k in range(3):
        own = faces[:, k]
        here, after, before = (corner[:, (k + j) % 3] for j in (0, 1, 2))
        along = _unit(_flat(direction, normal[own]))
        angle = _angle(_flat(after - here, normal[own]), _flat(before - here, normal[own]))
        np.add.at(total, own, along * angle[:, None])
    total = _unit(_flat(total, normal))
    lost = np.linalg.norm(total, axis=1) < 0.5
    total[lost] = _any_perpendicular(normal[lost])
    mirrored = np.where(used % 2 == 1, -1.0, 1.0)[:, None]
    split = Atlas(source, faces, atlas.uv[used // 2], atlas.thin)
    return split, np.concatenate([total, mirrored], 1).astype(np.float32)


def _of_faces(vertices: Floats, atlas: Atlas) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the direction [F, 3] in which u grows on each face, and +1 or -1 if it is mirrored."""
    corner = vertices[atlas.source[atlas.faces]].astype(float)
    uv = atlas.uv[atlas.faces].astype(float)
    uv[..., 1] = 1 - uv[..., 1]  # MikkTSpace has v grow upwards
    e1, e2 = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    d1, d2 = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    area = d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0]
    sign = np.where(area < 0, -1.0, 1.0)
    direction = (d2[:, 1:] * e1 - d1[:, 1:] * e2) * sign[:, None]
    return _unit(direction), sign


def _flat(vector: NDArray[np.float64], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return vectors [N, 3] without their part along unit normals [N, 3]."""
    return vector - (vector * normal).sum(1, keepdims=True) * normal


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return unit vectors, and zeros for zeros."""
    length = np.linalg.norm(vector, axis=1, keepdims=True)
    return np.divide(vector, length, out=np.zeros_like(vector), where=length > 1e-30)


def _angle(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the angles [N] between vectors, in radians."""
    return np.arccos(np.clip((_unit(a) * _unit(b)).sum(1), -1, 1))


def _any_perpendicular(normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a unit vector perpendicular to each unit normal [N, 3]."""
    axis = np.eye(3)[np.abs(normal).argmin(1)] if len(normal) else normal
    return _unit(_flat(axis, normal))
