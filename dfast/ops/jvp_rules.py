"""Forward-mode derivatives of the ops whose kernels have a backward pass only, in plain torch.

Every function takes the tangents of an op's differentiable inputs, None where there is none, then
the inputs, and returns the tangents of the outputs: the formulas in the docstrings of the ops,
differentiated by hand.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


def group_norm(
    d_x: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    add: Tensor | None,
    scale_shift: Tensor | None,
    groups: int,
    eps: float,
    activation: int,
) -> Tensor:
    """Return dy [B, N, C] of `group_norm` on rows x [B, N, C].

    With n = (u - mean) r and r = 1 / sqrt(variance + eps): dn = r (du - mean(du) - n mean(n du)).
    """
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    u = x.to(wide)
    if add is not None:
        u = u + add.to(wide).unsqueeze(-2)
    u, du = (v.unflatten(-1, (groups, -1)) for v in (u, d_x.to(wide)))

    def mean(values: Tensor) -> Tensor:
        return values.mean((-3, -1), keepdim=True)

    centred = u - mean(u)
    r = (mean(centred.square()) + eps).rsqrt()
    n = centred * r
    dn = r * (du - mean(du) - n * mean(n * du))
    z = n.flatten(-2) * weight + bias
    dz = dn.flatten(-2) * weight
    if scale_shift is not None:
        scale, shift = scale_shift.to(wide).unsqueeze(-2).chunk(2, -1)
        z, dz = z * (1 + scale) + shift, dz * (1 + scale)
    if activation == 1:  # silu
        s = torch.sigmoid(z)
        dz = dz * s * (1 + z * (1 - s))
    elif activation == 2:  # gelu
        density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
        dz = dz * (0.5 * torch.erfc(-z / math.sqrt(2)) + z * density)
    return dz.to(x.dtype)


def shade(
    d_gradient: Tensor | None,
    d_albedo: Tensor | None,
    gradient: Tensor,
    albedo: Tensor,
    position: Tensor,
    light_position: Tensor,
    ambient: Tensor,
    diffuse: Tensor,
    textureless: Tensor,
    camera_ids: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return rgb, normal and their tangents, each [M, 3], of `shade`.

    With n = -g / r and r = sqrt(|g|^2 + eps): dn = (n (n . dg) - dg) / r.
    """
    v = camera_ids.long()
    r = (gradient.square().sum(-1, keepdim=True) + eps).sqrt()
    normal = -gradient / r
    d_normal = torch.zeros_like(normal)
    if d_gradient is not None:
        d_normal = (normal * (normal * d_gradient).sum(-1, keepdim=True) - d_gradient) / r
    light = F.normalize(light_position[v] - position, dim=-1, eps=1e-30)
    facing = (normal * light).sum(-1)
    d_lambert = torch.where(facing > 0, (d_normal * light).sum(-1), 0.0)
    shading = diffuse[v] * facing.clamp(min=0) + ambient[v]
    white = textureless[v][:, None]
    rho = albedo + white * (1 - albedo)
    d_rgb = rho * (diffuse[v] * d_lambert)[:, None]
    if d_albedo is not None:
        d_rgb = d_rgb + d_albedo * (1 - white) * shading[:, None]
    return rho * shading[:, None], normal, d_rgb, d_normal


class _Weights(NamedTuple):
    """Of M samples: the ray, whether there is one, the weight and its tangent, each [M]."""

    ray: Tensor
    owned: Tensor
    w: Tensor
    d_w: Tensor

    def per_ray(self, values: Tensor, rays: int) -> Tensor:
        """Return the sums of values [M, ...] over each ray's samples, [rays, ...]."""
        values = torch.where(self.owned.view(-1, *[1] * (values.dim() - 1)), values, 0.0)
        return values.new_zeros(rays, *values.shape[1:]).index_add(0, self.ray, values)


