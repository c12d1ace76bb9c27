"""A coloured triangle mesh."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dfast.mesh import files
from dfast.mesh.arrays import Floats, Indices

if TYPE_CHECKING:
    import trimesh


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in world axes (z up, front +x, right-handed)."""

    vertices: Floats
    """[V, 3]."""
    faces: Indices
    """[F, 3] indices of vertices, counterclockwise as seen from outside."""
    colors: Floats
    """[V, 3] display RGB (sRGB) in [0, 1]."""
    level: float
    """The density whose level set this is."""

    def normals(self) -> Floats:
        """Return the area-weighted unit normals at the vertices, outward, [V, 3]."""
        corner = self.vertices[self.faces]  # [F, 3, 3]
        face = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        total = np.stack(
            [
                np.bincount(self.faces.ravel(), np.repeat(face[:, a], 3), len(self.vertices))
                for a in range(3)
            ],
            1,
        )
        length = np.linalg.norm(total, axis=1, keepdims=True)
        return (total / np.maximum(length, 1e-20)).astype(np.float32)

    def save(self, path: str | Path) -> Path:
        """Write the mesh to a file, atomically.

        Args:
            path: ends in .glb (turned to the axes of glTF: y up, front +z), or in .ply, .obj or
                .stl (world axes; these need trimesh).

        Returns:
            The path.

        Raises:
            ExportError: if the path has another ending.
        """
        return files.write_mesh(path, self.vertices, self.faces, self.colors, self.normals())

    def to_trimesh(self) -> trimesh.Trimesh:
        """Return the same mesh as a `trimesh.Trimesh`, in world axes."""
        return files.to_trimesh(self.vertices, self.faces, self.colors)
