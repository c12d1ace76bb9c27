"""Pictures of a finished scene: what each pixel sees, shaded in one of several ways.

The shading modes of `dfast.scene.lighting` light every sample as training does and are composited
in display space. The others shade a pixel once, from what its ray has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dfast.config import MarchConfig
from dfast.render import studio
from dfast.render.lit_mesh import render_lit_mesh
from dfast.render.options import Normals, RenderOptions
from dfast.render.volume import RADIUS, render_rays
from dfast.scene.cameras import CameraBatch
from dfast.scene.lighting import SHADING_MODES, fixed_lighting
from dfast.scene.loop_scene import LoopScene
from dfast.scene.rays import RayBatch
from dfast.scene.scene import Scene

CHUNK = 1 << 16
"""Most rays rendered at once, which bounds the memory of an image whatever its size."""
CHUNK_SAMPLES = CHUNK * 256
"""Most samples at once, which bounds it whatever the length of the march's steps."""
CLAY = 0.75
"""Albedo of the mode "clay", display RGB."""
FINE_STEP = 2.0 / 128
"""Longest interval of a sample, world units, where a pixel shows the normal or is lit by it."""
FAINT = 1e-4
"""Opacity up to which a pixel shows the background alone."""


@dataclass(frozen=True)
class Pixels:
    """What the R pixels of some cameras see; nothing is differentiable."""

    color: Tensor
    """[R, 3] premultiplied by the opacity"""
    opacity: Tensor
    """[R, 1] in [0, 1]"""
    depth: Tensor
    """[R, 1] premultiplied distance from the camera"""
    normal: Tensor | None
    """[R, 3] premultiplied mean of the normals, world coordinates; None where it is not needed"""


@torch.no_grad()
def picture(
    scene: Scene | LoopScene,
    cameras: CameraBatch,
    march: MarchConfig,
    *,
    resolution: int,
    shading: str,
    background: Tensor,
) -> Tensor:
    """Render B pictures of a finished scene.

    Args:
        scene: what is rendered, at its final level weights.
        cameras: B cameras on the scene's device.
        march: where the samples are.
        resolution: pixels a side, H = W.
        shading: one of `dfast.config.views.SHADING`.
        background: [3] display RGB in [0, 1].

    Returns:
        [B, H, W, 3] display RGB in [0, 1].
    """
    return pictures(
        scene, cameras, march, resolution=resolution, backgrounds={shading: background}
    )[shading]