def _weights(
    density: Tensor, dt: Tensor, offsets: Tensor, early_stop_eps: float, d_density: Tensor | None
) -> _Weights:
    """Return the weights w = T (1 - exp(-o)), o = density dt, and dw = T exp(-o) do - w dO.

    T = exp(-O) with O the sum of o over the samples in front, which are added in float64 by a scan
    that knows rays: no ray sees what is in another.
    """
    samples, rays = density.shape[0], offsets.shape[0] - 1
    slots = torch.arange(samples, device=density.device)
    ray = torch.searchsorted(offsets.long(), slots, right=True) - 1
    owned = (ray >= 0) & (ray < rays)
    ray = ray.clamp(0, max(rays - 1, 0))

    def ahead(values: Tensor, step: int) -> Tensor:
        """Return what stands `step` samples in front, 0 where that is another ray's."""
        same = ray[step:] == ray[:-step]
        return F.pad(torch.where(same, values[:-step], 0.0), (min(step, samples), 0))

    def in_front(values: Tensor) -> Tensor:
        total, step = ahead(values.double(), 1), 1
        while step < samples:
            total, step = total + ahead(total, step), 2 * step
        return total.to(density.dtype)

    optical = torch.where(owned, density * dt, 0.0)
    transmittance = torch.exp(-in_front(optical))
    kept = owned & (transmittance >= early_stop_eps)
    w = torch.where(kept, transmittance * -torch.expm1(-optical), 0.0)
    d_w = torch.zeros_like(w)
    if d_density is not None:
        d_optical = torch.where(owned, d_density * dt, 0.0)
        d_w = transmittance * torch.exp(-optical) * d_optical - w * in_front(d_optical)
        d_w = torch.where(kept, d_w, 0.0)
    return _Weights(ray, owned, w, d_w)


def composite(
    d_density: Tensor | None,
    d_rgb: Tensor | None,
    density: Tensor,
    dt: Tensor,
    rgb: Tensor,
    t: Tensor,
    offsets: Tensor,
    early_stop_eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the tangents of color [R, C], depth [R], opacity [R] and weights [M]."""
    rays = offsets.shape[0] - 1
    if rays == 0:
        none = density.new_zeros(0)
        return rgb.new_zeros(0, *rgb.shape[1:]), none, none, torch.zeros_like(density)
    s = _weights(density, dt, offsets, early_stop_eps, d_density)
    d_values = s.d_w[:, None] * rgb
    if d_rgb is not None:
        d_values = d_values + s.w[:, None] * d_rgb
    return s.per_ray(d_values, rays), s.per_ray(s.d_w * t, rays), s.per_ray(s.d_w, rays), s.d_w


def shade_composite(
    d_density: Tensor | None,
    d_albedo: Tensor | None,
    d_gradient: Tensor | None,
    density: Tensor,
    albedo: Tensor,
    gradient: Tensor | None,
    x: Tensor,
    t: Tensor,
    dt: Tensor,
    offsets: Tensor,
    directions: Tensor,
    camera_ids: Tensor | None,
    light_position: Tensor,
    ambient: Tensor,
    diffuse: Tensor,
    textureless: Tensor,
    background: Tensor | None,
    early_stop_eps: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the tangents of color, opacity, depth, normal and orientation of `shade_composite`.

    The weights are constants in the orientation.
    """
    rays, views = directions.shape[0], light_position.shape[0]
    if rays == 0:
        none, vectors = density.new_zeros(0), density.new_zeros(0, 3)
        return vectors, none, none, vectors, none
    if camera_ids is None:
        camera_ids = torch.arange(rays, device=x.device) // max(rays // max(views, 1), 1)
    s = _weights(density, dt, offsets, early_stop_eps, d_density)
    ids = camera_ids[s.ray]
    light = (light_position, ambient, diffuse, textureless)
    g = torch.zeros_like(albedo) if gradient is None else gradient
    rgb, normal, d_rgb, d_normal = shade(d_gradient, d_albedo, g, albedo, x, *light, ids, eps)
    w, d_w = s.w[:, None], s.d_w[:, None]
    d_color, d_opacity = s.per_ray(d_w * rgb + w * d_rgb, rays), s.per_ray(s.d_w, rays)
    if background is not None:
        d_color = d_color - d_opacity[:, None] * background[camera_ids.long()]
    toward = directions[s.ray]
    away = (normal * toward).sum(-1).clamp(min=0)
    d_orientation = s.per_ray(s.w * 2 * away * (d_normal * toward).sum(-1), rays)
    d_depth, d_mean_normal = (
        s.per_ray(s.d_w * t, rays),
        s.per_ray(d_w * normal + w * d_normal, rays),
    )
    return d_color, d_opacity, d_depth, d_mean_normal, d_orientation
