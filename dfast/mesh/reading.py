"""Read GLB files, also those of other programs, as triangles with colours in world axes."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfast.errors import ConfigError
from dfast.mesh.arrays import Floats, Indices
from dfast.mesh.glb_accessors import plain_accessors
from dfast.mesh.placing import TURNS

MOST_FACES = 20_000_000
"""Above the meshes of all generators."""


@dataclass(frozen=True)
class MeshPart:
    """The triangles of one material, in world axes: z up, front +x."""

    vertices: Floats
    """[V, 3]"""
    faces: Indices
    """[F, 3] indices of vertices"""
    colors: Floats
    """[V, 3] linear RGB in [0, 1], which multiplies the texture"""
    uv: Floats | None
    """[V, 2] positions in the texture, from its bottom left corner; it repeats outside [0, 1]"""
    texture: NDArray[np.uint8] | None
    """[H, W, 3] display RGB, row 0 at the top"""


def read_glb(path: Path) -> list[MeshPart]:
    """Read a GLB file: base colours of materials, their textures, colours of vertices.

    Lights, cameras, transparency and all other textures are left out.

    Args:
        path: the file.

    Raises:
        ConfigError: it cannot be read, has no triangles, corners that are no numbers, or textures
            that are placed in a way that is not read.
    """
    import trimesh

    try:
        data = BytesIO(plain_accessors(path.read_bytes()))
        scene = trimesh.load_scene(data, file_type="glb", process=False)
        # Node by node, because scene.dump() copies a textured mesh without its painted vertices.
        places = [scene.graph[node] for node in scene.graph.nodes_geometry]
        meshes = [(scene.geometry[name], place) for place, name in places]
        parts = [
            _part(mesh, place)
            for mesh, place in meshes
            if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces)
        ]
    except Exception as error:  # damaged files fail in many ways
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ConfigError(f"'{path}': cannot be read as a GLB file ({reason})") from error
    faces = sum(len(part.faces) for part in parts)
    if not 0 < faces <= MOST_FACES:
        raise ConfigError(f"'{path}': expected 1 to {MOST_FACES} triangles, got {faces}")
    corners = np.concatenate([part.vertices for part in parts])
    if not np.isfinite(corners).all() or not np.ptp(corners, axis=0).max() > 0:
        raise ConfigError(f"'{path}': expected corners that are apart, got none or no numbers")
    return parts


def _part(mesh: Any, place: NDArray[Any]) -> MeshPart:
    """Return a mesh of trimesh as a part.

    Args:
        mesh: in axes of its own.
        place: [4, 4] from these to the scene's.
    """
    vertices = (np.asarray(mesh.vertices) @ place[:3, :3].T + place[:3, 3]).astype(np.float32)
    faces = np.asarray(mesh.faces, np.int64)
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError("triangles of corners that are not there")
    if np.linalg.det(place[:3, :3]) < 0:  # a mirror turns triangles inside out
        faces = faces[:, ::-1]
    colors = np.ones((len(vertices), 3), np.float32)
    uv = texture = None
    if mesh.visual.kind == "texture":
        material = mesh.visual.material
        factor, image = (getattr(material, key, None) for key in NAMES)
        if factor is not None:
            colors = colors * _unit(np.asarray(factor))[:3]
        if image is not None and mesh.visual.uv is not None:
            texture = np.asarray(image.convert("RGB"))
            uv = np.asarray(mesh.visual.uv, np.float32)
        own = mesh.visual.vertex_attributes.get("color")
    else:
        own = mesh.visual.vertex_colors if mesh.visual.kind == "vertex" else None
    if own is not None:
        colors = colors * _unit(np.asarray(own))[:, :3]
    colors = np.nan_to_num(colors.astype(np.float32)).clip(0.0, 1.0)
    turn = TURNS["y-up"].astype(np.float32)
    return MeshPart(vertices @ turn, faces, colors, uv, texture)


NAMES = ("baseColorFactor", "baseColorTexture")


def _unit(values: NDArray[Any]) -> NDArray[Any]:
    """Return colours in [0, 1], whatever whole numbers stood for them."""
    whole = np.issubdtype(values.dtype, np.integer)
    return values / np.iinfo(values.dtype).max if whole else values
