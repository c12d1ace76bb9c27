"""Sphere tracing of procedural scenes, in batches: geometry once, then any colours and lights.

`trace` finds, for every pixel, which part is seen and its normal (a G-buffer); `shade` turns
G-buffers into images under given colours, light and background. Splitting the two lets one traced
view be shown in every colour and under every light, which is how the embedded prior's training
images are made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dfast.scene.cameras import CameraBatch
from dfast.world.scenes import PartTable, Scene, table_distance

EMPTY = 255
"""Part index of a pixel that sees the background."""

Distance = Callable[[PartTable, Tensor], tuple[Tensor, Tensor]]


class GBuffer(NamedTuple):
    """What cameras see: part [B, H, W] uint8 (EMPTY: nothing), normal [B, H, W, 3] int8 (x127)."""

    part: Tensor
    normal: Tensor


def trace(
    table: PartTable,
    cameras: CameraBatch,
    resolution: int,
    *,
    steps: int = 48,
    tolerance: float = 2e-3,
    distance: Distance = table_distance,
) -> GBuffer:
    """Sphere-trace B scenes ([B, K] parts) from B cameras at resolution x resolution pixels.

    distance: pass a compiled `table_distance` to trace large batches fast.
    """
    batch = cameras.origin.shape[0]
    flat_origins, flat_directions = cameras.rays(resolution)
    origins = flat_origins.view(batch, -1, 3)
    directions = flat_directions.view(batch, -1, 3)
    middle = -(origins * directions).sum(-1)
    closest2 = (origins * origins).sum(-1) - middle * middle
    half = (1.0 - closest2).clamp_min(0).sqrt()
    t, far = middle - half, middle + half
    for _ in range(steps):
        d, _ = distance(table, origins + t[..., None] * directions)
        t = torch.minimum(t + d, far)
    points = origins + t[..., None] * directions
    d, part = distance(table, points)
    hit = (d < tolerance * 2) & (closest2 < 1.0) & (t < far)
    normal = _normals(table, points, distance)
    shape = (batch, resolution, resolution)
    return GBuffer(
        torch.where(hit, part, EMPTY).to(torch.uint8).view(shape),
        (normal * hit[..., None] * 127).round().to(torch.int8).view(*shape, 3),
    )


def _normals(table: PartTable, points: Tensor, distance: Distance, h: float = 2e-3) -> Tensor:
    """Outward normals by central differences on a tetrahedron."""
    corners = points.new_tensor([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
    total = torch.zeros_like(points)
    for corner in corners:
        total = total + corner * distance(table, points + h * corner)[0][..., None]
    return F.normalize(total, dim=-1)


def shade(
    buffer: GBuffer,
    colors: Tensor,
    light: Tensor,
    ambient: Tensor,
    background: Tensor,
    *,
    downsample: int = 2,
) -> Tensor:
    """Images [B, 3, H/d, W/d] in [0, 1] of G-buffers [B, H, W].

    colors [B, K, 3]: albedo of each part; light [B, 3]: unit vector towards the light; ambient [B]:
    the ambient share, the rest is diffuse (1: albedo only); background [B, 3]. Anti-aliased by
    averaging downsample x downsample pixels.
    """
    batch, height, width = buffer.part.shape
    mask = buffer.part != EMPTY
    index = torch.where(mask, buffer.part, 0).long().view(batch, -1, 1).expand(-1, -1, 3)
    albedo = colors.gather(1, index).view(batch, height, width, 3)
    normal = buffer.normal.to(colors.dtype) / 127
    lambert = (normal * light[:, None, None]).sum(-1).clamp_min(0)
    a = ambient[:, None, None]
    lit = albedo * (a + (1 - a) * lambert)[..., None]
    image = torch.where(mask[..., None], lit, background[:, None, None]).permute(0, 3, 1, 2)
    return F.avg_pool2d(image, downsample) if downsample > 1 else image.contiguous()


def render_scene(
    scene: Scene,
    cameras: CameraBatch,
    resolution: int,
    *,
    light: Tensor | None = None,
    ambient: float = 1.0,
    background: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Tensor:
    """The true look of one scene from B cameras: images [B, 3, H, W] in [0, 1], anti-aliased 2 x 2.

    light [B, 3]: unit vectors towards the light (default: at the camera).
    """
    batch, device = cameras.origin.shape[0], cameras.origin.device

    def distance(table: PartTable, x: Tensor) -> tuple[Tensor, Tensor]:
        del table
        d, part = scene.sdf(x.reshape(-1, 3))
        return d.view(x.shape[:-1]), part.view(x.shape[:-1])

    buffer = trace(scene.table, cameras, 2 * resolution, distance=distance)
    towards = F.normalize(cameras.origin, dim=-1) if light is None else light
    return shade(
        buffer,
        scene.colors.to(device)[None].expand(batch, -1, -1),
        towards,
        torch.full((batch,), ambient, device=device),
        torch.tensor(background, device=device).expand(batch, 3),
    )
