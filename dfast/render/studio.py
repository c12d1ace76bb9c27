"""Studio light: how an object is shown to people.

A pixel is lit once, from the mean albedo and the mean normal along its ray (deferred shading), in
linear light: albedo is display RGB (sRGB), so it is decoded first, and what leaves the object is
encoded last. Four things light the object, so that every side of it has form: a soft key from the
upper left of the camera, a fill from the right, a dome that is bright above and dim below, and a
faint reflection of the dome, by which black is told from a hole.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dfast.scene.cameras import CameraBatch

KEY, FILL = (-0.50, 0.50, 0.71), (0.75, -0.40, 0.53)
"""Unit directions to the lights in a camera's axes: right, up, backward."""
KEY_LIGHT, FILL_LIGHT = 0.76, 0.17
"""Irradiance of a surface that faces the light, in parts of what makes white white."""
SOFTNESS = 0.25
"""How far the key reaches past the edge of its shadow: 0 for a point, 1 for all around."""
SKY_LIGHT, GROUND_LIGHT = 0.36, 0.20
"""Irradiance by the dome of surfaces that face straight up and straight down (world z)."""
DUST = 0.022
"""Share of the light that black scatters, so that it has a lit and a dark side; other colours
scatter less beside their own, so that they stay pure."""
REFLECTANCE, RIM = 0.01, 0.05
"""Share of the surroundings that is reflected straight ahead, and at grazing angles."""
LAMP, LAMP_WIDTH = 3.0, 4
"""Brightness of the key's reflection, and the power of the cosine by which it fades."""


def light_pixels(
    albedo: Tensor,
    normal: Tensor,
    directions: Tensor,
    cameras: CameraBatch,
    camera_ids: Tensor | None = None,
) -> Tensor:
    """Return the colour that leaves each pixel's surface towards the camera.

    Args:
        albedo: [R, 3] display RGB in [0, 1].
        normal: [R, 3] mean normals in world coordinates, of length 1 where a surface is sharp.
        directions: [R, 3] unit vectors from the camera.
        cameras: B cameras.
        camera_ids: int64 [R] in [0, B), the pixel's camera; None gives each R / B neighbouring
            pixels.

    Returns:
        [R, 3] linear RGB in [0, 1].
    """
    n, view = _facing(normal, -directions), -directions
    if camera_ids is None:
        ids = torch.arange(len(cameras), device=n.device)
        camera_ids = ids.repeat_interleave(len(n) // len(cameras))
    to_key, to_fill = (in_world(light, cameras)[camera_ids] for light in (KEY, FILL))
    key, fill = _dot(n, to_key), _dot(n, to_fill)
    irradiance = (
        KEY_LIGHT * ((key + SOFTNESS) / (1.0 + SOFTNESS)).clamp(min=0.0)
        + FILL_LIGHT * fill.clamp(min=0.0)
        + _dome(n)
    )
    cosine = _dot(n, view)
    mirrored = 2.0 * cosine * n - view
    share = REFLECTANCE + (RIM - REFLECTANCE) * (1.0 - cosine).pow(5)
    lamp = LAMP * _dot(mirrored, to_key).clamp(min=0.0).pow(LAMP_WIDTH)
    surroundings = _dome(mirrored) / SKY_LIGHT + lamp
    own = decode(albedo)
    scattered = own + DUST * (1.0 - own.amax(-1, keepdim=True)).square()
    return (scattered * irradiance + share * surroundings).clamp(0.0, 1.0)


def _facing(normal: Tensor, view: Tensor) -> Tensor:
    """Return unit normals [R, 3] that face the camera.

    Normals along a ray that disagree, as at outlines, have a short mean of no direction. What is
    missing of its length is filled with the direction to the camera, and a mean that faces away is
    turned until it does not, so that outlines do not darken.
    """
    missing = (1.0 - normal.norm(dim=-1, keepdim=True)).clamp(min=0.0)
    n = normal + missing * view
    return normalize(n - _dot(n, view).clamp(max=0.0) * view, dim=-1)


def _dome(direction: Tensor) -> Tensor:
    """Return the light [R, 1] of the dome around directions [R, 3]."""
    return torch.lerp(
        torch.full_like(direction[:, 2:], GROUND_LIGHT),
        torch.full_like(direction[:, 2:], SKY_LIGHT),
        0.5 + 0.5 * direction[:, 2:],
    )


def in_world(light: tuple[float, float, float], cameras: CameraBatch) -> Tensor:
    """Return a direction in the axes of B cameras as unit vectors in the world, [B, 3]."""
    return normalize(cameras.rotation @ cameras.rotation.new_tensor(light), dim=-1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1, keepdim=True)


def decode(color: Tensor) -> Tensor:
    """Return display RGB (sRGB) in [0, 1] as linear RGB."""
    return torch.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055).pow(2.4))


def encode(color: Tensor) -> Tensor:
    """Return linear RGB in [0, 1] as display RGB (sRGB)."""
    curved = 1.055 * color.clamp(min=0.0031308).pow(1.0 / 2.4) - 0.055
    return torch.where(color <= 0.0031308, 12.92 * color, curved)
