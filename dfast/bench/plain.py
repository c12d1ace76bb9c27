"""Workload E's field in plain torch: what dfast is compared with where nothing else is installed.

Two grids. `dfast.reference` is the specification: it gathers corner by corner, and autograd makes a
gradient of the whole table for each. `encode` gathers all corners of all levels in one go, as one
who cares for speed writes it in torch. The MLP is torch, and everything is differentiated by
autograd, second order included.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import embedding

from .. import reference
from ..config import FieldConfig
from ..field import Field, grid_spec
from ..ops.hashgrid import GridSpec


@cache
def _levels(spec: GridSpec, device: torch.device) -> tuple[Tensor, ...]:
    """scale [L], vertices a side [L], first row [L], dense or not [L], and the corners [8,3]."""

    def made(values: tuple, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=device)

    corners = [(c & 1, c >> 1 & 1, c >> 2) for c in range(8)]
    return (
        made(spec.scales, torch.float32),
        made(spec.resolutions),
        made(spec.offsets[:-1]),
        made(spec.dense, torch.bool),
        made(tuple(corners)),
    )


def encode(x: Tensor, table: Tensor, spec: GridSpec) -> Tensor:
    """:func:`dfast.reference.hash_encode` of linear interpolation, all levels and corners at once:
    x [N,3] to [N, L F]."""
    scale, vertices, first, dense, corners = _levels(spec, x.device)
    position = x[:, None] * scale[:, None] + 0.5  # [N,L,3]
    low = position.detach().clamp(min=0).minimum((vertices - 1)[:, None]).floor()
    upper = (position - low)[:, :, None]  # [N,L,1,3]
    weight = torch.where(corners == 1, upper, 1.0 - upper).prod(-1)  # [N,L,8]
    cell = (low.long()[:, :, None] + corners).minimum((vertices - 1)[:, None, None])
    i, j, k = cell.unbind(-1)
    side = vertices[:, None]
    hashed = (i ^ j * 2654435761 ^ k * 805459861) & (2**spec.log2_entries - 1)
    row = torch.where(dense[:, None], i + side * (j + side * k), hashed) + first[:, None]
    return (weight[..., None] * embedding(row, table)).sum(2).flatten(1)


class PlainField:
    """A field with the parameters and the results of `dfast.field.Field`.

    Only the exp density without bias and scale, and no blob or the Gaussian one.
    """

    def __init__(self, config: FieldConfig, like: Field, *, gathered: bool) -> None:
        """Start from the parameters of `like`; gathered: `encode` in place of the reference's."""
        self.config, self.spec = config, grid_spec(config)
        self.encode = encode if gathered else reference.hash_encode

        def leaf(p: Tensor) -> Tensor:
            return p.detach().clone().requires_grad_()

        self.table = leaf(like.table)
        self.weights = [leaf(p) for p in like.weights]
        self.biases = [leaf(p) for p in like.biases]

    def parameters(self) -> list[Tensor]:
        """Table, weights, biases."""
        return [self.table, *self.weights, *self.biases]

    def __call__(self, x: Tensor, want_gradient: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """tau [N], albedo [N,3] and grad_x of the density's logit [N,3], zeros if not wanted."""
        c, differentiable = self.config, torch.is_grad_enabled()
        with torch.set_grad_enabled(differentiable or want_gradient):
            x = x.detach().requires_grad_(want_gradient)
            unit = ((x + 1.0) * 0.5).clamp(0.0, 1.0)
            hidden = self.encode(unit, self.table, self.spec)
            *inner, last = zip(self.weights, self.biases, strict=True)
            for weight, bias in inner:
                hidden = torch.relu(torch.addmm(bias, hidden, weight.t()))
            out = torch.addmm(last[1], hidden, last[0].t())
            logit = out[:, 0]
            if c.blob == "gaussian":
                r2 = x.square().sum(-1)
                logit = logit + c.blob_height * torch.exp(-0.5 * r2 / c.blob_width**2)
            gradient = torch.zeros_like(x)
            if want_gradient:
                (gradient,) = torch.autograd.grad(logit.sum(), x, create_graph=differentiable)
            return torch.exp(logit), torch.sigmoid(out[:, 1:]), gradient
