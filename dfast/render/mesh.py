"""Images of triangle meshes, differentiable in positions, colours and textures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dfast.ops.antialias import antialias
from dfast.ops.interpolate import interpolate
from dfast.ops.rasterize import Raster, rasterize
from dfast.ops.texture import texture
from dfast.ops.texture_level import texture_level
from dfast.scene.cameras import CameraBatch
from dfast.scene.projection import FAR, NEAR, clip_coordinates


@dataclass(frozen=True)
class Surface:
    """A triangle mesh on the device that renders it, with colours or a texture."""

    positions: Tensor
    """[V, 3] world coordinates."""
    faces: Tensor
    """[F, 3] int32, counterclockwise as seen from outside."""
    colors: Tensor | None = None
    """[V, C] colours of the vertices; exclusive with `texture`."""
    texture: Tensor | None = None
    """[H, W, C], row 0 at v = 0."""
    uv: Tensor | None = None
    """[A, 2] positions in the texture."""
    uv_faces: Tensor | None = None
    """[F, 3] int32 rows of `uv` of each triangle's corners; `faces` by default."""
    twins: Tensor | None = None
    """`dfast.ops.half_edge_twins` of the faces, computed in every call by default."""


@dataclass(frozen=True)
class Fragments:
    """What the centres of the pixels of B images see; zeros where they see nothing."""

    color: Tensor
    """[B, N, N, C] of the texture or of the vertices"""
    position: Tensor
    """[B, N, N, 3] world coordinates"""
    normal: Tensor
    """[B, N, N, 3] unit normals, see `render_mesh`"""


Shader = Callable[[Fragments], Tensor]
"""Gives the colours [B, N, N, D] that leave a surface towards the cameras."""


@dataclass(frozen=True)
class MeshRendering:
    """B images of a mesh, antialiased at silhouettes; before a background of zeros."""

    color: Tensor
    """[B, C, N, N] premultiplied by the opacity; of a surface without colour, C = 0"""
    opacity: Tensor
    """[B, 1, N, N] the covered share of the pixel"""
    depth: Tensor
    """[B, 1, N, N] distance along the ray, premultiplied by the opacity"""
    normal: Tensor | None
    """[B, 3, N, N] unit normals in world coordinates, premultiplied by the opacity, or None unless
    they were wanted"""
    raster: Raster
    """What the pixels' centres see."""

    def on(self, background: Tensor) -> Tensor:
        """Return the image [B, C, N, N] before a background that broadcasts to it."""
        return self.color + (1 - self.opacity) * background


def render_mesh(
    surface: Surface,
    cameras: CameraBatch,
    *,
    resolution: int,
    want_normal: bool = False,
    shader: Shader | None = None,
    near: float = NEAR,
    far: float = FAR,
) -> MeshRendering:
    """Render a mesh, without light unless a shader adds it.

    Differentiable once in positions, colours, texture and uv: silhouettes move with the positions
    by `dfast.ops.antialias`, what is inside by perspective.

    Args:
        surface: what is rendered; tensors are float32 or float64, of the cameras' dtype.
        cameras: B cameras.
        resolution: N pixels a side.
        want_normal: whether to render normals: area-weighted means at the vertices, interpolated.
        shader: lights what the pixels see, before silhouettes are antialiased; None shows the
            colours themselves. The surface must have colours.
        near: distance of the near plane along the view, world units.
        far: that of the far plane.

    Raises:
        ValueError: on a surface with both colours and a texture, with a texture without uv, or with
            a wrong shape, dtype or device.
    """
    positions, faces = surface.positions, surface.faces
    if surface.texture is not None and (surface.colors is not None or surface.uv is None):
        raise ValueError("a surface with a texture must have uv and no colors")
    _check(surface, cameras)
    clip = clip_coordinates(positions, cameras, near=near, far=far)
    raster = rasterize(clip, faces, resolution=resolution)
    opacity = (raster.face >= 0).to(clip.dtype)[..., None]
    channels = [opacity, opacity * distance_of(raster.depth, cameras, near, far)]
    normal = None
    if want_normal or shader is not None:
        normal = unit(interpolate(vertex_normals(positions, faces), faces, raster))
    if want_normal:
        assert normal is not None
        channels.append(normal)
    color = None
    if surface.texture is not None:
        color = opacity * _textured(surface, clip, raster)
    elif surface.colors is not None:
        color = interpolate(surface.colors, faces, raster)
    if color is not None and shader is not None and normal is not None:
        seen = Fragments(color, interpolate(positions, faces, raster), normal)
        color = opacity * shader(seen)
    if color is not None:
        channels.append(color)
    sizes = [one.shape[-1] for one in channels]
    image = antialias(torch.cat(channels, -1), raster, clip, faces, surface.twins)
    parts = list(image.permute(0, 3, 1, 2).split(sizes, 1))
    empty = image.new_empty(len(cameras), 0, resolution, resolution)
    shown = empty if color is None else parts.pop()
    return MeshRendering(shown, parts[0], parts[1], parts[2] if want_normal else None, raster)


