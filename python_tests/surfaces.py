"""Triangle meshes whose images are known."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dfast.scene.cameras import CameraBatch, orbit
from dfast.scene.projection import clip_coordinates


def sphere(rings: int, segments: int) -> tuple[Tensor, Tensor]:
    """Return the vertices [V, 3] of the unit sphere, float64, and triangles seen from outside."""
    polar = torch.arange(1, rings, dtype=torch.float64) * (math.pi / rings)
    around = torch.arange(segments, dtype=torch.float64) * (2 * math.pi / segments)
    flat = torch.stack([around.cos(), around.sin()], -1)
    belt = torch.cat(
        [
            polar.sin()[:, None, None] * flat,
            polar.cos()[:, None, None].expand(-1, segments, 1),
        ],
        -1,
    )
    poles = torch.tensor([[0, 0, 1], [0, 0, -1]], dtype=torch.float64)
    left = torch.arange(segments)
    right = left.roll(-1)
    north, last = (rings - 1) * segments, (rings - 2) * segments
    faces = [torch.stack([left, right, torch.full_like(left, north)], 1)]
    for ring in range(rings - 2):
        top, bottom = ring * segments, (ring + 1) * segments
        faces.append(torch.stack([top + left, bottom + left, top + right], 1))
        faces.append(torch.stack([top + right, bottom + left, bottom + right], 1))
    faces.append(torch.stack([last + right, last + left, torch.full_like(left, north + 1)], 1))
    return torch.cat([belt.reshape(-1, 3), poles]), torch.cat(faces).to(torch.int32)


def cube() -> tuple[Tensor, Tensor]:
    """Return the vertices of the cube [-1, 1]^3, float64, and its triangles."""
    x = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    vertices = torch.cartesian_prod(x, x, x)  # row 4 i + 2 j + k
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [[q[0], q[i], q[i + 1]] for q in quads for i in (1, 2)]
    return vertices, torch.tensor(faces, dtype=torch.int32)


def soup(triangles: int, size: float) -> tuple[Tensor, Tensor]:
    """Return triangles of this size in the clip space of 3 views [3, V, 4], and the faces.

    They are random and cross each other, and a third of the corners are behind the camera.
    Neighbours in the list share an edge.
    """
    g = torch.Generator().manual_seed(0)
    middle = torch.rand(3, triangles, 1, 4, generator=g, dtype=torch.float64) * 2 - 1
    around = torch.rand(3, triangles, 3, 4, generator=g, dtype=torch.float64) - 0.5
    clip = middle + size * around
    clip[..., 3] += 0.4
    faces = torch.arange(3 * triangles, dtype=torch.int32).view(-1, 3)
    faces[1::2, :2] = faces[::2, :2].flip(1)
    return clip.reshape(3, -1, 4), faces


def seen_by(points: Tensor, views: int = 2, distance: float = 3.0) -> Tensor:
    """Return points [V, 3] in the clip space of cameras around them, [views, V, 4]."""
    return clip_coordinates(points, cameras(views, distance, points))


def cameras(views: int, distance: float, like: Tensor) -> CameraBatch:
    """Return cameras around the origin with the dtype and device of a tensor."""
    camera = orbit(views, elevation=20.0, distance=distance, azimuth=33.0)
    return CameraBatch(*(v.to(like) for v in vars(camera).values()))
