"""Export a mesh that was optimised: its own triangles and maps, without a search for a surface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from dfast.config.meshes import check_mesh
from dfast.mesh.arrays import Floats
from dfast.mesh.density_grid import DensityField
from dfast.mesh.export import export_mesh
from dfast.mesh.inside import DENSITY
from dfast.mesh.inside import vertex_colors as colors_of
from dfast.mesh.mesh import Mesh, vertex_normals
from dfast.mesh.tangents import tangents
from dfast.mesh.texture import Image, Texture
from dfast.mesh.unwrap import Atlas
from dfast.ops.ambient import neutral_torch_state
from dfast.scene.loop_scene import LoopScene


@neutral_torch_state()
@torch.no_grad()
def export_optimised(
    field: DensityField,
    scene: LoopScene,
    path: str | Path | None = None,
    *,
    faces: int | None = None,
    texture: int | None = None,
    vertex_colors: bool = False,
    size: float | None = None,
    **search: Any,
) -> Mesh:
    """Return an optimised mesh, and write it to a file.

    Where fewer faces are asked for than it has, its surface is searched for and decimated like that
    of a field.

    Args:
        field: the mesh as a field.
        scene: the mesh.
        path: as of `dfast.mesh.export.export_mesh`.
        faces: face budget, as there.
        texture: texels a side, by default those of its maps.
        vertex_colors: write colours at the vertices in place of textures.
        size: largest extent in the file, in metres.
        **search: the other options of `export_mesh`, for a mesh of fewer faces.

    Raises:
        ExportError: an argument that cannot be, or a file that cannot be written.
    """
    given: dict[str, Any] = {
        "faces": faces,
        "texture": texture,
        "vertex_colors": vertex_colors,
        "size": size,
    }
    options = check_mesh(path, **given)
    if options.faces is not None and options.faces < len(scene.topology.faces):
        return export_mesh(field, path, **given, **search)
    mesh = _mesh(scene, None if options.texture is None else texture or scene.config.texels)
    if path is not None:
        mesh.save(path, options.size)
    return mesh


def _mesh(scene: LoopScene, texels: int | None) -> Mesh:
    """Return the mesh with vertex colours, and with textures of so many texels a side."""
    vertices = _array(scene.positions())
    faces = _array(scene.topology.faces).astype(np.int64)
    colors, level = _array(colors_of(scene)), 0.5 * DENSITY
    if texels is None:
        return Mesh(vertices, faces, colors, level)
    return Mesh(vertices, faces, colors, level, _texture(scene, vertices, faces, texels))


def _texture(
    scene: LoopScene, vertices: Floats, faces: np.ndarray[Any, np.dtype[np.int64]], texels: int
) -> Texture:
    """Return the scene's maps as textures."""
    mesh = scene.topology
    none = np.zeros(0, np.int64)
    atlas = Atlas(
        _array(mesh.source), _array(mesh.uv_faces).astype(np.int64), _array(mesh.uv), none
    )
    atlas, frames = tangents(vertices, vertex_normals(vertices, faces), atlas)
    maps = scene.maps().permute(2, 0, 1)[None]
    if texels != maps.shape[-1]:
        maps = interpolate(maps, size=(texels, texels), mode="bilinear", antialias=True)
    color, normal = maps[0].split(3)
    return Texture(atlas, frames, _image(color), _image(normalize(normal, dim=0) / 2 + 0.5))


def _image(channels: Tensor) -> Image:
    """Return channels [3, T, T] in [0, 1] as bytes [T, T, 3]."""
    levels = (channels.clamp(0.0, 1.0) * 255).round().byte()
    return np.ascontiguousarray(levels.permute(1, 2, 0).cpu().numpy())


def _array(tensor: Tensor) -> Any:
    """Return a tensor as an array of numpy."""
    return tensor.detach().cpu().numpy()
