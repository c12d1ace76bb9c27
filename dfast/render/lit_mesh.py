"""Images of a `MeshScene` in the light of training, and what its pixels see for pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dfast.ops.antialias import antialias
from dfast.ops.interpolate import interpolate
from dfast.ops.rasterize import rasterize
from dfast.render.mesh import Surface, distance_of, textured, unit, vertex_normals
from dfast.scene.cameras import CameraBatch
from dfast.scene.lighting import Lighting
from dfast.scene.mesh_scene import MeshScene, Topology
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
    scene: MeshScene,
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
    maps = Surface(positions, mesh.faces, None, scene.maps(), mesh.uv, mesh.uv_faces)
    albedo, local = textured(maps, clip, raster).split((3, 3), -1)
    smooth = vertex_normals(positions, mesh.faces)
    normal, place = interpolate(torch.cat([smooth, positions], 1), mesh.faces, raster).split(3, -1)
    tangent = interpolate(tangents(positions, mesh), mesh.uv_faces, raster)
    normal = bent(unit(normal), tangent, local)
    to_light = unit(lighting.light_position[:, None, None] - place)
    cosine = (normal * to_light).sum(-1, keepdim=True).clamp(min=0.0)
    shade = _pixels(lighting.ambient) + _pixels(lighting.diffuse) * cosine
    albedo = torch.lerp(albedo, torch.full_like(albedo, grey), _pixels(lighting.textureless))
    opacity = (raster.face >= 0).to(clip.dtype)[..., None]
    values = [albedo * shade, torch.ones_like(opacity), distance_of(raster.depth, cameras), normal]
    image = antialias(opacity * torch.cat(values, -1), raster, clip, mesh.faces, mesh.twins)
    color, opacity, depth, normal = image.permute(0, 3, 1, 2).split((3, 1, 1, 3), 1)
    behind = colors[:, :, None, None]
    return LitMesh(color + (1.0 - opacity) * behind, opacity, depth, normal)


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


def _pixels(values: Tensor) -> Tensor:
    """Return values of images [B] for their pixels, [B, 1, 1, 1]."""
    return values.view(-1, 1, 1, 1)
