"""Write meshes, given as arrays, to files: GLB, PLY, OBJ and STL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dfast._files import user_path
from dfast._numbers import shown
from dfast.errors import ExportError
from dfast.io.exporting import exporting
from dfast.mesh.arrays import Floats, Indices
from dfast.mesh.gltf import glb_bytes

if TYPE_CHECKING:
    import trimesh

FORMATS = (".glb", ".ply", ".obj", ".stl")


def write_mesh(
    path: str | Path, vertices: Floats, faces: Indices, colors: Floats, normals: Floats
) -> Path:
    """Write a mesh file, atomically.

    Args:
        path: ends in one of `FORMATS`. A .glb file is turned to the axes of glTF (y up, front +z),
            the others keep the world axes.
        vertices: [V, 3] in world axes.
        faces: [F, 3] indices, counterclockwise as seen from outside.
        colors: [V, 3] display RGB (sRGB) in [0, 1].
        normals: [V, 3] unit normals in world axes; only .glb files store them.

    Returns:
        The path.

    Raises:
        ExportError: if the path has another ending or cannot be written.
    """
    path = check_mesh_path(path)
    suffix = path.suffix.lower()
    with exporting(path) as temporary:
        if suffix == ".glb":
            temporary.write_bytes(glb_bytes(vertices, normals, colors, faces))
        else:
            to_trimesh(vertices, faces, colors).export(temporary)
    return path


def check_mesh_path(path: str | Path) -> Path:
    """Return the path of a mesh file.

    Args:
        path: ends in one of `FORMATS`.

    Raises:
        ExportError: if it has another ending, or is no path.
    """
    if not isinstance(path, str | Path) or Path(path).suffix.lower() not in FORMATS:
        raise ExportError(f"path must end in one of {', '.join(FORMATS)}, got {shown(path)}")
    return user_path(path)


def to_trimesh(vertices: Floats, faces: Indices, colors: Floats) -> trimesh.Trimesh:
    """Return a `trimesh.Trimesh` of vertices [V, 3], faces [F, 3] and vertex colours [V, 3]."""
    import trimesh

    rgba = np.full((len(vertices), 4), 255, np.uint8)
    rgba[:, :3] = np.rint(colors * 255)
    return trimesh.Trimesh(vertices, faces, vertex_colors=rgba, process=False)
