"""Rays through the pixels of pinhole cameras, in one launch."""

from __future__ import annotations

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import transforms
from dfast.ops.custom_op import custom_op


def pixel_rays(
    origin: Tensor, rotation: Tensor, fov: Tensor, *, resolution: int
) -> tuple[Tensor, Tensor]:
    """Return the rays through the pixel centres of B cameras.

    It computes the method ``rays`` of a camera batch in one launch. Nothing here is differentiable.

    Args:
        origin: [B, 3] world, float32 or float64.
        rotation: [B, 3, 3] camera to world; a camera looks along -z, y is up.
        fov: [B] degrees in (0, 180), the field of view of the whole square image.
        resolution: pixels a side, at least 1.

    Returns:
        Origins and unit directions, [B * resolution**2, 3] each, row-major, row 0 at the top.

    Raises:
        ValueError: on a wrong shape, dtype, device or range.
    """
    if isinstance(resolution, int) and resolution < 1:
        raise ValueError(f"resolution must be positive, got {resolution}")
    resolution = _native.whole_number("resolution", resolution, 1, 32768)
    origin, rotation, fov = transforms.widen(origin, rotation, fov)
    origin = _native.contiguous("origin", transforms.constant(origin), (None, 3), origin)
    views = origin.shape[0]
    rotation = _native.contiguous("rotation", transforms.constant(rotation), (views, 3, 3), origin)
    fov = _native.contiguous("fov", transforms.constant(fov), (views,), origin)
    result: tuple[Tensor, Tensor] = transforms.call(_pixel_rays, origin, rotation, fov, resolution)
    return result


@custom_op(
    "pixel_rays",
    "(Tensor origin, Tensor rotation, Tensor fov, SymInt resolution) -> (Tensor, Tensor)",
)
def _pixel_rays(
    origin: Tensor, rotation: Tensor, fov: Tensor, resolution: int
) -> tuple[Tensor, Tensor]:
    views = origin.shape[0]
    origins = origin.new_empty(views * resolution**2, 3)
    directions = torch.empty_like(origins)
    _native.call(
        "pixel_rays",
        like=origin,
        origin=origin,
        rotation=rotation,
        fov=fov,
        views=views,
        resolution=resolution,
        origins=origins,
        directions=directions,
    )
    return origins, directions


@_pixel_rays.register_fake
def _(origin, rotation, fov, resolution):  # type: ignore[no-untyped-def]
    origins = origin.new_empty(origin.shape[0] * resolution**2, 3)
    return origins, torch.empty_like(origins)


transforms.register(_pixel_rays)
