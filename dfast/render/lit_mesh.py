"""Images of a `LoopScene` in the light of training, and what its pixels see for pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dfast.ops.antialias import antialias
from dfast.ops.interpolate import interpolate
from dfast.ops.rasterize import Raster, rasterize
from dfast.ops.texture import texture
from dfast.ops.texture_level import texture_level
from dfast.render.mesh import distance_of, unit, vertex_normals
from dfast.scene.cameras import CameraBatch
from dfast.scene.lighting import Lighting
from dfast.scene.loop_scene import LoopScene, Topology
from dfast.scene.projection import clip_coordinates

GREY = 0.5
"""Albedo of textureless surfaces, display RGB: CLIP-Mesh, loop.py."""


@dataclass(frozen=True)
class LitMesh:
    """B images of a mesh, antialiased at silhouettes; differentiable in the scene's parameters."""

    image: Tensor
    """[B, 3, N, N] display RGB in [0, 1], background included"""
    opacity: Tensor
    """[B, 1, N, N] the covered share of the pixel"""
    depth: Tensor
    """[B, 1, N, N] distance along the ray, premultiplied"""
    normal: Tensor
    """[B, 3, N, N] unit normals of the normal map in world coordinates, premultiplied"""

    @property
    def fill(self) -> Tensor:
        """Scalar: mean opacity, without gradient. A mesh that fills all images has burst."""
        return self.opacity.detach().mean()

    @property
    def num_samples(self) -> Tensor:
        """Scalar int64: 0, since nothing is marched."""
        return torch.zeros((), dtype=torch.int64, device=self.opacity.device)


def render_lit_mesh(
    scene: LoopScene,
    cameras: CameraBatch,
    lighting: Lighting,
    *,
    resolution: int,
    colors: Tensor,
    grey: float = GREY,
) -> LitMesh:
    """Render B images.

    A point of albedo rho has the colour rho (ambient + diffuse max(0, n . l)), as in fields, with
    its normal n from the normal map and its unit direction l to the light.

    Args:
        scene: what is rendered.
        cameras: B cameras.
        lighting: of the B images.
        resolution: N pixels a side.
        colors: [B, 3] in [0, 1], the colour behind the object.
        grey: albedo of textureless images.
    """
    mesh, positions = scene.topology, scene.positions()
    clip = clip_coordinates(positions, cameras)
    raster = rasterize(clip, mesh.faces, resolution=resolution)
    smooth = torch.cat([vertex_normals(positions, mesh.faces), positions], 1)
    values = _shade(
        interpolate(smooth, mesh.faces, raster),
        interpolate(torch.cat([mesh.uv, tangents(positions, mesh)], 1), mesh.uv_faces, raster),
        _levels(scene, raster, clip),
        scene.maps(),
        lighting,
        raster.face >= 0,
        grey,
    )
    opacity = (raster.face >= 0).to(clip.dtype)[..., None]
    color, normal = values.split(3, -1)
    depth = opacity * distance_of(raster.depth, cameras)
    image = torch.cat([color, opacity, depth, normal], -1)
    image = antialias(image, raster, clip, mesh.faces, mesh.twins)
    color, opacity, depth, normal = image.permute(0, 3, 1, 2).split((3, 1, 1, 3), 1)
    behind = colors[:, :, None, None]
    return LitMesh(color + (1.0 - opacity) * behind, opacity, depth, normal)


def _levels(scene: LoopScene, raster: Raster, clip: Tensor) -> Tensor:
    """Return the level of the maps' mip chain that each pixel sees, [B, N, N]."""
    mesh, texels = scene.topology, scene.config.texels
    return texture_level(
        raster, clip, mesh.faces, mesh.uv, mesh.uv_faces, height=texels, width=texels
    )


def _shade(
    surface: Tensor,
    maps_at: Tensor,
    level: Tensor,
    maps: Tensor,
    lighting: Lighting,
    hit: Tensor,
    grey: float,
) -> Tensor:
    """Return colours and normals of pixels, [B, N, N, 6], 0 where nothing is seen.

    Args:
        surface: [B, N, N, 6] normal and place of the mesh.
        maps_at: [B, N, N, 5] uv and tangent.
        level: [B, N, N] of the mip chain.
        maps: [T, T, 6] texture and normal map.
        lighting: of the B images.
        hit: bool [B, N, N], whether the mesh is seen.
        grey: albedo of textureless images.
    """
    # On a CPU only pixels that see the mesh are shaded; a GPU would wait for their number.
    rows = torch.arange(hit.numel(), device=hit.device)
    rows = rows[hit.flatten()] if hit.device.type == "cpu" else rows

    def seen(values: Tensor) -> Tensor:
        return values.flatten(0, 2).index_select(0, rows)

    image = rows // hit[0].numel()
    normal, place = seen(surface).split(3, 1)
    uv, tangent = seen(maps_at).split((2, 3), 1)
    levels = level.flatten().index_select(0, rows)
    albedo, local = texture(maps, uv.contiguous(), levels).split(3, 1)
    normal = bent(unit(normal), tangent, local)
    to_light = unit(lighting.light_position[image] - place)
    cosine = (normal * to_light).sum(1, keepdim=True).clamp(min=0.0)
    shade = lighting.ambient[image, None] + lighting.diffuse[image, None] * cosine
    bare = lighting.textureless[image, None]
    albedo = albedo + bare * (grey - albedo)
    found = torch.cat([albedo * shade, normal], 1) * hit.flatten()[rows, None]
    whole = found.new_zeros(hit.numel(), found.shape[1]).index_copy(0, rows, found)
    return whole.view(*hit.shape, found.shape[1])


def tangents(positions: Tensor, mesh: Topology) -> Tensor:
    """Return the directions in which u grows at the rows of `uv`, [A, 3], of any length.

    They are means over the triangles, weighted by area.

    Args:
        positions: [V, 3] of the surface. Differentiable.
        mesh: its triangles and their places in the maps.
    """
    a, b, c = positions[mesh.faces.long()].unbind(1)
    u, v, w = mesh.uv[mesh.uv_faces.long()].unbind(1)
    one, two = v - u, w - u
    area = one[:, :1] * two[:, 1:] - one[:, 1:] * two[:, :1]
    face = (two[:, 1:] * (b - a) - one[:, 1:] * (c - a)) / area
    face = face * torch.linalg.cross(b - a, c - a).norm(dim=1, keepdim=True)
    rows = mesh.uv_faces.long().T.reshape(-1)
    return torch.zeros_like(mesh.uv[:, :1]).expand(-1, 3).index_add(0, rows, face.repeat(3, 1))


def bent(normal: Tensor, tangent: Tensor, local: Tensor) -> Tensor:
    """Return unit normals from normals of a map, as readers of glTF do.

    Args:
        normal: [..., 3] unit normals of the surface.
        tangent: [..., 3] directions in which u grows, of any length.
        local: [..., 3] in the axes tangent, normal x tangent, normal.
    """
    along = unit(tangent - (tangent * normal).sum(-1, keepdim=True) * normal)
    across = torch.linalg.cross(normal, along)
    x, y, z = local.unsqueeze(-1).unbind(-2)
    return unit(x * along + y * across + z * normal)
