"""Training images of a mesh: what `dfast.render.volume.render` is for a field."""

from __future__ import annotations

import torch
from torch import Tensor

from dfast.ops.march import Samples
from dfast.render.mesh import MeshRendering, Shader, Surface, render_mesh
from dfast.render.outputs import RayRender, Rendering
from dfast.render.pbr import pbr
from dfast.render.shading import lambert
from dfast.scene.cameras import CameraBatch
from dfast.scene.lighting import Lighting
from dfast.scene.mesh_scene import MeshScene

COARSE = 64
"""Most pixels a side by which the share of pixels that meet the bounding sphere is counted."""


def surface_of(scene: MeshScene) -> Surface:
    """Return the mesh of a scene as `dfast.render.mesh.render_mesh` takes it."""
    return Surface(
        scene.vertices,
        scene.faces,
        texture=scene.shown_texture(),
        uv=scene.uv,
        uv_faces=scene.uv_faces,
        twins=scene.twins,
    )


def render_surface(
    scene: MeshScene,
    cameras: CameraBatch,
    lighting: Lighting,
    *,
    resolution: int,
    colors: Tensor | None = None,
    want_normal: bool = False,
) -> Rendering:
    """Render B images of a mesh of resolution x resolution pixels.

    Differentiable in the vertices and the texture. The rays of the rendering are the pixels; they
    have no samples.

    Args:
        scene: what is rendered.
        cameras: B cameras.
        lighting: of the B cameras.
        resolution: pixels a side.
        colors: [B, 3] in [0, 1], the background colour of each image; None takes the configured
            one.
        want_normal: whether to render normals.
    """
    behind = scene.background.color.expand(len(cameras), 3) if colors is None else colors
    seen = render_mesh(
        surface_of(scene),
        cameras,
        resolution=resolution,
        want_normal=want_normal,
        shader=shader_of(scene, lighting, cameras),
    )
    image = seen.on(behind[..., None, None])
    return Rendering(image, seen.opacity, seen.depth, seen.normal, _rays(seen, cameras))


def shader_of(scene: MeshScene, lighting: Lighting, cameras: CameraBatch) -> Shader:
    """Return the shader of a mesh's material.

    Args:
        scene: the mesh.
        lighting: of B images.
        cameras: of the B images.
    """
    return pbr(lighting, cameras) if scene.is_pbr else lambert(lighting)


def _rays(seen: MeshRendering, cameras: CameraBatch) -> RayRender:
    """Return the pixels of a mesh as rays without samples."""

    def flat(values: Tensor) -> Tensor:
        return values.permute(0, 2, 3, 1).flatten(0, 2)

    opacity = flat(seen.opacity)[:, 0]
    none, count = opacity.new_empty(0), torch.zeros(1, dtype=torch.int64, device=opacity.device)
    size = seen.opacity.shape[-1]
    coarse = min(size, COARSE)
    origins, directions = cameras.rays(coarse)
    along = (origins * directions).sum(-1)
    hit = origins.square().sum(-1) - along.square() < 1.0  # of the lines; cameras are outside
    samples = Samples(
        none,
        none,
        none.to(torch.int32),
        opacity.new_empty(0, 3),
        torch.zeros(len(opacity) + 1, dtype=torch.int32, device=opacity.device),
        count,
        count > 0,
        hit.sum().view(1) * size**2 // coarse**2,
    )
    normal = None if seen.normal is None else flat(seen.normal)
    depth = flat(seen.depth)[:, 0]
    return RayRender(flat(seen.color), opacity, depth, normal, torch.zeros_like(opacity), samples)
