"""A small z-buffer renderer of mesh files, with which tests look at them as other programs do.

It shares nothing with dfast: trimesh reads the file, numpy projects and fills triangles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Model:
    """A mesh as it was read, in the axes of glTF: y up, front +z."""

    vertices: Floats
    """[V, 3]."""
    faces: NDArray[np.int64]
    """[F, 3]."""
    uv: Floats | None
    """[V, 2] from the bottom left corner."""
    image: Floats
    """[T, T, 3] in [0, 1]; or colours of vertices [V, 3] where there is no uv."""


def read(path: Path) -> Model:
    """Read a GLB file with a base colour texture, or with linear colours at its vertices."""
    import trimesh

    mesh = trimesh.load(path, force="mesh", process=False)
    uv = getattr(mesh.visual, "uv", None)
    if uv is None:
        linear = np.asarray(mesh.visual.vertex_colors)[:, :3] / 255
        low, high = linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055
        colors = np.where(linear <= 0.0031308, low, high)
        return Model(np.asarray(mesh.vertices), np.asarray(mesh.faces), None, colors)
    image = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB")) / 255.0
    return Model(np.asarray(mesh.vertices), np.asarray(mesh.faces), np.asarray(uv), image)


def render(
    model: Model, azimuth: float, elevation: float, resolution: int = 256, samples: int = 3
) -> tuple[Floats, Floats]:
    """Render without light, from distance 3 and with an angle of 40 degrees.

    Args:
        model: what to render.
        azimuth: degrees around the object; 0 is its front.
        elevation: degrees above the horizon.
        resolution: pixels a side.
        samples: of a pixel, a side; odd, so that no pixel is half covered.

    Returns:
        Colour before a black background [H, W, 3], and coverage [H, W].
    """
    size = resolution * samples
    a, e = math.radians(azimuth), math.radians(elevation)
    back = np.array([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])
    right = np.array([math.cos(a), 0.0, -math.sin(a)])
    up = np.cross(back, right)
    view = (model.vertices - 3 * back) @ np.stack([right, up, -back], 1)
    depth = view[:, 2]
    focal = size / 2 / math.tan(math.radians(20))
    screen = view[:, :2] / depth[:, None] * (focal, -focal) + size / 2 - 0.5  # pixel centres

    pixel, face, weight = _fill(screen[model.faces], size)
    weight = weight / depth[model.faces[face]]
    near = 1 / weight.sum(1)
    order = np.lexsort((near, pixel))
    first = order[np.append(True, pixel[order][1:] != pixel[order][:-1])]
    pixel, weight = pixel[first], weight[first] * near[first, None]
    corner = model.faces[face[first]]
    if model.uv is None:
        color = (weight[..., None] * model.image[corner]).sum(1)
    else:
        color = _texture(model.image, (weight[..., None] * model.uv[corner]).sum(1))
    image, cover = np.zeros((size * size, 3)), np.zeros(size * size)
    image[pixel], cover[pixel] = color, 1
    blocks = resolution, samples, resolution, samples
    return image.reshape(*blocks, 3).mean((1, 3)), cover.reshape(blocks).mean((1, 3))


def _fill(triangles: Floats, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return the pixels in triangles [F, 3, 2], the triangles, and the barycentric coordinates."""
    low = np.clip(np.ceil(triangles.min(1)), 0, size).astype(int)
    high = np.clip(np.floor(triangles.max(1)), -1, size - 1).astype(int)
    wide, tall = np.maximum(high - low + 1, 0).T
    face = np.repeat(np.arange(len(triangles)), wide * tall)
    index = np.arange(len(face)) - np.repeat(np.cumsum(wide * tall) - wide * tall, wide * tall)
    x, y = low[face, 0] + index % wide[face], low[face, 1] + index // wide[face]
    a, b, c = (triangles[face, k] for k in range(3))
    p = np.stack([x, y], 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.stack([_area(p, b, c), _area(a, p, c), _area(a, b, p)], 1)
        weight /= _area(a, b, c)[:, None]
    inside = (weight >= 0).all(1)
    return (y * size + x)[inside], face[inside], weight[inside]


def _area(a: Floats, b: Floats, c: Floats) -> Floats:
    u, v = b - a, c - a
    return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]


def _texture(image: Floats, uv: Floats) -> Floats:
    """Return the colours [N, 3] of an image at uv [N, 2], with linear filtering."""
    height, width = image.shape[:2]
    where = np.clip(uv * (1, -1) + (0, 1), 0, 1) * (width, height) - 0.5
    low = np.floor(where).astype(int)
    part = where - low
    color = np.zeros((len(uv), 3))
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = np.clip(low[:, 0] + dx, 0, width - 1), np.clip(low[:, 1] + dy, 0, height - 1)
            share = np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1])
            color += share[:, None] * image[y, x]
    return color
