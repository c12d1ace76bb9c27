"""dfast's native operations in plain PyTorch: the specification to read, the oracle of the tests.

Every function has the name, arguments and results of its twin in ``dfast.ops`` and runs on any
device in any floating dtype. These are written to be read, not to be fast; their gradients come
from autograd.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dfast.nn.occupancy import unpack_bits
from dfast.ops.adam import NORM, SKIPPED, STEP, STREAK
from dfast.ops.field import EXP_LIMIT, FieldSample, FieldSpec
from dfast.ops.group_norm import Activation
from dfast.ops.hashgrid import GridSpec
from dfast.ops.march import Samples
from dfast.ops.shade_composite import RaySums


def march(
    origins: Tensor,
    directions: Tensor,
    bits: Tensor,
    *,
    resolution: int,
    radius: float,
    step: float,
    growth: float = 0.0,
    jitter: Tensor | None = None,
    capacity: int | None = None,
) -> Samples:
    """:func:`dfast.ops.march.march` by brute force: test the cell of every interval's sample."""
    if jitter is None:
        jitter = torch.full_like(origins[:, 0], 0.5)
    along = (origins * directions).sum(-1)
    closest = (origins - along[:, None] * directions).square().sum(-1)
    half = (radius**2 - closest).clamp(min=0).sqrt()
    near, far = (-along - half).clamp(min=0), half - along
    far = torch.where((half > 0) & (far > near), far, near)  # an empty range where it misses

    occupied = unpack_bits(bits, resolution)
    cells = resolution / (2 * radius)
    columns = []  # (t, dt, kept) of interval k of every ray, each [R]
    start, k = near, 0
    while bool((start < far).any()):
        length = (start * growth).clamp(min=step)
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
        start = start + length if growth > 0 else near + k * step

    offsets = torch.zeros(len(origins) + 1, dtype=torch.int64, device=origins.device)
    if not columns:
        empty = origins.new_empty(0)
        t, dt, ray = empty, empty, empty.to(torch.int32)
    else:
        all_t, all_dt, kept = (torch.stack(column, 1) for column in zip(*columns, strict=True))
        offsets[1:] = kept.sum(1).cumsum(0)
        t, dt = all_t[kept], all_dt[kept]  # row by row, hence ray after ray
        ray = kept.nonzero()[:, 0].to(torch.int32)
    total = offsets[-1:].clone()
    if capacity is not None:
        missing = max(0, capacity - len(t))
        t, dt, ray = (torch.cat([v[:capacity], v.new_zeros(missing)]) for v in (t, dt, ray))
        offsets = offsets.clamp(max=capacity)
    x = origins[ray] + t[:, None] * directions[ray]
    met = (far > near).sum().view(1)
    return Samples(t, dt, ray, x, offsets.to(torch.int32), total, total > len(t), met)


def composite(
    tau: Tensor,
    dt: Tensor,
    rgb: Tensor,
    t: Tensor,
    offsets: Tensor,
    *,
    early_stop: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """:func:`dfast.ops.composite.composite` on a padded table, one row a ray."""
    start, count = offsets[:-1].long(), offsets.diff().long()
    width = int(count.max()) if count.numel() else 0
    columns = torch.arange(width, device=tau.device)
    mask = columns < count[:, None]  # [R, K]
    index = (start[:, None] + columns)[mask]

    depth_of = torch.zeros(mask.shape, dtype=tau.dtype, device=tau.device)
    depth_of = depth_of.masked_scatter(mask, (tau * dt)[index])  # optical depth of each sample
    before = torch.cat([torch.zeros_like(depth_of[:, :1]), depth_of.cumsum(1)[:, :-1]], 1)
    transmittance = torch.exp(-before)  # T_i
    w = transmittance * -torch.expm1(-depth_of)
    w = torch.where(mask & (transmittance >= early_stop), w, 0.0)

    weights = torch.zeros_like(tau).index_put((index,), w[mask])
    ray = torch.arange(len(start), device=tau.device)[:, None].expand(mask.shape)[mask]

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
    view: Tensor,
    *,
    eps: float = 1e-6,
) -> tuple[Tensor, Tensor]:
    """:func:`dfast.ops.shade.shade`."""
    v = view.long()
    normal = -gradient / (gradient.square().sum(-1, keepdim=True) + eps).sqrt()
    light = torch.nn.functional.normalize(light_position[v] - position, dim=-1, eps=1e-30)
    lambert = (normal * light).sum(-1).clamp(min=0)
    shading = diffuse[v] * lambert + ambient[v]
    rho = torch.lerp(albedo, torch.ones_like(albedo), textureless[v][:, None])
    return rho * shading[:, None], normal


