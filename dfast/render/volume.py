"""Volume rendering: march rays, evaluate the field, shade and composite.

`render_rays` takes rays and `render` takes cameras. Both are differentiable in the parameters of
the field, and `render` in those of the background; cameras and lights are constants.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dfast.ops.march import march
from dfast.ops.rays import pixel_rays
from dfast.ops.shade_composite import shade_composite
from dfast.render.options import RenderOptions
from dfast.render.outputs import RayRender, Rendering
from dfast.scene.cameras import CameraBatch
from dfast.scene.lighting import Lighting
from dfast.scene.rays import RayBatch
from dfast.scene.scene import Scene

RADIUS = 1.0
"""Radius of the sphere at the origin that holds the object, world units."""


def render_rays(
    scene: Scene,
    rays: RayBatch,
    lighting: Lighting,
    options: RenderOptions,
    *,
    background: Tensor | None = None,
) -> RayRender:
    """Render rays.

    Args:
        scene: its field and occupancy grid are read; what is behind them is `background`.
        rays: R rays of B cameras.
        lighting: of the B cameras.
        options: normals, samples, level weights.
        background: [B, 3] in [0, 1], a constant colour behind the object for each camera, or None.

    Returns:
        Values of each ray; the colour is premultiplied without a background, complete with one.

    Raises:
        ValueError: when the lighting is lit and the options leave out normals.
    """
    if lighting.lit and not options.with_normals:
        raise ValueError("normals must be 'shading' or 'image' with lit lighting, got 'none'")
    config, occupancy, max_samples = options.march, scene.occupancy, options.max_samples
    with torch.no_grad():
        samples = march(
            rays.origins,
            rays.directions,
            occupancy.bits,
            resolution=occupancy.resolution,
            radius=RADIUS,
            step_size=config.step_size,
            cone_angle=config.cone_angle,
            jitter=rays.jitter,
            max_samples=max_samples,
        )
    density, albedo, gradient = scene.field(
        samples.x,
        level_weights=options.level_weights,
        want_gradient=options.with_normals,
        count=None if max_samples is None else samples.num_samples,
    )
    color, opacity, depth, normal, orientation = shade_composite(
        density,
        albedo,
        gradient,
        samples,
        rays.directions,
        rays.camera_ids,
        lighting.light_position,
        lighting.ambient,
        lighting.diffuse,
        lighting.textureless,
        background=background,
        early_stop_eps=config.early_stop_eps,
    )
    wanted = normal if options.normals == "image" else None
    return RayRender(color, opacity, depth, wanted, orientation, samples)


def render(
    scene: Scene,
    cameras: CameraBatch,
    lighting: Lighting,
    options: RenderOptions,
    *,
    resolution: int,
    colors: Tensor | None = None,
    generator: torch.Generator | None = None,
    share: tuple[int, int] = (0, 1),
) -> Rendering:
    """Render B images of resolution x resolution pixels.

    Args:
        scene: what is rendered.
        cameras: B cameras.
        lighting: of the B cameras.
        options: normals, samples, level weights.
        resolution: pixels a side.
        colors: [B, 3] in [0, 1], the background colour of each image; None takes the configured
            one. A learned background ignores them.
        generator: draws the jitter of each ray if `options.march` asks for jitter; None puts
            samples in the middle of their intervals.
        share: (r, n): these are the r-th of n equal shares of the images, for all of which jitter
            is drawn.

    Raises:
        ValueError: when the lighting is lit and the options leave out normals.
    """
    batch, pixels = len(cameras), resolution * resolution
    origins, directions = pixel_rays(
        cameras.origin, cameras.rotation, cameras.fov, resolution=resolution
    )
    jitter = None
    if generator is not None and options.march.jitter:
        own, shares = share
        drawn = torch.rand(shares, batch * pixels, generator=generator, device=origins.device)
        jitter = drawn[own]
    background = scene.background
    if colors is None:
        colors = background.color.expand(batch, 3)
    rays = render_rays(
        scene,
        RayBatch(origins, directions, jitter=jitter),
        lighting,
        options,
        background=None if background.is_learned else colors,
    )
    color = rays.color
    if background.is_learned:
        behind = background(directions, colors)
        color = torch.addcmul(color, (1.0 - rays.opacity)[:, None], behind)

    def as_images(values: Tensor) -> Tensor:
        return values.reshape(batch, resolution, resolution, -1).permute(0, 3, 1, 2)

    normal = None if rays.normal is None else as_images(rays.normal)
    return Rendering(as_images(color), as_images(rays.opacity), as_images(rays.depth), normal, rays)
