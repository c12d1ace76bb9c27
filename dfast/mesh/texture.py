"""Bake the colour and the fine shape of a density field into textures of a mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from dfast.mesh.appearance import look_at, normals_at
from dfast.mesh.arrays import Floats
from dfast.mesh.density_grid import DensityField, device_of
from dfast.mesh.tangents import tangents
from dfast.mesh.texels import fill_gaps, texel_points
from dfast.mesh.unwrap import Atlas, unwrap

Image = NDArray[np.uint8]

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
    normal: Image | None
    """[T, T, 3] normals in tangent space: 255 (n + 1) / 2, y up; None without a normal map."""
    material: Image | None = None
    """[T, T, 3] 255 times the roughness in the second channel, the metalness in the third, as in
    glTF; None stands for roughness 1 and metalness 0."""

    def images(self) -> dict[str, Image]:
        """Return the images that are there, by name: color, normal, material."""
        found = {name: getattr(self, name) for name in ("color", "normal", "material")}
        return {name: image for name, image in found.items() if image is not None}


def bake_texture(
    density_field: DensityField,
    vertices: Floats,
    faces: NDArray[np.int64],
    normals: Floats,
    *,
    level: float,
    size: int,
    density: Tensor,
) -> Texture:
    """Unwrap a mesh and bake the field's albedo and normals into textures.

    Every texel is a point of the mesh: it gets the colour that the field shows there, and the
    normal at the nearest point of the level set.

    Args:
        density_field: the field.
        vertices: [V, 3].
        faces: [F, 3] indices.
        normals: [V, 3] unit normals.
        level: density at the surface.
        size: texels a side.
        density: the grid [n, n, n] that the mesh was extracted from.
    """
    atlas, frames = tangents(vertices, normals, unwrap(vertices, faces, size))
    device = device_of(density_field)
    healthy = np.delete(np.arange(len(atlas.faces)), atlas.thin)
    corners = torch.from_numpy(atlas.faces[healthy]).to(device)  # [F, 3]
    uv = torch.from_numpy(atlas.uv).to(device)
    texel, face, weight = texel_points(uv[corners], size)

    def between(values: Floats) -> Tensor:
        """Return values of the atlas's vertices [W, C] interpolated at the texels, [N, C]."""
        ends = torch.from_numpy(values).to(device)[corners[face]]
        return (weight[..., None] * ends).sum(1)

    smooth = normalize(between(normals[atlas.source]), dim=1)
    albedo, points = look_at(density_field, between(vertices[atlas.source]), smooth, level)
    fine = normals_at(points, density, level)
    shade = _in_tangent_space(fine, smooth, between(frames))
    images = torch.zeros(6, size * size, device=device)
    images[:, texel] = torch.cat([albedo, shade / 2 + 0.5], 1).T
    known = torch.zeros(size * size, dtype=torch.bool, device=device)
    known[texel] = True
    filled = fill_gaps(images.view(6, size, size), known.view(size, size))
    bytes_ = (filled.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    color, normal = (np.ascontiguousarray(bytes_[..., part]) for part in (np.s_[:3], np.s_[3:]))
    return Texture(atlas, frames, color, normal)


def _in_tangent_space(fine: Tensor, smooth: Tensor, frame: Tensor) -> Tensor:
    """Return normals in the axes that readers make of tangents: t, w (n x t), n.

    Args:
        fine: [N, 3] unit normals of the field; zeros stand for the mesh's own normal.
        smooth: [N, 3] unit normals n of the mesh.
        frame: [N, 4] tangents t, which need not be units, and signs w.
    """
    fine = torch.where(fine.any(1, keepdim=True), fine, smooth)
    tangent = frame[:, :3]
    tangent = normalize(tangent - (tangent * smooth).sum(1, keepdim=True) * smooth, dim=1)
    bitangent = torch.linalg.cross(smooth, tangent) * torch.sign(frame[:, 3:])
    local = torch.stack([(fine * axis).sum(1) for axis in (tangent, bitangent, smooth)], 1)
    # A normal that turns away from the mesh's would be black in every light.
    local[:, 2] = local[:, 2].clamp(min=STEEPEST)
    return normalize(local, dim=1)