def shade_composite(
    tau: Tensor,
    albedo: Tensor,
    gradient: Tensor | None,
    samples: Samples,
    directions: Tensor,
    view: Tensor | None,
    light_position: Tensor,
    ambient: Tensor,
    diffuse: Tensor,
    textureless: Tensor,
    *,
    background: Tensor | None = None,
    early_stop: float = 0.0,
    eps: float = 1e-6,
) -> RaySums:
    """:func:`dfast.ops.shade_composite.shade_composite` from the two ops it stands for."""
    rays, views = len(directions), len(light_position)
    if view is None:
        view = torch.arange(rays, device=tau.device) // max(rays // max(views, 1), 1)
    counts = samples.offsets.diff().long()
    ray = torch.arange(rays, device=tau.device).repeat_interleave(counts)
    owned = slice(int(samples.offsets[0]), int(samples.offsets[-1]))
    offsets = samples.offsets - samples.offsets[0]
    tau, albedo, t, dt, x = (v[owned] for v in (tau, albedo, samples.t, samples.dt, samples.x))
    gradient = torch.zeros_like(albedo) if gradient is None else gradient[owned]
    light = (light_position, ambient, diffuse, textureless)
    rgb, normals = shade(gradient, albedo, x, *light, view[ray], eps=eps)
    facing_away = (normals * directions[ray]).sum(-1, keepdim=True).clamp(min=0).square()
    channels = torch.cat([rgb, normals], -1)
    out, depth, opacity, weights = composite(tau, dt, channels, t, offsets, early_stop=early_stop)
    penalty = torch.zeros_like(opacity).index_add(0, ray, weights.detach() * facing_away[:, 0])
    color = out[:, :3]
    if background is not None:
        color = color + (1 - opacity)[:, None] * background[view.long()]
    return RaySums(color, opacity, depth, out[:, 3:], penalty)


def hash_encode(
    x: Tensor,
    table: Tensor,
    spec: GridSpec,
    level_weights: Tensor | None = None,
    *,
    storage: Tensor | None = None,
) -> Tensor:
    """:func:`dfast.ops.hashgrid.hash_encode`, level by level and corner by corner."""
    if storage is not None:  # the values of storage, the gradient of table
        table = storage.to(table.dtype) + (table - table.detach())
    levels = []
    for l in range(spec.levels):
        scale, resolution = spec.scales[l], spec.resolutions[l]
        position = x * scale + 0.5
        low = position.detach().clamp(0, resolution - 1).floor()
        upper = position - low  # weight of the upper vertex along each axis
        if spec.smooth:
            upper = upper * upper * (3 - 2 * upper)
        value = torch.zeros_like(table[:1])
        for corner in range(8):
            bits = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2], device=x.device)
            weight = torch.where(bits == 1, upper, 1 - upper).prod(-1, keepdim=True)
            i, j, k = (low.long() + bits).clamp(max=resolution - 1).unbind(-1)
            if spec.dense[l]:
                row = i + resolution * (j + resolution * k)
            else:
                row = (i ^ j * 2654435761 ^ k * 805459861) & (2**spec.log2_entries - 1)
            value = value + weight * table[spec.offsets[l] + row]
        levels.append(value if level_weights is None else level_weights[l] * value)
    return torch.cat(levels, -1)


def hash_encode_grad(
    x: Tensor,
    table: Tensor,
    a: Tensor,
    spec: GridSpec,
    level_weights: Tensor | None = None,
    *,
    storage: Tensor | None = None,
) -> Tensor:
    """:func:`dfast.ops.hashgrid.hash_encode_grad` by differentiating :func:`hash_encode`."""
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        e = hash_encode(x, table, spec, level_weights, storage=storage)
        (gradient,) = torch.autograd.grad(e, x, a, create_graph=True)
    return gradient


@torch.no_grad()
def gradient_norm(grads: Sequence[Tensor], status: Tensor, space: Tensor) -> None:
    """:func:`dfast.ops.adam.gradient_norm`; `space` is not used."""
    status[NORM] = torch.sqrt(sum((g.double().square().sum() for g in grads), torch.zeros(())))
    if torch.isfinite(status[NORM]):
        status[STEP] += 1
        status[STREAK] = 0
    else:
        status[SKIPPED] += 1
        status[STREAK] += 1


