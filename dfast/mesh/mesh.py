"""From a trained field to a coloured, closed triangle mesh, and to files that viewers open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dfast._files import replacing
from dfast.errors import ExportError
from dfast.mesh.files import FORMATS, glb_bytes
from dfast.mesh.surface_nets import Floats

if TYPE_CHECKING:
    import trimesh


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in world axes (z up, front +x, right-handed), faces counterclockwise from
    outside.
    """

    vertices: Floats  # [V, 3]
    faces: NDArray[np.int64]  # [F, 3]
    colors: Floats  # [V, 3] display RGB in [0, 1]
    level: float
    """The density whose level set this is."""

    def normals(self) -> Floats:
        """Area-weighted unit normals at the vertices, outward, [V, 3]."""
        corner = self.vertices[self.faces]  # [F, 3, 3]
        face = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        total = np.stack(
            [
                np.bincount(self.faces.ravel(), np.repeat(face[:, a], 3), len(self.vertices))
                for a in range(3)
            ],
            1,
        )
        return (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-20)).astype(
            np.float32
        )

    def save(self, path: str | Path) -> Path:
        """Write .glb (turned to glTF's axes: y up, front +z), .ply, .obj or .stl (world axes).
        Returns the path.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in FORMATS:
            raise ExportError(f"path must end in one of {', '.join(FORMATS)}, got {str(path)!r}")
        with replacing(path) as temporary:
            if suffix == ".glb":
                temporary.write_bytes(
                    glb_bytes(self.vertices, self.normals(), self.colors, self.faces)
                )
            else:
                self.to_trimesh().export(temporary)
        return path

    def to_trimesh(self) -> trimesh.Trimesh:
        """The same mesh as a `trimesh.Trimesh`, world axes."""
        import trimesh

        rgba = np.full((len(self.vertices), 4), 255, np.uint8)
        rgba[:, :3] = np.rint(self.colors * 255)
        return trimesh.Trimesh(self.vertices, self.faces, vertex_colors=rgba, process=False)
