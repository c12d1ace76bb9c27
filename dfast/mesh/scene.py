"""From the mesh of an export to the scene that the refine stage optimises, and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from dfast.mesh.arrays import Floats, Indices
from dfast.mesh.mesh import Mesh
from dfast.mesh.tangents import tangents
from dfast.mesh.texels import fill_gaps, texel_points
from dfast.mesh.texture import Texture
from dfast.mesh.unwrap import Atlas
from dfast.ops.texture import texture as look_up
from dfast.scene.mesh_scene import MeshScene, MeshTensors

REACH = 16
"""Texels from a chart up to which its colours go on into gaps, for four levels of mipmaps."""
SIDES = ((0, 1), (0, -1), (1, 0), (-1, 0))
"""Rows and columns from a texel to its neighbours."""
ROUGHNESS, METALNESS = 0.6, 0.0
"""Of a PBR material at the start of a stage."""


def tensors_of_mesh(mesh: Mesh, *, pbr: bool = False) -> MeshTensors:
    """Return a textured mesh as tensors on the CPU; its texture has the albedo.

    Args:
        mesh: with a texture. Its normal map is left out: what it shows of the field's shape is to
            come from the vertices.
        pbr: whether the texture gets roughness and metalness, the same everywhere.
    """
    assert mesh.texture is not None
    atlas = mesh.texture.atlas
    texture = torch.from_numpy(mesh.texture.color.astype(np.float32) / 255)
    if pbr:
        more = torch.tensor([ROUGHNESS, METALNESS]).expand(*texture.shape[:2], 2)
        texture = torch.cat([texture, more], 2)
    return MeshTensors(
        vertices=torch.from_numpy(mesh.vertices.astype(np.float32)),
        texture=texture,
        faces=torch.from_numpy(mesh.faces.astype(np.int32)),
        uv=torch.from_numpy(atlas.uv.astype(np.float32)),
        uv_faces=torch.from_numpy(atlas.faces.astype(np.int32)),
        nearest=nearest_covered(torch.from_numpy(atlas.uv[atlas.faces]), len(texture)),
    )


def nearest_covered(corners: Tensor, size: int) -> Tensor:
    """Return for each texel of a square texture itself, or a texel nearby that a triangle covers.

    Args:
        corners: [F, 3, 2] texture coordinates of the corners of triangles.
        size: texels a side.

    Returns:
        int32 [size^2]. Texels from which no covered one is within `REACH` are their own.
    """
    known = torch.zeros(size * size, dtype=torch.bool)
    known[texel_points(corners, size)[0]] = True
    known, index = known.view(size, size), torch.arange(size * size).view(size, size)
    index = torch.where(known, index, -1)
    for _ in range(REACH):  # each round reaches one texel farther
        padded = pad(index, (1, 1, 1, 1), value=-1)
        around = [padded[1 + y : 1 + y + size, 1 + x : 1 + x + size] for y, x in SIDES]
        found = torch.stack(around).amax(0)
        index = torch.where(index < 0, found, index)
    own = torch.arange(size * size).view(size, size)
    return torch.where(index < 0, own, index).to(torch.int32).flatten()


@torch.no_grad()
def mesh_of_scene(scene: MeshScene, notes: tuple[str, ...] = ()) -> Mesh:
    """Return the mesh of a scene as it is exported; gaps of the texture are filled anew.

    Args:
        scene: on any device.
        notes: what whoever uses the mesh should know.
    """
    vertices, faces = scene.vertices.cpu().numpy(), scene.faces.cpu().numpy().astype(np.int64)
    uv, uv_faces = scene.uv.cpu(), scene.uv_faces.cpu().long()
    image = filled_texture(scene.shown_texture().cpu(), uv[uv_faces])
    mesh = Mesh(vertices, faces, _colors(image, uv, faces, uv_faces, len(vertices)), notes=notes)
    source = np.zeros(len(uv), np.int64)
    source[uv_faces.numpy()] = faces
    thin = np.empty(0, np.int64)
    atlas = Atlas(source, uv_faces.numpy(), uv.numpy(), thin)
    atlas, frames = tangents(vertices, mesh.normals(), atlas)
    levels = (image.clamp(0, 1) * 255).round().byte().numpy()
    material = None
    if scene.is_pbr:  # the first channel is where glTF has the occlusion: none
        material = np.concatenate([np.full_like(levels[..., :1], 255), levels[..., 3:]], 2)
    color = np.ascontiguousarray(levels[..., :3])
    baked = Texture(atlas, frames, color, None, material)
    return Mesh(vertices, faces, mesh.colors, texture=baked, notes=notes)


def filled_texture(texture: Tensor, corners: Tensor) -> Tensor:
    """Return a texture whose gaps between charts take the colours beside them.

    Args:
        texture: [T, T, C].
        corners: [F, 3, 2] texture coordinates of the corners of faces.

    Returns:
        [T, T, C].
    """
    size = len(texture)
    known = torch.zeros(size * size, dtype=torch.bool)
    known[texel_points(corners, size)[0]] = True
    filled = fill_gaps(texture.permute(2, 0, 1), known.view(size, size))
    return filled.permute(1, 2, 0).contiguous()


def _colors(image: Tensor, uv: Tensor, faces: Indices, uv_faces: Tensor, count: int) -> Floats:
    """Return the colours [V, 3] that the texture has at the vertices, at one corner of each."""
    at_corners = look_up(image[..., :3].contiguous(), uv)
    colors = torch.zeros(count, 3)
    colors[torch.from_numpy(faces).flatten()] = at_corners[uv_faces.flatten()]
    return colors.clamp(0, 1).numpy()