@torch.no_grad()
def adam_step(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avg: Sequence[Tensor],
    exp_avg_sq: Sequence[Tensor],
    storage: Sequence[Tensor | None],
    rates: Sequence[float],
    factor: Tensor,
    status: Tensor,
    *,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """:func:`dfast.ops.adam.adam_step`, tensor by tensor."""
    if not torch.isfinite(status[NORM]):
        return
    (b1, b2), t = betas, float(status[STEP])
    every = zip(params, grads, exp_avg, exp_avg_sq, storage, rates, strict=True)
    for p, g, m, v, half, rate in every:
        m.copy_(b1 * m + (1 - b1) * g)
        v.copy_(b2 * v + (1 - b2) * g * g)
        corrected = (v / (1 - b2**t)).sqrt() + eps
        p.sub_(rate * factor / (1 - b1**t) * m / corrected)
        if half is not None:
            half.copy_(p)


def blob(x: Tensor, spec: FieldSpec) -> Tensor:
    """The bump [N] that starts the object off, at x [N, 3]."""
    if spec.blob == "gaussian":
        return spec.blob_height * torch.exp(x.square().sum(-1) * (-0.5 / spec.blob_width**2))
    if spec.blob == "linear":
        return spec.blob_height * (1.0 - x.norm(dim=-1) / spec.blob_width)
    return torch.zeros_like(x[:, 0])


def field(
    x: Tensor,
    table: Tensor,
    mlp: Tensor,
    spec: FieldSpec,
    *,
    level_weights: Tensor | None = None,
    storage: Tensor | None = None,
    count: Tensor | None = None,
    want_gradient: bool = False,
) -> FieldSample:
    """:func:`dfast.ops.field.field`, its gradient by differentiating the logit in x."""
    size = len(x)
    x = x.detach() if count is None else x.detach()[: int(count)]
    differentiable, gradient = torch.is_grad_enabled(), None
    with torch.enable_grad() if want_gradient else contextlib.nullcontext():
        world = x.requires_grad_(want_gradient)
        inside = (world + 1) * 0.5
        inside = inside + (inside.clamp(0, 1) - inside).detach()  # outside, the border's slope
        h = hash_encode(inside, table, spec.grid, level_weights, storage=storage)
        *inner, last = spec.split(mlp)
        for weight, bias in inner:
            h = torch.relu(h @ weight.t() + bias)
        out = h @ last[0].t() + last[1]
        logit = out[:, 0] + blob(world, spec)
        if want_gradient:
            (gradient,) = torch.autograd.grad(logit.sum(), world, create_graph=differentiable)
    s = logit + spec.density_bias
    if spec.activation == "exp":
        tau = spec.density_scale * torch.exp(s.clamp(max=EXP_LIMIT))
    else:
        tau = spec.density_scale * torch.nn.functional.softplus(s)
    albedo = torch.sigmoid(out[:, 1:])
    if count is not None:  # rows past the count may hold anything; here it is NaN
        missing = torch.full((size - len(x), 3), torch.nan, dtype=x.dtype, device=x.device)
        tau, albedo = torch.cat([tau, missing[:, 0]]), torch.cat([albedo, missing])
        gradient = None if gradient is None else torch.cat([gradient, missing])
    return FieldSample(tau, albedo, gradient)


def group_norm(
    x: Tensor,
    groups: int,
    weight: Tensor,
    bias: Tensor,
    *,
    eps: float = 1e-5,
    add: Tensor | None = None,
    scale_shift: Tensor | None = None,
    activation: Activation = "none",
) -> Tensor:
    """:func:`dfast.ops.group_norm.group_norm`."""

    def of_channels(rows: Tensor) -> Tensor:
        return rows[(..., *(None,) * (x.ndim - 2))]

    u = x if add is None else x + of_channels(add)
    members = u.unflatten(1, (groups, -1)).flatten(2)  # [B, groups, numbers]
    mean = members.mean(-1, keepdim=True)
    variance = (members - mean).square().mean(-1, keepdim=True)
    n = ((members - mean) / (variance + eps).sqrt()).view_as(u)
    z = n * of_channels(weight) + of_channels(bias)
    if scale_shift is not None:
        scale, shift = scale_shift.chunk(2, 1)
        z = z * (1 + of_channels(scale)) + of_channels(shift)
    return {"none": lambda v: v, "silu": F.silu, "gelu": F.gelu}[activation](z)


def geglu(x: Tensor) -> Tensor:
    """:func:`dfast.ops.gated.geglu`."""
    value, gate = x.chunk(2, -1)
    return value * F.gelu(gate)


def merge(a: Tensor, b: Tensor, bias: Tensor, *, factor: float = 1.0) -> Tensor:
    """:func:`dfast.ops.gated.merge`."""
    return (a + b + bias[(..., *(None,) * (a.ndim - 2))]) * factor
