"""Signed distances of the primitives that the world's parts are, and of their union.

The usual closed forms (Inigo Quilez, "Distance functions"). Superquadrics, wedges, pyramids, lathes
and bowls have bounds, which are exact where the surface is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dfast.world.parts import KINDS


def joined(d: Tensor, blend: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance to the union of parts, and the nearest part, each [...].

    The two nearest parts are joined by the polynomial smooth minimum of Quilez, which takes no
    order of the parts.

    Args:
        d: distances to the parts, [..., K].
        blend: width of the joint of each part, [..., K] or [K].
    """
    best = d.min(dim=-1)
    if d.shape[-1] == 1:
        return best.values, best.indices
    nearest = best.indices[..., None]
    others = d.scatter(-1, nearest, torch.inf)
    second = others.min(dim=-1)
    blend = blend.expand_as(d)
    first_width = blend.gather(-1, nearest)[..., 0]
    width = torch.minimum(first_width, blend.gather(-1, second.indices[..., None])[..., 0])
    overlap = (width - (second.values - best.values)).clamp_min(0)
    return best.values - overlap**2 / (4 * width.clamp_min(1e-6)), best.indices


def distance(kind: int, p: Sequence[Tensor], size: Sequence[Tensor]) -> Tensor:
    """Return the signed distance of local points (x, y, z) to a primitive of size (a, b, c, extra).

    Coordinates and sizes broadcast against each other.
    """
    name = KINDS[kind]
    x, y, z = p
    a, b, c, extra = size
    if name == "ellipsoid":  # first-order bound, exact for a sphere
        k0 = _length(x / a, y / b, z / c)
        k1 = _length(x / (a * a), y / (b * b), z / (c * c))
        return k0 * (k0 - 1) / k1.clamp_min(1e-6)
    if name == "box":
        qx, qy, qz = x.abs() - a, y.abs() - b, z.abs() - c
        outside = _length(qx.clamp_min(0), qy.clamp_min(0), qz.clamp_min(0))
        return outside + torch.maximum(qx, torch.maximum(qy, qz)).clamp_max(0)
    if name == "superquadric":
        n = extra.clamp_min(1.0)
        u, v, w = (x / a).abs(), (y / b).abs(), (z / c).abs()
        largest = torch.maximum(u, torch.maximum(v, w)).clamp_min(1e-4)
        u, v, w = u / largest, v / largest, w / largest
        k = (u**n + v**n + w**n) ** (1 / n)  # the norm is k * largest
        slopes = ((q / k) ** (n - 1) for q in (u, v, w))
        gradient = _length(*(slope / r for slope, r in zip(slopes, (a, b, c), strict=True)))
        return (k * largest - 1) / gradient
    if name == "wedge":
        edge = extra * a
        right = ((x - edge) * 2 * c + (z - c) * (a - edge)) / _length(2 * c, a - edge)
        left = ((edge - x) * 2 * c + (z - c) * (a + edge)) / _length(2 * c, a + edge)
        sides = torch.maximum(torch.maximum(left, right), -c - z)
        return torch.maximum(sides, y.abs() - b)
    if name == "pyramid":
        widest = torch.maximum(x.abs(), y.abs())
        side = ((widest - (a + b) / 2) * 2 * c + z * (a - b)) / _length(2 * c, a - b)
        return torch.maximum(side, z.abs() - c)
    if name == "bowl":
        return torch.maximum((_length(x, y, z) - a).abs() - b, z - c)
    radial = _length(x, y)
    if name == "arc":
        half = torch.deg2rad(c)
        end_x, end_y = a * half.cos(), a * half.sin()
        to_end = _length(x - end_x, y.abs() - end_y, z)
        inside = torch.atan2(y.abs(), x) <= half
        return torch.where(inside, _length(radial - a, z), to_end) - b
    if name == "lathe":
        t = (z / c).clamp(-1, 1)
        linear, square = (extra - a) / 2, (extra + a) / 2 - b
        profile = b + linear * t + square * t * t
        steepest = (linear.abs() + 2 * square.abs()) / c
        q_r, q_z = (radial - profile) / (1 + steepest**2).sqrt(), z.abs() - c
        outside = _length(q_r.clamp_min(0), q_z.clamp_min(0))
        return outside + torch.maximum(q_r, q_z).clamp_max(0)
    if name == "tube":
        q_r, q_z = (radial - a + b).abs() - b, z.abs() - c
        outside = _length(q_r.clamp_min(0), q_z.clamp_min(0))
        return outside + torch.maximum(q_r, q_z).clamp_max(0)
    if name == "cone":
        ca_r = radial - torch.minimum(radial, torch.where(z < 0, a, b))
        ca_z = z.abs() - c
        slope_r, slope_z = b - a, 2 * c
        along = ((b - radial) * slope_r + (c - z) * slope_z) / (slope_r**2 + slope_z**2)
        along = along.clamp(0, 1)
        cb_r, cb_z = radial - b + slope_r * along, z - c + slope_z * along
        inside = (cb_r < 0) & (ca_z < 0)
        d = torch.minimum(ca_r**2 + ca_z**2, cb_r**2 + cb_z**2).sqrt()
        return torch.where(inside, -d, d)
    if name == "torus":
        return _length(radial - a, z) - b
    return _length(radial, z - torch.maximum(torch.minimum(z, b), -b)) - a  # capsule


def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Return the dot product of vectors given by components, summed from left to right."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _length(*components: Tensor) -> Tensor:
    """Return the length of a vector given by components, squares summed from left to right."""
    total = components[0] * components[0]
    for v in components[1:]:
        total = total + v * v
    return total.sqrt()
