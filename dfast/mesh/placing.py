"""Turn, scale and shift a mesh as the convention of a file format asks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dfast.config.meshes import Format
from dfast.mesh.arrays import Floats, Indices
from dfast.mesh.texture import Texture

TURNS = {
    "world": np.eye(3),
    "y-up": np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    "plate": np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
}
"""Rotations from world axes (z up, front +x) to those of `Format.axes`."""


@dataclass(frozen=True)
class Placed:
    """A mesh in the axes and the unit of a file format."""

    vertices: Floats
    """[V, 3]."""
    faces: Indices
    """[F, 3] indices, counterclockwise as seen from outside."""
    normals: Floats
    """[V, 3] unit normals."""
    colors: Floats
    """[V, 3] display RGB (sRGB) in [0, 1]."""
    texture: Texture | None
    """Textures, whose tangents are in the same axes; None if there are none."""


def place(mesh: Placed, form: Format, size: float | None) -> Placed:
    """Return a mesh in the axes and the unit of a format.

    Args:
        mesh: in world axes and units.
        form: the format.
        size: largest extent in metres; None is the format's.
    """
    turn = TURNS[form.axes].astype(np.float32)
    seen = mesh.vertices[mesh.faces.ravel()] if len(mesh.faces) else mesh.vertices
    extent = float(np.ptp(seen, axis=0).max())
    metres = size if size is not None else form.size
    scale = (1.0 if metres is None else metres / extent) / form.unit
    vertices = mesh.vertices.astype(float) @ turn.T * scale
    if form.axes == "plate":
        vertices -= vertices.min(0)
    texture = mesh.texture
    if texture is not None:
        tangents = texture.tangents.copy()
        tangents[:, :3] = tangents[:, :3] @ turn.T
        texture = replace(texture, tangents=tangents)
    return Placed(
        vertices.astype(np.float32), mesh.faces, mesh.normals @ turn.T, mesh.colors, texture
    )
