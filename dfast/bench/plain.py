"""Workload E's field in plain torch: what dfast is compared with where nothing else is installed.

Two grids. `dfast.reference` is the specification: it gathers corner by corner, and autograd makes a
gradient of the whole table for each. `encode` gathers all corners of all levels in one go, as one
who cares for speed writes it in torch. The MLP is torch, and everything is differentiated by
autograd, second order included.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import embedding

from dfast import reference
from dfast.nn.field import Field
from dfast.ops.field_spec import FieldSample
from dfast.ops.grid_spec import GridSpec


@cache
def _levels(spec: GridSpec, device: torch.device) -> tuple[Tensor, ...]:
    """scale, vertices a side, first row, and dense or not, each [L,1]."""

    def made(values: tuple, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=device)[:, None]

    return (
        made(spec.scales, torch.float32),
        made(spec.resolutions),
        made(spec.offsets[:-1]),
        made(spec.dense, torch.bool),
    )


def encode(x: Tensor, table: Tensor, spec: GridSpec) -> Tensor:
    """:func:`dfast.reference.hash_encode` of linear interpolation, all levels and corners at once:
    x [N,3] to [N, L F]."""
    scale, vertices, first, dense = _levels(spec, x.device)
    position = x[:, None] * scale + 0.5  # [N,L,3]
    low = position.detach().clamp(min=0).minimum(vertices - 1).floor()
    upper = position - low
    i, j, k = (
        (low.long()[..., None] + torch.tensor([0, 1], device=x.device))
        .clamp(min=0)
        .minimum((vertices - 1)[..., None])
        .unbind(2)
    )  # [N,L,2] each, the lower and the upper vertex
    hashed = _outer(torch.bitwise_xor, i, j * 2654435761, k * 805459861)
    hashed = hashed & (2**spec.log2_entries - 1)
    direct = _outer(torch.add, i, j * vertices, k * vertices * vertices)
    row = torch.where(dense, direct, hashed) + first  # [N,L,8]
    weight = _outer(torch.mul, *torch.stack([1.0 - upper, upper], -1).unbind(2))
    return (weight[..., None] * embedding(row, table)).sum(2).flatten(1)


def _outer(op: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """`op` over the eight choices of one of two along each axis [N,L,2], x fastest: [N,L,8]."""
    plane = op(y[..., :, None], x[..., None, :])
    return op(z[..., :, None, None], plane[..., None, :, :]).flatten(2)


class PlainField:
    """A field with the parameters and the results of `dfast.nn.field.Field`, exp density only."""

    def __init__(self, like: Field, *, gathered: bool) -> None:
        """Start from the parameters of `like`; gathered: `encode` in place of the reference's."""
        self.spec, self.gathered = like.spec, gathered
        self.table = like.table.detach().clone().requires_grad_()
        self.mlp = like.mlp.detach().clone().requires_grad_()

    def parameters(self) -> list[Tensor]:
        """Table, MLP."""
        return [self.table, self.mlp]

    def __call__(self, x: Tensor, *, want_gradient: bool = False) -> FieldSample:
        """At world points [N,3]."""
        if not self.gathered:
            return reference.field(x, self.table, self.mlp, self.spec, want_gradient=want_gradient)
        differentiable = torch.is_grad_enabled()
        with torch.set_grad_enabled(differentiable or want_gradient):
            x = x.detach().requires_grad_(want_gradient)
            hidden = encode((x + 1.0) * 0.5, self.table, self.spec.grid)
            *inner, last = self.spec.split(self.mlp)
            for weight, bias in inner:
                hidden = torch.relu(torch.addmm(bias, hidden, weight.t()))
            out = torch.addmm(last[1], hidden, last[0].t())
            logit = out[:, 0] + reference.blob(x, self.spec)
            gradient = None
            if want_gradient:
                (gradient,) = torch.autograd.grad(logit.sum(), x, create_graph=differentiable)
            return FieldSample(torch.exp(logit), torch.sigmoid(out[:, 1:]), gradient)
