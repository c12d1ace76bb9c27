"""Pictures of a mesh, in the shading modes of `dfast.render.picture`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dfast.render.mesh import render_mesh
from dfast.render.pbr import studio_pbr
from dfast.render.picture import Pixels, pictures_of
from dfast.render.surface import shader_of, surface_of
from dfast.scene.cameras import CameraBatch
from dfast.scene.lighting import SHADING_MODES, fixed_lighting
from dfast.scene.mesh_scene import MeshScene


@torch.no_grad()
def mesh_pictures(
    scene: MeshScene,
    cameras: CameraBatch,
    *,
    resolution: int,
    backgrounds: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Render B pictures of a mesh in several shading modes, see `dfast.render.picture.pictures`."""

    def look(shading: str) -> Pixels:
        return see_mesh(scene, cameras, resolution=resolution, shading=shading)

    own = {"studio"} if scene.is_pbr else set()  # it is lit by its material
    others = {mode: color for mode, color in backgrounds.items() if mode not in own}
    images = pictures_of(look, cameras, resolution=resolution, backgrounds=others)
    for mode in own & backgrounds.keys():
        seen = render_mesh(
            surface_of(scene), cameras, resolution=resolution, shader=studio_pbr(cameras)
        )
        image = seen.on(backgrounds[mode].to(seen.color)[:, None, None])
        images[mode] = image.permute(0, 2, 3, 1).clamp(0.0, 1.0)
    return images


@torch.no_grad()
def see_mesh(scene: MeshScene, cameras: CameraBatch, *, resolution: int, shading: str) -> Pixels:
    """Return what pixels see of a mesh, with all that a shading mode needs.

    Args:
        scene: the mesh.
        cameras: B cameras on its device.
        resolution: pixels a side.
        shading: one of `dfast.config.views.SHADING`.
    """
    lighting = fixed_lighting(shading if shading in SHADING_MODES else "albedo", cameras)
    seen = render_mesh(
        surface_of(scene),
        cameras,
        resolution=resolution,
        want_normal=True,
        shader=shader_of(scene, lighting, cameras),
    )
    assert seen.normal is not None
    color, opacity, depth, normal = (
        values.permute(0, 2, 3, 1).flatten(0, 2)
        for values in (seen.color, seen.opacity, seen.depth, seen.normal)
    )
    return Pixels(color, opacity, depth, normal)
