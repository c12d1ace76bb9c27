"""Images of meshes of any program for scores by a CLIP: `views_of_mesh`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from dfast.errors import DfastWarning
from dfast.evaluation.clip_views import Views
from dfast.mesh.reading import MeshPart
from dfast.ops.interpolate import interpolate
from dfast.ops.rasterize import rasterize
from dfast.render.studio import decode, encode
from dfast.scene.cameras import CameraBatch
from dfast.scene.lighting import fixed_lighting
from dfast.scene.projection import clip_coordinates
from dfast.scene.tree import map_tensors

SAMPLES = 3
"""Of a pixel, a side: edges and textures are smooth without levels of detail."""
TOGETHER = 2
"""Images rendered at once."""


class _Model:
    """The parts of a mesh joined on a device, with all corners' values in one table."""

    def __init__(self, parts: Sequence[MeshPart], device: torch.device) -> None:
        sizes = np.cumsum([0, *(len(part.vertices) for part in parts)])
        faces = [part.faces + start for part, start in zip(parts, sizes, strict=False)]
        owners = [np.full(len(part.faces), i) for i, part in enumerate(parts)]
        uv = [np.zeros((len(p.vertices), 2), np.float32) if p.uv is None else p.uv for p in parts]

        def joined(arrays: Sequence[NDArray[Any]]) -> Tensor:
            return torch.from_numpy(np.concatenate(arrays)).to(device)

        self.points = joined([part.vertices for part in parts])
        self.faces, self.owner = joined(faces).int(), joined(owners)
        self.values = torch.cat([joined([part.colors for part in parts]), joined(uv)], 1)
        self.textures = {
            i: torch.from_numpy(np.array(part.texture)).to(device)
            for i, part in enumerate(parts)
            if part.texture is not None
        }


@torch.no_grad()
def views_of_mesh(parts: Sequence[MeshPart], views: Views, device: torch.device | str) -> Tensor:
    """Render a mesh without light, or white in the light of textureless views.

    Triangles are seen from both sides. The mesh is moved and scaled as `Views.fit` says.

    Args:
        parts: of the mesh.
        views: from where, and how; albedo or textureless.
        device: that renders.

    Returns:
        [C F, 3, H, W] display RGB in [0, 1].

    Raises:
        ValueError: for views in another shading.
    """
    if views.shading not in ("albedo", "textureless"):
        raise ValueError(f"shading: expected albedo or textureless, got {views.shading!r}")
    model, cameras = _Model(parts, torch.device(device)), views.cameras().to(device)
    points = fitted(model.points, views.fit)
    images = []
    for i in range(0, len(views), TOGETHER):
        some: CameraBatch = map_tensors(lambda values: values[i : i + TOGETHER], cameras)  # noqa: B023
        images.append(_render(model, points, some, views))
    seen = torch.cat(images)
    background = torch.tensor(views.background, device=seen.device).view(3, 1, 1)
    if not bool(((seen - background).abs() > 1.0 / 255).any()):
        warnings.warn(
            f"nothing is seen before the background of the {views.shading} views: the mesh has "
            "its colour, or is too thin",
            DfastWarning,
            stacklevel=2,
        )
    return seen


def fitted(points: Tensor, fit: str) -> Tensor:
    """Return the corners of a mesh where views expect them.

    Args:
        points: [V, 3] world coordinates.
        fit: one of `Views.fit`.
    """
    if fit == "coordinate":
        centred = points - points.mean(0)
        return centred / centred.abs().max()
    centred = points - (points.amin(0) + points.amax(0)) / 2
    return centred / centred.norm(dim=1).max()


def _render(model: _Model, points: Tensor, cameras: CameraBatch, views: Views) -> Tensor:
    """Return images of some cameras, [B, 3, H, W]."""
    raster = rasterize(
        clip_coordinates(points, cameras), model.faces, resolution=SAMPLES * views.resolution
    )
    hit = raster.face >= 0
    table = torch.cat([points, model.values], 1)
    place, color, uv = interpolate(table, model.faces, raster)[hit].split((3, 3, 2), 1)
    face = raster.face[hit].long()
    if views.shading == "textureless":
        a, b, c = points[model.faces.long()].unbind(1)
        normal = torch.linalg.cross(b - a, c - a)[face]  # flat: the shape itself, not its file's
        color = _lit(place, normal, cameras, hit.nonzero()[:, 0])
    else:
        color = _colored(model, color, uv, model.owner[face])
    background = torch.tensor(views.background, device=points.device)
    image = background.expand(*hit.shape, 3).clone()
    image[hit] = color
    return avg_pool2d(image.permute(0, 3, 1, 2), SAMPLES)


def _lit(place: Tensor, normal: Tensor, cameras: CameraBatch, camera: Tensor) -> Tensor:
    """Return white surfaces [R, 3] in the light of textureless views of fields."""
    lighting = fixed_lighting("textureless", cameras)
    to_camera = normalize(cameras.origin[camera] - place, dim=1)
    normal = normalize(normal, dim=1)
    normal = torch.where((normal * to_camera).sum(1, keepdim=True) < 0, -normal, normal)
    to_light = normalize(lighting.light_position[camera] - place, dim=1)
    cosine = (normal * to_light).sum(1).clamp(min=0.0)
    shade = lighting.ambient[camera] + lighting.diffuse[camera] * cosine
    return shade.clamp(max=1.0)[:, None].expand(-1, 3)


def _colored(model: _Model, color: Tensor, uv: Tensor, owner: Tensor) -> Tensor:
    """Return display colours [R, 3] of points with linear colours and textures by their part."""
    linear = color.clamp(0.0, 1.0)
    for part, texture in model.textures.items():
        mine = (owner == part).nonzero()[:, 0]
        linear[mine] = linear[mine] * decode(_sample(texture, uv[mine]))
    return encode(linear)


def _sample(texture: Tensor, uv: Tensor) -> Tensor:
    """Return the colours [R, 3] in [0, 1] of a texture [H, W, 3] that repeats, bilinear."""
    size = torch.tensor([texture.shape[1], texture.shape[0]], device=uv.device)
    where = torch.stack([uv[:, 0], 1.0 - uv[:, 1]], 1).nan_to_num() % 1.0 * size - 0.5
    low = where.floor()
    part, low = where - low, low.long()
    total = torch.zeros(len(uv), 3, device=uv.device)
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = (low[:, 0] + dx) % size[0], (low[:, 1] + dy) % size[1]
        weight = (part[:, 0] if dx else 1 - part[:, 0]) * (part[:, 1] if dy else 1 - part[:, 1])
        total += weight[:, None] * texture[y, x].float() / 255.0
    return total
