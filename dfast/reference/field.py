"""The hash grid and the field in plain PyTorch."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from dfast.ops.field_spec import FieldSample, FieldSpec, exp_limit
from dfast.ops.grid_spec import GridSpec


def hash_encode(
    x: Tensor,
    table: Tensor,
    spec: GridSpec,
    level_weights: Tensor | None = None,
    *,
    table_half: Tensor | None = None,
) -> Tensor:
    """Encode points as :func:`dfast.ops.hashgrid.hash_encode` does, one corner at a time."""
    if table_half is not None:  # has the values of table_half, the gradient goes to table
        table = table_half.to(table.dtype) + (table - table.detach())
    levels = []
    for l in range(spec.levels):
        scale, resolution = spec.scales[l], spec.resolutions[l]
        position = x * scale + 0.5
        low = position.detach().clamp(0, resolution - 1).floor()
        upper = position - low  # weight of the upper vertex along each axis
        if spec.smooth:
            upper = upper * upper * (3 - 2 * upper)
        value = torch.zeros_like(table[:1])
        for corner in range(2**spec.dimensions):
            bits = torch.tensor([corner >> d & 1 for d in range(spec.dimensions)], device=x.device)
            weight = torch.where(bits == 1, upper, 1 - upper).prod(-1, keepdim=True)
            i, j, *rest = (low.long() + bits).clamp(max=resolution - 1).unbind(-1)
            k = rest[0] if rest else torch.zeros_like(i)
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
    table_half: Tensor | None = None,
) -> Tensor:
    """Return J(x)^T a by differentiating :func:`hash_encode`."""
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        e = hash_encode(x, table, spec, level_weights, table_half=table_half)
        (gradient,) = torch.autograd.grad(e, x, a, create_graph=True)
    return gradient


def blob(x: Tensor, spec: FieldSpec) -> Tensor:
    """Return the bump [N] added to the density's logit at x [N, 3], see :class:`FieldSpec`."""
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
    table_half: Tensor | None = None,
    count: Tensor | None = None,
    want_gradient: bool = False,
) -> FieldSample:
    """Evaluate the field as :func:`dfast.ops.field.field` does.

    The gradient is computed by differentiating the logit with respect to x.
    """
    size = len(x)
    x = x.detach() if count is None else x.detach()[: int(count)]
    differentiable, gradient = torch.is_grad_enabled(), None
    with torch.enable_grad() if want_gradient else contextlib.nullcontext():
        world = x.requires_grad_(want_gradient)
        inside = (world + 1) * 0.5
        inside = (
            inside + (inside.clamp(0, 1) - inside).detach()
        )  # the slope stays that of the border
        h = hash_encode(inside, table, spec.grid, level_weights, table_half=table_half)
        *inner, last = spec.split(mlp)
        for weight, bias in inner:
            h = torch.relu(h @ weight.t() + bias)
        out = h @ last[0].t() + last[1]
        logit = out[:, 0] + blob(world, spec)
        if want_gradient:
            (gradient,) = torch.autograd.grad(logit.sum(), world, create_graph=differentiable)
    s = logit + spec.density_bias
    if spec.activation == "exp":
        density = spec.density_scale * torch.exp(s.clamp(max=exp_limit()))
    else:
        density = spec.density_scale * torch.nn.functional.softplus(s)
    albedo = torch.sigmoid(out[:, 1:])
    if count is not None:  # rows past the count are unspecified; here they are NaN
        missing = torch.full((size - len(x), 3), torch.nan, dtype=x.dtype, device=x.device)
        density, albedo = torch.cat([density, missing[:, 0]]), torch.cat([albedo, missing])
        gradient = None if gradient is None else torch.cat([gradient, missing])
    return FieldSample(density, albedo, gradient)
