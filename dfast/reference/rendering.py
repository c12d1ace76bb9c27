"""Ray marching, shading and compositing in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from dfast.ops.bitfield import unpack_bits
from dfast.ops.march import Samples, check_lengths
from dfast.ops.shade_composite import RaySums


def march(
    origins: Tensor,
    directions: Tensor,
    occupancy_bitfield: Tensor,
    *,
    resolution: int,
    radius: float,
    step_size: float,
    cone_angle: float = 0.0,
    jitter: Tensor | None = None,
    max_samples: int | None = None,
) -> Samples:
    """Place samples as :func:`dfast.ops.march.march` does, by brute force.

    It tests the cell of every interval's sample.
    """
    check_lengths(radius, step_size, cone_angle)
    if jitter is None:
        jitter = torch.full_like(origins[:, 0], 0.5)
    along = (origins * directions).sum(-1)
    closest = (origins - along[:, None] * directions).square().sum(-1)
    half = (radius**2 - closest).clamp(min=0).sqrt()
    near, far = (-along - half).clamp(min=0), half - along
    far = torch.where((half > 0) & (far > near), far, near)  # the range is empty on a miss

    occupied = unpack_bits(occupancy_bitfield, resolution)
    cells = resolution / (2 * radius)
    columns = []  # per interval k: (t, dt, kept) of every ray, each [R]
    start, k = near, 0
    while bool((start < far).any()):
        length = (start * cone_angle).clamp(min=step_size)
        dt = torch.minimum(length, far - start)
        t = start + jitter * dt
        x, y, z = (
            ((origins + radius) * cells + t[:, None] * (directions * cells))
            .long()
            .clamp(0, resolution - 1)
            .unbind(-1)
        )
        columns.append((t, dt, (start < far) & occupied[x, y, z]))
        k += 1
        start = start + length if cone_angle > 0 else near + k * step_size

    offsets = torch.zeros(len(origins) + 1, dtype=torch.int64, device=origins.device)
    if not columns:  # no ray meets the sphere, or there is none
        empty = origins.new_empty(0)
        t, dt, ray = empty, empty, empty.to(torch.int32)
    else:
        all_t, all_dt, kept = (torch.stack(column, 1) for column in zip(*columns, strict=True))
        offsets[1:] = kept.sum(1).cumsum(0)
        t, dt = all_t[kept], all_dt[kept]  # in row order, so ray after ray
        ray = kept.nonzero()[:, 0].to(torch.int32)
    x = origins[ray] + t[:, None] * directions[ray]
    num_samples = offsets[-1:].clone()
    if max_samples is not None:
        missing = max(0, max_samples - len(t))
        t, dt, ray, x = (
            torch.cat([v[:max_samples], v.new_zeros(missing, *v.shape[1:])])
            for v in (t, dt, ray, x)
        )
        offsets = offsets.clamp(max=max_samples)
    num_rays_hit = (far > near).sum().view(1)
    overflow = num_samples > len(t)
    offsets = offsets.to(torch.int32)
    return Samples(t, dt, ray, x, offsets, num_samples, overflow, num_rays_hit)


def composite(
    density: Tensor,
    dt: Tensor,
    rgb: Tensor,
    t: Tensor,
    offsets: Tensor,
    *,
    early_stop_eps: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Composite as :func:`dfast.ops.composite.composite` does, on a padded table [R, samples]."""
    start, count = offsets[:-1].long(), offsets.diff().long()
    width = int(count.max()) if count.numel() else 0
    columns = torch.arange(width, device=density.device)
    mask = columns < count[:, None]  # [R, K]
    index = (start[:, None] + columns)[mask]

    depth_of = torch.zeros(mask.shape, dtype=density.dtype, device=density.device)
    depth_of = depth_of.masked_scatter(mask, (density * dt)[index])  # optical depth of each sample
    before = torch.cat([torch.zeros_like(depth_of[:, :1]), depth_of.cumsum(1)[:, :-1]], 1)
    transmittance = torch.exp(-before)  # T_i
    w = transmittance * -torch.expm1(-depth_of)
    w = torch.where(mask & (transmittance >= early_stop_eps), w, 0.0)

    weights = torch.zeros_like(density).index_put((index,), w[mask])
    ray = torch.arange(len(start), device=density.device)[:, None].expand(mask.shape)[mask]

    def per_ray(values: Tensor) -> Tensor:
        zeros = values.new_zeros(len(start), *values.shape[1:])
        return zeros.index_add(0, ray, values[index])

    color = per_ray(weights[:, None] * rgb)
    return color, per_ray(weights * t), per_ray(weights), weights


def shade(
    gradient: Tensor,
    albedo: Tensor,
    position: Tensor,
    light_position: Tensor,
    ambient: Tensor,
    diffuse: Tensor,
    textureless: Tensor,
    camera_ids: Tensor,
    *,
    eps: float = 1e-6,
) -> tuple[Tensor, Tensor]:
    """Shade samples as :func:`dfast.ops.shade.shade` does."""
    camera = camera_ids.long()
    normal = -gradient / (gradient.square().sum(-1, keepdim=True) + eps).sqrt()
    light = torch.nn.functional.normalize(light_position[camera] - position, dim=-1, eps=1e-30)
    lambert = (normal * light).sum(-1).clamp(min=0)
    shading = diffuse[camera] * lambert + ambient[camera]
    rho = torch.lerp(albedo, torch.ones_like(albedo), textureless[camera][:, None])
    return rho * shading[:, None], normal


def shade_composite(
    density: Tensor,
    albedo: Tensor,
    gradient: Tensor | None,
    samples: Samples,
    directions: Tensor,
    camera_ids: Tensor | None,
    light_position: Tensor,
    ambient: Tensor,
    diffuse: Tensor,
    textureless: Tensor,
    *,
    background: Tensor | None = None,
    early_stop_eps: float = 0.0,
    eps: float = 1e-6,
) -> RaySums:
    """Shade, then composite, with :func:`dfast.ops.shade_composite.shade_composite`'s results."""
    rays, views = len(directions), len(light_position)
    if camera_ids is None:
        camera_ids = torch.arange(rays, device=density.device) // max(rays // max(views, 1), 1)
    counts = samples.offsets.diff().long()
    ray = torch.arange(rays, device=density.device).repeat_interleave(counts)
    owned = slice(int(samples.offsets[0]), int(samples.offsets[-1]))
    offsets = samples.offsets - samples.offsets[0]
    density, albedo, t, dt, x = (
        v[owned] for v in (density, albedo, samples.t, samples.dt, samples.x)
    )
    gradient = torch.zeros_like(albedo) if gradient is None else gradient[owned]
    light = (light_position, ambient, diffuse, textureless)
    rgb, normals = shade(gradient, albedo, x, *light, camera_ids[ray], eps=eps)
    facing_away = (normals * directions[ray]).sum(-1, keepdim=True).clamp(min=0).square()
    channels = torch.cat([rgb, normals], -1)
    out, depth, opacity, weights = composite(
        density, dt, channels, t, offsets, early_stop_eps=early_stop_eps
    )
    penalty = torch.zeros_like(opacity).index_add(0, ray, weights.detach() * facing_away[:, 0])
    color = out[:, :3]
    if background is not None:
        color = color + (1 - opacity)[:, None] * background[camera_ids.long()]
    return RaySums(color, opacity, depth, out[:, 3:], penalty)
