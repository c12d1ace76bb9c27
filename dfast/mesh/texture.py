"""Bake the colour and the fine shape of a density field into textures of a mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfast.mesh.arrays import Floats
from dfast.mesh.density_grid import DensityField, device_of, query
from dfast.mesh.snap import snap
from dfast.mesh.tangents import tangents
from dfast.mesh.texels import fill_gaps, texel_points
from dfast.mesh.unwrap import Atlas, unwrap

Image = NDArray[np.uint8]

REACH = 0.03
"""Farthest, in world units, that the field's surface is looked for from the mesh's."""
STENCIL = 0.01
"""Half the width of the differences behind the normals, in world units."""
STEEPEST = 0.2
"""Smallest cosine between a normal of the map and that of the mesh."""


@dataclass(frozen=True)
class Texture:
    """Textures of a mesh, and where its corners lie in them."""

    atlas: Atlas
    tangents: Floats
    """[W, 4] unit tangents at the atlas's vertices, and the signs of the bitangents."""
    color: Image
    """[T, T, 3] albedo, display RGB (sRGB), the top row first."""
    normal: Image
    """[T, T, 3] normals in tangent space: 255 (n + 1) / 2, y up."""


def bake_texture(
    density_field: DensityField,
    vertices: Floats,
    faces: NDArray[np.int64],
    normals: Floats,
    *,
    level: float,
    size: int,
) -> Texture:
    """Unwrap a mesh and bake the field's albedo and normals into textures.

    Every texel is a point of the mesh, moved along its normal onto the field's level set.

    Args:
        density_field: the field.
        vertices: [V, 3].
        faces: [F, 3] indices.
        normals: [V, 3] unit normals.
        level: density at the surface.
        size: texels a side.
    """
    atlas, frames = tangents(vertices, normals, unwrap(vertices, faces, size))
    healthy = np.delete(np.arange(len(atlas.faces)), atlas.thin)
    texel, face, weight = texel_points(atlas.uv[atlas.faces[healthy]], size)
    corner = atlas.faces[healthy[face]]  # [N, 3]

    def between(values: Floats) -> Tensor:
        """Return values of the atlas's vertices [W, C] interpolated at the texels, [N, C]."""
        return torch.from_numpy(np.einsum("nk,nkc->nc", weight, values[corner]))

    smooth = torch.nn.functional.normalize(between(normals[atlas.source]), dim=1)
    points = snap(density_field, between(vertices[atlas.source]), smooth, level, REACH, halvings=3)
    albedo = query(density_field.albedo, points, device_of(density_field)).clamp(0, 1)
    fine = _normals(density_field, points, level)
    shade = _in_tangent_space(fine, smooth, between(frames))
    color, normal = np.zeros((2, size * size, 3), np.float32)
    color[texel], normal[texel] = albedo.numpy(), shade.numpy() / 2 + 0.5
    known = np.zeros((size, size), bool)
    known.ravel()[texel] = True
    images = [fill_gaps(image.reshape(size, size, 3), known) for image in (color, normal)]
    return Texture(atlas, frames, *(np.rint(image * 255).astype(np.uint8) for image in images))


def _normals(density_field: DensityField, points: Tensor, level: float) -> Tensor:
    """Return the directions [N, 3] in which the density falls, from central differences.

    The density is compressed to density / (density + level), so that the differences are about the
    level set and not about peaks beside it.
    """
    sides = []
    for axis in range(3):
        step = torch.zeros(3)
        step[axis] = STENCIL
        plus, minus = (
            query(density_field.density, points + s * step, device_of(density_field))
            for s in (1, -1)
        )
        sides.append(minus / (minus + level) - plus / (plus + level))
    return torch.stack(sides, 1)


def _in_tangent_space(fine: Tensor, smooth: Tensor, frame: Tensor) -> Tensor:
    """Return normals in the axes that readers make of tangents: t, w (n x t), n.

    Args:
        fine: [N, 3] directions of the field; zeros stand for the mesh's own normal.
        smooth: [N, 3] unit normals n of the mesh.
        frame: [N, 4] tangents t, which need not be units, and signs w.
    """
    unit = torch.nn.functional.normalize
    lost = fine.norm(dim=1, keepdim=True) < 1e-6
    fine = torch.where(lost, smooth, unit(fine, dim=1))
    tangent = frame[:, :3]
    tangent = unit(tangent - (tangent * smooth).sum(1, keepdim=True) * smooth, dim=1)
    bitangent = torch.linalg.cross(smooth, tangent) * torch.sign(frame[:, 3:])
    local = torch.stack([(fine * axis).sum(1) for axis in (tangent, bitangent, smooth)], 1)
    # A normal that turns away from the mesh's would be black in every light.
    local[:, 2] = local[:, 2].clamp(min=STEEPEST)
    return unit(local, dim=1)
