"""From a field to pictures: march, evaluate, shade and composite.

`render_rays` works on flat rays [R] and `render` on cameras. Both are differentiable in the field's
and the background's parameters; cameras and lights are constants.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dfast.config import MarchConfig
from dfast.nn.field import Field
from dfast.nn.occupancy import OccupancyGrid
from dfast.ops.march import march
from dfast.ops.rays import pixel_rays
from dfast.ops.shade_composite import shade_composite
from dfast.render.outputs import RayRender, Rendered
from dfast.scene.background import Background
from dfast.scene.cameras import CameraBatch
from dfast.scene.lighting import Lighting

RADIUS = 1.0
"""Of the sphere at the origin that holds the object."""


def render_rays(
    field: Field,
    occupancy: OccupancyGrid,
    origins: Tensor,
    directions: Tensor,
    view: Tensor | None,
    shading: Lighting,
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
            step=config.step,
            growth=config.growth,
            jitter=jitter,
            capacity=capacity,
        )
    tau, albedo, gradient = field(
        samples.x,
        level_weights=level_weights,
        want_gradient=shading.lit or want_normals or normal_picture,
        count=None if capacity is None else samples.total,
    )
    color, opacity, depth, normal, orientation = shade_composite(
        tau,
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
        early_stop=config.early_stop,
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
    shading: Lighting,
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
