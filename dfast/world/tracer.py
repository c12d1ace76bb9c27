"""Sphere tracing of procedural scenes, in batches: geometry once, then any colours and lights.

`trace` finds, for every pixel, which part is seen and its normal (a G-buffer). `shade` turns
G-buffers into images under given colours, light and background. One traced view can thus be shown
in every colour and under every light, which is how the embedded prior's training images are made.
`dfast.ops.trace_views` traces; the same in plain torch, which is its reference, is here too.
Source: Hart, "Sphere tracing" (1996).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dfast.ops.world import trace_views
from dfast.scene.cameras import CameraBatch
from dfast.world.patterns import bits_of
from dfast.world.scenes import PartTable, ProceduralScene, rows_local

EMPTY = 255
"""Part index of a pixel that sees the background."""

Distance = Callable[[PartTable, Tensor], tuple[Tensor, Tensor]]
"""A function like `table_distance`."""


class GBuffer(NamedTuple):
    """What cameras see, a pixel each."""

    part: Tensor
    """Index of the part, `EMPTY` for the background, uint8 [B, H, W]."""
    normal: Tensor
    """Outward unit normal times 127, int8 [B, H, W, 3]."""
    pattern: Tensor
    """Bit i: pattern i of `PATTERNS` would show its second colour here, uint8 [B, H, W]."""

    def shifted(self, patterns: Tensor) -> GBuffer:
        """Return the G-buffer whose patterned pixels name a part K farther on.

        The colours of K parts, then their second colours, are the colours of the result.

        Args:
            patterns: of each part, an index of `PATTERNS`, negative for none, [B, K].
        """
        batch, count = patterns.shape
        seen = self.part != EMPTY
        index = torch.where(seen, self.part, 0).long().view(batch, -1)
        which = patterns.gather(1, index).view_as(self.part)
        second = (which >= 0) & ((self.pattern.long() >> which.clamp_min(0)) & 1 == 1) & seen
        return self._replace(part=torch.where(second, self.part + count, self.part))


def trace(
    table: PartTable,
    cameras: CameraBatch,
    resolution: int,
    *,
    steps: int = 48,
    tolerance: float = 2e-3,
    distance: Distance | None = None,
) -> GBuffer:
    """Sphere-trace B scenes from a camera each.

    Args:
        table: parts of the scenes, [B, K].
        cameras: B cameras outside the unit sphere.
        resolution: pixels a side.
        steps: most steps along a ray.
        tolerance: half the largest distance to the surface at which a ray hits, in world units.
        distance: trace in plain torch, with this function; None is the native tracer.

    Returns:
        The G-buffer of B views.
    """
    batch = cameras.origin.shape[0]
    origins, directions = (v.view(batch, -1, 3) for v in cameras.rays(resolution))
    if distance is None:
        like = table.like(origins)
        part, normal, pattern = trace_views(
            like, origins, directions, steps=steps, tolerance=tolerance
        )
    else:
        part, normal, pattern = _trace(table, origins, directions, steps, tolerance, distance)
    shape = (batch, resolution, resolution)
    return GBuffer(part.view(shape), normal.view(*shape, 3), pattern.view(shape))


def _trace(
    table: PartTable,
    origins: Tensor,
    directions: Tensor,
    steps: int,
    tolerance: float,
    distance: Distance,
) -> tuple[Tensor, Tensor, Tensor]:
    """Do what `trace_views` does, in plain torch."""
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
    return (
        torch.where(hit, part, EMPTY).to(torch.uint8),
        (normal * hit[..., None] * 127).round().to(torch.int8),
        torch.where(hit, table_patterns(table, points, part), 0),
    )


def table_patterns(table: PartTable, points: Tensor, part: Tensor) -> Tensor:
    """Return where each pattern shows its second colour, as bits, uint8 [B, P].

    Args:
        table: parts of the scenes, [B, K].
        points: on the surface, [B, P, 3].
        part: index of the part at each point, [B, P].
    """
    axis = torch.arange(len(part), device=part.device)[:, None]
    rows = PartTable(
        *(
            t[axis, part][..., None, :] if t.dim() == 3 else t[axis, part][..., None]
            for t in table._replace(rotation=table.rotation.flatten(2))
        )
    )
    rows = rows._replace(rotation=rows.rotation.unflatten(-1, (3, 3)))
    p, _ = rows_local(rows, points)
    return bits_of([v[..., 0] for v in p], [v[..., 0] for v in rows.size.unbind(-1)])


def _normals(table: PartTable, points: Tensor, distance: Distance, h: float = 2e-3) -> Tensor:
    """Return outward unit normals by differences at the corners of a tetrahedron."""
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
    """Shade G-buffers by Lambert's law, anti-aliased by averaging pixels.

    Args:
        buffer: of B views.
        colors: albedo of each part, [B, K, 3].
        light: unit vectors towards the light, [B, 3].
        ambient: ambient share of the light in [0, 1], the rest is diffuse; 1 shows the albedo, [B].
        background: RGB [B, 3].
        downsample: d, pixels a side that are averaged.

    Returns:
        Images [B, 3, H / d, W / d] in [0, 1].
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
    scene: ProceduralScene,
    cameras: CameraBatch,
    resolution: int,
    *,
    light: Tensor | None = None,
    ambient: float = 1.0,
    background: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Tensor:
    """Render the truth of one scene from B cameras, anti-aliased 2 x 2.

    Args:
        scene: the scene.
        cameras: B cameras outside the unit sphere.
        resolution: pixels a side.
        light: unit vectors towards the light, [B, 3], by default towards the cameras.
        ambient: ambient share of the light in [0, 1]; 1 shows the albedo.
        background: RGB in [0, 1].

    Returns:
        Images [B, 3, resolution, resolution] in [0, 1].
    """
    batch, device = cameras.origin.shape[0], cameras.origin.device
    table = scene.table.to(device).repeated(batch)
    buffer = trace(table, cameras, 2 * resolution)
    which = torch.tensor([scene.part_patterns], device=device).expand(batch, -1)
    towards = F.normalize(cameras.origin, dim=-1) if light is None else light
    return shade(
        buffer.shifted(which),
        torch.cat([scene.colors, scene.second_colors]).to(device)[None].expand(batch, -1, -1),
        towards,
        torch.full((batch,), ambient, device=device),
        torch.tensor(background, device=device).expand(batch, 3),
    )
