"""From a field to pictures: march, evaluate, shade and composite.

`render_rays` works on flat rays [R] and `render` on cameras. Both are differentiable in the field's
and the background's parameters; cameras and lights are constants.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from .background import Background
from .cameras import CameraBatch
from .capture import InFlight
from .config import MarchConfig
from .field import Field
from .occupancy import OccupancyGrid
from .ops.march import Samples, march
from .ops.rays import pixel_rays
from .ops.shade_composite import shade_composite
from .shading import ShadingBatch

RADIUS = 1.0
"""Of the sphere at the origin that holds the object."""


@dataclass(frozen=True)
class RayRender:
    """R rays and the samples they were made of."""

    color: Tensor
    """[R,3] premultiplied, or complete if a background was given"""
    opacity: Tensor
    """[R]"""
    depth: Tensor
    """[R] sum of w t"""
    normal: Tensor | None
    """[R,3] sum of w n, world axes"""
    orientation: Tensor
    """[R] sum of stop(w) max(0, n . v)^2, 0 without normals; see `regularizers.orientation`"""
    samples: Samples


@dataclass(frozen=True)
class Rendered:
    """B pictures, and what the regularisers need."""

    image: Tensor
    """[B,3,H,W] in [0, 1], background included"""
    opacity: Tensor
    """[B,1,H,W]"""
    depth: Tensor
    """[B,1,H,W] sum of w t"""
    normal: Tensor | None
    """[B,3,H,W] sum of w n, world axes"""
    rays: RayRender

    @property
    def fill(self) -> Tensor:
        """Scalar: mean opacity of the rays that meet the bounding sphere, without gradient."""
        return self.opacity.detach().sum() / self.rays.samples.num_rays_hit[0].clamp(min=1)


def render_rays(
    field: Field,
    occupancy: OccupancyGrid,
    origins: Tensor,
    directions: Tensor,
    view: Tensor | None,
    shading: ShadingBatch,
    config: MarchConfig,
    *,
    background: Tensor | None = None,
    level_weights: Tensor | None = None,
    jitter: Tensor | None = None,
    capacity: int | None = None,
    want_normals: bool = False,
    normal_picture: bool = False,
) -> RayRender:
    """Render rays origins, directions [R,3] (unit) of views [R] int32, which index the lights of
    `shading`; view None gives each view an equal share of neighbouring rays.

    background: [B,3] constant colours behind the object, None for none; jitter: [R] in [0, 1)
    shifts each ray's samples by a fraction of a step, None by a half; capacity: see `march`.
    Normals are computed if the shading is lit, if `want_normals` (for `RayRender.orientation`) or
    for a `normal_picture`.
    """
    with torch.no_grad():
        samples = march(
            origins,
            directions,
            occupancy.bits,
            resolution=occupancy.resolution,
            radius=RADIUS,
            step_size=config.step,
            cone_angle=config.growth,
            jitter=jitter,
            max_samples=capacity,
        )
    density, albedo, gradient = field(
        samples.x,
        level_weights=level_weights,
        want_gradient=shading.lit or want_normals or normal_picture,
        count=None if capacity is None else samples.num_samples,
    )
    color, opacity, depth, normal, orientation = shade_composite(
        density,
        albedo,
        gradient,
        samples,
        directions,
        view,
        shading.light_position,
        shading.ambient,
        shading.diffuse,
        shading.textureless,
        background=background,
        early_stop_eps=config.early_stop,
    )
    return RayRender(
        color, opacity, depth, normal if normal_picture else None, orientation, samples
    )


def render(
    field: Field,
    occupancy: OccupancyGrid,
    background: Background,
    colors: Tensor,
    cameras: CameraBatch,
    shading: ShadingBatch,
    resolution: int,
    config: MarchConfig,
    *,
    level_weights: Tensor | None = None,
    generator: torch.Generator | None = None,
    capacity: int | None = None,
    want_normals: bool = False,
    normal_picture: bool = False,
) -> Rendered:
    """Render B cameras at resolution x resolution pixels; colors [B,3] are the views' backgrounds.

    generator: draws the ray jitter if the configuration asks for it; None puts samples at the
    middle of each step.
    """
    batch, pixels = len(cameras), resolution * resolution
    origins, directions = pixel_rays(
        cameras.origin, cameras.rotation, cameras.fov, resolution=resolution
    )
    jitter = None
    if generator is not None and config.jitter:
        jitter = torch.rand(batch * pixels, generator=generator, device=origins.device)
    learned = background.config.kind == "mlp"
    rays = render_rays(
        field,
        occupancy,
        origins,
        directions,
        None,
        shading,
        config,
        background=None if learned else colors,
        level_weights=level_weights,
        jitter=jitter,
        capacity=capacity,
        want_normals=want_normals,
        normal_picture=normal_picture,
    )
    color = rays.color
    if learned:
        behind = background(directions, colors)
        color = torch.addcmul(color, (1.0 - rays.opacity)[:, None], behind)

    def picture(values: Tensor) -> Tensor:
        return values.reshape(batch, resolution, resolution, -1).permute(0, 3, 1, 2)

    normal = None if rays.normal is None else picture(rays.normal)
    return Rendered(picture(color), picture(rays.opacity), picture(rays.depth), normal, rays)


class SampleBudget:
    """How many samples to reserve for a step, learnt without stopping the GPU.

    The first steps at a resolution count exactly, which costs one synchronisation each; after them
    the capacity has slack and changes seldom, since a recorded step is made for one. The wanted
    totals come back by asynchronous copies and are read `LAG` steps later, always: the same run
    reserves the same. An overflow, which truncates the last rays of its step, is counted and
    answered by more capacity. On the CPU counting is free and the budget is always exact (None).
    """

    EXACT_STEPS = 8
    LAG = 8
    SLACK = 1.5
    GROW, SHRINK = 0.9, 0.35
    """Grow when a step wants more than this part of the capacity, shrink when the capacity for what
    steps want would be less than this part of it."""

    def __init__(self, device: torch.device) -> None:
        self.asynchronous = device.type == "cuda"
        self.overflows = 0
        self._resolution = -1
        self._seen = 0
        self._largest = 0
        self._capacity: int | None = None
        self._pending: deque[tuple[InFlight, int | None]] = deque()

    def capacity(self, resolution: int) -> int | None:
        """Capacity to march with at this resolution; None is exact."""
        if not self.asynchronous:
            return None
        if resolution != self._resolution:
            self._read(0)
            self._resolution, self._seen, self._largest = resolution, 0, 0
            self._capacity = None
        if self._seen < self.EXACT_STEPS:
            return None
        self._read(0 if self._capacity is None else self.LAG)
        if self._capacity is None:
            self._capacity = self._fitting()
        return self._capacity

    def note(self, total: Tensor) -> None:
        """Remember what the march wanted, an int64 scalar on the device; it is read later."""
        if not self.asynchronous:
            return
        self._pending.append((InFlight(total), self._capacity))
        self._seen += 1

    def _read(self, leave: int) -> None:
        """Read all but the last `leave` totals."""
        while len(self._pending) > leave:
            total, reserved = self._pending.popleft()
            self._learn(int(total.read()), reserved)

    def _learn(self, total: int, reserved: int | None) -> None:
        self.overflows += reserved is not None and total > reserved
        self._largest = max(total, self._largest * 99 // 100)  # forgets, as the scene empties
        if self._capacity is None:
            return
        fitting = self._fitting()
        if total > self.GROW * self._capacity or fitting < self.SHRINK * self._capacity:
            self._capacity = fitting

    def _fitting(self) -> int:
        return (int(self._largest * self.SLACK) // 16384 + 1) * 16384