@torch.no_grad()
def pictures(
    scene: Scene | LoopScene,
    cameras: CameraBatch,
    march: MarchConfig,
    *,
    resolution: int,
    backgrounds: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Render B pictures in several shading modes, of which some show the same samples.

    Args:
        scene: what is rendered, at its final level weights.
        cameras: B cameras on the scene's device.
        march: where the samples are.
        resolution: pixels a side, H = W.
        backgrounds: for each shading mode [3] display RGB in [0, 1].

    Returns:
        [B, H, W, 3] display RGB in [0, 1] for each shading mode.
    """

    def look(shading: str) -> Pixels:
        return see(scene, cameras, march, resolution=resolution, shading=shading)

    return pictures_of(look, cameras, resolution=resolution, backgrounds=backgrounds)


@torch.no_grad()
def pictures_of(
    look: Callable[[str], Pixels],
    cameras: CameraBatch,
    *,
    resolution: int,
    backgrounds: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Shade what pixels see in several ways.

    Args:
        look: returns what the pixels see in a shading mode, as `see` does. It is called once for
            modes that show the same.
        cameras: B cameras.
        resolution: pixels a side.
        backgrounds: for each shading mode [3] display RGB in [0, 1].

    Returns:
        [B, H, W, 3] display RGB in [0, 1] for each shading mode.
    """
    _, directions = cameras.rays(resolution)
    seen: dict[tuple[str, Normals], Pixels] = {}
    images = {}
    for shading, background in backgrounds.items():
        samples = _samples(shading)
        if samples not in seen:
            seen[samples] = look(shading)
        image = shade_pixels(seen[samples], directions, cameras, shading, background)
        images[shading] = image.view(len(cameras), resolution, resolution, 3)
    return images


def _samples(shading: str) -> tuple[str, Normals]:
    """Return how samples are lit in a shading mode, and what it needs of normals."""
    mode = shading if shading in SHADING_MODES else "albedo"
    if shading in ("studio", "clay", "normal"):
        return mode, "image"
    return mode, "none" if mode == "albedo" else "shading"


@torch.no_grad()
def see(
    scene: Scene | LoopScene,
    cameras: CameraBatch,
    march: MarchConfig,
    *,
    resolution: int,
    shading: str,
) -> Pixels:
    """Return what pixels see, with all that a shading mode needs; arguments as of `picture`."""
    if isinstance(scene, LoopScene):
        return _see_mesh(scene, cameras, resolution, shading)
    origins, directions = cameras.rays(resolution)
    camera_ids = torch.arange(len(cameras), device=origins.device, dtype=torch.int32)
    camera_ids = camera_ids.repeat_interleave(resolution * resolution)
    return see_rays(scene, RayBatch(origins, directions, camera_ids), cameras, march, shading)


def _see_mesh(scene: LoopScene, cameras: CameraBatch, resolution: int, shading: str) -> Pixels:
    """Return what pixels see of a mesh."""
    mode, normals = _samples(shading)
    black = torch.zeros(len(cameras), 3, device=scene.device)
    lighting = fixed_lighting(mode, cameras)
    seen = render_lit_mesh(scene, cameras, lighting, resolution=resolution, colors=black, grey=1.0)

    def rows(images: Tensor) -> Tensor:
        return images.permute(0, 2, 3, 1).flatten(0, 2)

    normal = rows(seen.normal) if normals == "image" else None
    return Pixels(rows(seen.image), rows(seen.opacity), rows(seen.depth), normal)


@torch.no_grad()
def see_rays(
    scene: Scene, rays: RayBatch, cameras: CameraBatch, march: MarchConfig, shading: str
) -> Pixels:
    """Return what pixels see, with all that a shading mode needs.

    Args:
        scene: what is rendered, at its final level weights.
        rays: R rays through the pixels, with the camera of each.
        cameras: B cameras, with whom lights move.
        march: where the samples are.
        shading: one of `dfast.config.views.SHADING`.
    """
    mode, normals = _samples(shading)
    lighting = fixed_lighting(mode, cameras)
    if normals == "image":
        # Normals change from cell to cell of the grid: coarser samples show lines on flat sides.
        march = replace(march, step_size=min(march.step_size, FINE_STEP))
    options = RenderOptions(march, normals=normals, level_weights=scene.level_weights)
    samples = int(2.0 * RADIUS / march.step_size) + 1  # of a ray through the whole sphere
    chunk = max(1, min(CHUNK, CHUNK_SAMPLES // samples))
    parts = [render_rays(scene, batch, lighting, options) for batch in rays.split(chunk)]
    normal = [p.normal for p in parts if p.normal is not None]
    return Pixels(
        torch.cat([p.color for p in parts]),
        torch.cat([p.opacity for p in parts])[:, None],
        torch.cat([p.depth for p in parts])[:, None],
        torch.cat(normal) if normal else None,
    )


def shade_pixels(
    pixels: Pixels,
    directions: Tensor,
    cameras: CameraBatch,
    shading: str,
    background: Tensor,
) -> Tensor:
    """Return the colours of pixels.

    Args:
        pixels: what R pixels see, by `see_rays` in the same shading.
        directions: [R, 3] unit vectors from the cameras.
        cameras: B cameras, of which each has R / B neighbouring pixels.
        shading: one of `dfast.config.views.SHADING`.
        background: [3] display RGB in [0, 1].

    Returns:
        [R, 3] display RGB in [0, 1].
    """
    behind = background.to(pixels.color)
    if shading in ("studio", "clay"):
        image = _lit(pixels, directions, cameras, behind, clay=shading == "clay")
    else:
        image = _values(pixels, cameras, shading) + (1.0 - pixels.opacity) * behind
    return image.clamp(0.0, 1.0)


def _lit(
    pixels: Pixels, directions: Tensor, cameras: CameraBatch, behind: Tensor, *, clay: bool
) -> Tensor:
    """Return pixels [R, 3] in studio light, composited in linear light."""
    assert pixels.normal is not None
    seen = (pixels.opacity[:, 0] > FAINT).nonzero()[:, 0]  # most of a picture is background
    color, opacity = pixels.color[seen], pixels.opacity[seen]
    albedo = torch.full_like(color, CLAY) if clay else (color / opacity).clamp(0.0, 1.0)
    light = studio.light_pixels(
        albedo,
        pixels.normal[seen] / opacity,
        directions[seen],
        cameras,
        seen // (len(pixels.opacity) // len(cameras)),
    )
    image = behind.expand(len(pixels.opacity), 3).clone()
    image[seen] = studio.encode(torch.lerp(studio.decode(behind).expand_as(light), light, opacity))
    return image


def _values(pixels: Pixels, cameras: CameraBatch, shading: str) -> Tensor:
    """Return display colours [R, 3], premultiplied, of every mode but the studio's."""
    if shading == "normal":
        assert pixels.normal is not None
        return 0.5 * (pixels.normal + pixels.opacity)
    if shading == "opacity":
        return pixels.opacity.expand(-1, 3)
    if shading == "depth":
        # White is where the bounding sphere is nearest, black where it is farthest.
        near = (cameras.distance - RADIUS).clamp(min=0.0)
        near = near.repeat_interleave(len(pixels.depth) // len(cameras))[:, None]
        span = 2.0 * RADIUS
        return (pixels.opacity - (pixels.depth - near * pixels.opacity) / span).expand(-1, 3)
    return pixels.color
