"""A triangle mesh with colours, and textures if it has any."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dfast.mesh import files
from dfast.mesh.arrays import Floats, Indices
from dfast.mesh.gltf import glb_bytes
from dfast.mesh.placing import Placed, place
from dfast.mesh.texture import Texture

if TYPE_CHECKING:
    import trimesh


@dataclass(frozen=True)
class Mesh:
    """A closed triangle mesh in world axes (z up, front +x, right-handed)."""

    vertices: Floats
    """[V, 3]."""
    faces: Indices
    """[F, 3] indices of vertices, counterclockwise as seen from outside."""
    colors: Floats
    """[V, 3] display RGB (sRGB) in [0, 1]."""
    level: float | None = None
    """The density whose level set this is; None where it is no level set."""
    texture: Texture | None = None
    """Textures, if they were asked for."""
    notes: tuple[str, ...] = ()
    """What whoever uses the mesh should know, a line each: what was removed, for example."""

    def normals(self) -> Floats:
        """Return the area-weighted unit normals at the vertices, outward, [V, 3]."""
        return vertex_normals(self.vertices, self.faces)

    def save(self, path: str | Path, size: float | None = None) -> Path:
        """Write the mesh to a file, atomically; docs/meshes.md has the formats.

        Args:
            path: ends in .glb, .usdz, .obj, .ply, .stl or .3mf, which sets axes and unit.
            size: largest extent in metres; by default a world unit is a metre, and objects for
                printers (.stl, .3mf) are 0.1 metres large.

        Returns:
            The path.

        Raises:
            ExportError: if the path has another ending, or cannot be written.
        """
        return files.write_mesh(path, self._placed(), size)

    def glb(self) -> bytes:
        """Return the content of the GLB file that `save` would write."""
        return glb_bytes(place(self._placed(), files.FORMATS[".glb"], None))

    def to_trimesh(self) -> trimesh.Trimesh:
        """Return the same mesh as a `trimesh.Trimesh`, in world axes, coloured at its vertices."""
        return files.to_trimesh(self.vertices, self.faces, self.colors)

    def _placed(self) -> Placed:
        """Return the mesh in world axes and units, with its normals."""
        return Placed(self.vertices, self.faces, self.normals(), self.colors, self.texture)


def vertex_normals(vertices: Floats, faces: Indices) -> Floats:
    """Return the area-weighted unit normals [V, 3] at the vertices [V, 3] of faces [F, 3]."""
    extent = np.ptp(vertices.astype(float), axis=0).max() if len(vertices) else 0.0
    corner = vertices[faces].astype(float) / (extent or 1.0)  # [F, 3, 3]
    face = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    total = np.stack(
        [np.bincount(faces.ravel(), np.repeat(face[:, a], 3), len(vertices)) for a in range(3)],
        1,
    )
    length = np.linalg.norm(total, axis=1, keepdims=True)
    flat = length[:, 0] < 1e-20  # faces that fold back onto each other
    total[flat], length[flat] = (0, 0, 1), 1
    return (total / length).astype(np.float32)