def _check(surface: Surface, cameras: CameraBatch) -> None:
    """Raise ValueError for tensors of another shape, dtype or device than the cameras ask for."""
    like, count = cameras.origin, len(surface.positions)
    sizes = {
        "positions": (None, 3),
        "colors": (count, None),
        "uv": (None, 2),
        "texture": (None,) * 3,
    }
    for name, shape in sizes.items():
        tensor = getattr(surface, name)
        if tensor is None:
            continue
        fits = tensor.ndim == len(shape) and all(
            size in (None, n) for size, n in zip(shape, tensor.shape, strict=False)
        )
        if not fits or tensor.dtype != like.dtype or tensor.device != like.device:
            expected = ["*" if size is None else size for size in shape]
            raise ValueError(
                f"{name} must be {like.dtype} [{', '.join(map(str, expected))}] on {like.device} "
                f"as the cameras are, got {tensor.dtype} {list(tensor.shape)} on {tensor.device}"
            )


def distance_of(
    depth: Tensor, cameras: CameraBatch, near: float = NEAR, far: float = FAR
) -> Tensor:
    """Return distances [B, N, N, 1] along the pixels' rays from depths z / w [B, N, N].

    The inverse of `clip_coordinates`: z = ((far + near) w - 2 far near) / (far - near) gives w, the
    distance along the view, and a ray is sqrt(1 + x^2 + y^2) as long.
    """
    w = 2 * far * near / ((far + near) - (far - near) * depth)
    n = depth.shape[1]
    line = (torch.arange(n, dtype=depth.dtype, device=depth.device) + 0.5) * (2 / n) - 1
    slope = torch.tan(torch.deg2rad(cameras.fov) / 2).view(-1, 1, 1)
    squared = line.square()
    return (w * (1 + slope.square() * (squared[:, None] + squared)).sqrt())[..., None]


def _textured(surface: Surface, clip: Tensor, raster: Raster) -> Tensor:
    """Return the texture's colours [B, N, N, C] at what the pixels see."""
    assert surface.texture is not None and surface.uv is not None
    uv_faces = surface.faces if surface.uv_faces is None else surface.uv_faces
    height, width = surface.texture.shape[:2]
    level = texture_level(
        raster, clip, surface.faces, surface.uv, uv_faces, height=height, width=width
    )
    return texture(surface.texture, interpolate(surface.uv, uv_faces, raster), level)


def vertex_normals(positions: Tensor, faces: Tensor) -> Tensor:
    """Return the area-weighted unit normals [V, 3] at the vertices [V, 3] of faces [F, 3]."""
    rows = faces.long()
    # Not positions[rows], whose gradient is summed on a CPU in an order that varies.
    a, b, c = positions.index_select(0, rows.flatten()).view(-1, 3, 3).unbind(1)
    face = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(positions).index_add(0, rows.T.reshape(-1), face.repeat(3, 1))
    return unit(total)


def unit(vectors: Tensor) -> Tensor:
    """Return vectors of length 1; those without a direction stay 0, and get no gradient.

    Both sides of a sheet with the same corners cancel each other.
    """
    squared = vectors.square().sum(-1, keepdim=True)
    scale = vectors.detach().abs().amax().clamp(min=1e-30).square()
    some = squared > 1e-12 * scale
    return torch.where(some, vectors * torch.where(some, squared, 1.0).rsqrt(), 0.0)
