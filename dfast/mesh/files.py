"""Write meshes, given as arrays, to files of every format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dfast._files import user_path
from dfast.config.meshes import FORMATS, check_size, format_of
from dfast.io.exporting import exporting
from dfast.mesh.arrays import Floats, Indices
from dfast.mesh.gltf import glb_bytes
from dfast.mesh.obj import write_obj
from dfast.mesh.placing import Placed, place
from dfast.mesh.threemf import threemf_bytes
from dfast.mesh.usd import write_usdz

if TYPE_CHECKING:
    import trimesh

__all__ = ["FORMATS", "check_mesh_path", "to_trimesh", "write_mesh"]


def write_mesh(path: str | Path, mesh: Placed, size: float | None = None) -> Path:
    """Write a mesh file, atomically.

    Args:
        path: ends in one of `FORMATS`, which says its axes and its unit.
        mesh: in world axes and units.
        size: largest extent in metres, 1e-6 to 1e6; None is the format's.

    Returns:
        The path.

    Raises:
        ExportError: if the path has another ending or cannot be written, or for another size.
    """
    path = check_mesh_path(path)
    placed = place(mesh, format_of(path), check_size(size))
    ending = path.suffix.lower()
    if ending == ".obj":
        write_obj(path, placed)
        return path
    with exporting(path) as temporary:
        if ending == ".glb":
            temporary.write_bytes(glb_bytes(placed))
        elif ending == ".3mf":
            temporary.write_bytes(threemf_bytes(placed))
        elif ending == ".usdz":
            write_usdz(temporary, placed)
        else:
            to_trimesh(placed.vertices, placed.faces, placed.colors).export(temporary)
    return path


def check_mesh_path(path: str | Path) -> Path:
    """Return the path of a mesh file.

    Args:
        path: ends in one of `FORMATS`.

    Raises:
        ExportError: if it has another ending, or is no path.
    """
    format_of(path)
    return user_path(path)


def to_trimesh(vertices: Floats, faces: Indices, colors: Floats) -> trimesh.Trimesh:
    """Return a `trimesh.Trimesh` of vertices [V, 3], faces [F, 3] and vertex colours [V, 3]."""
    import trimesh

    rgba = np.full((len(vertices), 4), 255, np.uint8)
    rgba[:, :3] = np.rint(colors * 255)
    return trimesh.Trimesh(vertices, faces, vertex_colors=rgba, process=False)
