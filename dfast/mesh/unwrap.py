"""Flatten a mesh into a texture atlas (xatlas)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dfast.mesh.arrays import Floats, Indices

PART = 1000
"""Most faces that xatlas is given as one mesh: its time grows faster than their number, and a mesh
is the work of one thread. Of parts that are smaller still, padding takes too much of the texture.
"""
PADDING = 4
"""Texels between charts."""
THIN = 1e-3
"""Area in texels below which a face counts as one without an area in the atlas."""


@dataclass(frozen=True)
class Atlas:
    """Where each corner of a mesh lies in its texture."""

    source: Indices
    """[W] vertex of the mesh that each vertex of the atlas is; those at seams come repeatedly."""
    faces: Indices
    """[F, 3] indices of vertices of the atlas, in the order of the mesh's faces."""
    uv: Floats
    """[W, 2] in [0, 1], from the top left corner of the texture, as in glTF."""
    thin: Indices
    """Faces that have next to no area in the atlas; they show the colour near their middle."""


def unwrap(vertices: Floats, faces: Indices, size: int) -> Atlas:
    """Cut a mesh into charts and pack them into a square texture.

    Args:
        vertices: [V, 3].
        faces: [F, 3] indices.
        size: texels a side.

    Returns:
        The atlas. No face of it is degenerate.
    """
    import xatlas

    atlas = xatlas.Atlas()
    parts = list(_parts(vertices[faces].mean(1), np.arange(len(faces))))
    used = []
    for part in parts:
        own, local = np.unique(faces[part], return_inverse=True)
        used.append(own)
        atlas.add_mesh(
            np.ascontiguousarray(vertices[own], np.float32),
            np.ascontiguousarray(local.reshape(-1, 3), np.uint32),
        )
    packing = xatlas.PackOptions()
    packing.resolution, packing.padding = size, PADDING
    atlas.generate(xatlas.ChartOptions(), packing)

    source, uv, first = [], [], 0
    mapped = np.empty_like(faces)
    for index, (part, own) in enumerate(zip(parts, used, strict=True)):
        vertex, local, where = atlas[index]
        source.append(own[vertex])
        uv.append(where)
        mapped[part] = local.astype(np.int64) + first
        first += len(vertex)
    # The atlas is about as wide and high as was asked; its sides are stretched to the texture's.
    return _widen_thin(np.concatenate(source), mapped, np.concatenate(uv), size)


def _parts(centers: Floats, faces: Indices) -> Iterator[Indices]:
    """Divide faces into halves along the longest side until each part is small enough."""
    if len(faces) <= PART:
        yield faces
        return
    where = centers[faces]
    axis = np.ptp(where, axis=0).argmax()
    order = faces[np.argsort(where[:, axis], kind="stable")]
    yield from _parts(centers, order[: len(order) // 2])
    yield from _parts(centers, order[len(order) // 2 :])


def _widen_thin(source: Indices, faces: Indices, uv: Floats, size: int) -> Atlas:
    """Give faces without an area in the atlas corners of their own, half a texel apart.

    They have no area in space either. A face whose corners share a texture coordinate has no
    tangent, and programs make up different ones.
    """
    corner = uv[faces].astype(float) * size
    d1, d2 = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    area = 0.5 * np.abs(d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0])
    thin = np.nonzero(~(area > THIN))[0]
    if len(thin):
        middle = np.clip(uv[faces[thin]].mean(1), 1 / size, 1 - 1 / size)  # [T, 2]
        small = np.array([[0, 0], [0.5, 0], [0, 0.5]]) / size
        source = np.concatenate([source, source[faces[thin]].ravel()])
        faces = faces.copy()
        faces[thin] = len(uv) + np.arange(3 * len(thin)).reshape(-1, 3)
        uv = np.concatenate([uv, (middle[:, None] + small).reshape(-1, 2)])
        used, faces = np.unique(faces, return_inverse=True)
        source, uv, faces = source[used], uv[used], faces.reshape(-1, 3)
    return Atlas(source, faces, uv.astype(np.float32), thin)
