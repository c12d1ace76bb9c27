"""From world coordinates to the clip space of cameras."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dfast.scene.cameras import CameraBatch

NEAR, FAR = 0.05, 50.0
"""Distances along the view between which things are seen, world units."""


def clip_coordinates(
    points: Tensor, cameras: CameraBatch, *, near: float = NEAR, far: float = FAR
) -> Tensor:
    """Return where points are in the clip space of each camera, for `dfast.ops.rasterize`.

    The pixel at whose centre a point lies is the one whose ray (`CameraBatch.rays`) meets it. w is
    the distance along the view, and z / w rises from -1 at the near plane to 1 at the far one:
    z = ((far + near) w - 2 far near) / (far - near).

    Args:
        points: [V, 3], or [B, V, 3] points of each camera, world coordinates.
        cameras: B cameras.
        near: distance of the near plane along the view, world units.
        far: that of the far plane.

    Returns:
        [B, V, 4] (x, y, z, w), differentiable in the points and the cameras.

    Raises:
        ValueError: unless 0 < near < far, both finite.
    """
    if not 0 < near < far < math.inf:
        raise ValueError(f"near and far must be 0 < near < far, got {near} and {far}")
    slope = torch.tan(torch.deg2rad(cameras.fov) / 2)[:, None]
    right, up, back = cameras.rotation.unbind(-1)
    steep = (far + near) / (far - near)
    axes = torch.stack([right / slope, up / slope, -steep * back, -back], -1)  # [B, 3, 4]
    x, y, z, w = (-cameras.origin[:, None] @ axes).unbind(-1)
    shift = torch.stack([x, y, z - 2 * far * near / (far - near), w], -1)
    return points @ axes + shift
