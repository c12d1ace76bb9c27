"""The field in plain torch: what dfast is compared with where nothing else is installed.

There are two grids. `dfast.reference` is the specification: it gathers corner by corner, and
autograd makes a gradient of the whole table for each. `gathered_encode` gathers all corners of all
levels in one go, as torch code written for speed does. The MLP is torch's, and everything is
differentiated by autograd, second order included.
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
    """Return scale, vertices a side, first row, and whether dense, each [L, 1].

    They are cached, because copying them to the device would be timed as part of the workload.
    """

    def made(values: tuple, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=device)[:, None]

    return (
        made(spec.scales, torch.float32),
        made(spec.resolutions),
        made(spec.offsets[:-1]),
        made(spec.dense, torch.bool),
    )


def gathered_encode(x: Tensor, table: Tensor, spec: GridSpec) -> Tensor:
    """Evaluate a grid of linear interpolation as `dfast.reference.hash_encode`, but all at once.

    Args:
        x: [N, 3] in [0, 1].
        table: [entries, features].
        spec: of the grid.

    Returns:
        The encoding [N, levels * features], differentiable by autograd.
    """
    scale, vertices, first, dense = _levels(spec, x.device)
    position = x[:, None] * scale + 0.5  # [N, L, 3]
    low = position.detach().clamp(min=0).minimum(vertices - 1).floor()
    upper = position - low
    i, j, k = (
        (low.long()[..., None] + torch.tensor([0, 1], device=x.device))
        .clamp(min=0)
        .minimum((vertices - 1)[..., None])
        .unbind(2)
    )  # each [N, L, 2], the lower and the upper vertex
    hashed = _outer(torch.bitwise_xor, i, j * 2654435761, k * 805459861)
    hashed = hashed & (2**spec.log2_entries - 1)
    direct = _outer(torch.add, i, j * vertices, k * vertices * vertices)
    row = torch.where(dense, direct, hashed) + first  # [N, L, 8]
    weight = _outer(torch.mul, *torch.stack([1.0 - upper, upper], -1).unbind(2))
    return (weight[..., None] * embedding(row, table)).sum(2).flatten(1)


def _outer(op: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Combine one of two values along each axis, each [N, L, 2], to all eight [N, L, 8].

    x varies fastest.
    """
    plane = op(y[..., :, None], x[..., None, :])
    return op(z[..., :, None, None], plane[..., None, :, :]).flatten(2)


class TorchField:
    """The parameters and results of a `dfast.nn.field.Field` in torch, for exp density only."""

    def __init__(self, like: Field, *, gathered: bool) -> None:
        """Copy a field.

        Args:
            like: whose parameters are copied.
            gathered: use `gathered_encode` in place of the reference.
        """
        self.spec, self.gathered = like.spec, gathered
        self.table = like.table.detach().clone().requires_grad_()
        self.mlp = like.mlp.detach().clone().requires_grad_()

    def parameters(self) -> list[Tensor]:
        """Return table and MLP."""
        return [self.table, self.mlp]

    def __call__(self, x: Tensor, *, want_gradient: bool = False) -> FieldSample:
        """Evaluate the field at world points [N, 3].

        Args:
            x: the points.
            want_gradient: also return the gradient of the density logit by x.
        """
        if not self.gathered:
            return reference.field(x, self.table, self.mlp, self.spec, want_gradient=want_gradient)
        differentiable = torch.is_grad_enabled()
        with torch.set_grad_enabled(differentiable or want_gradient):
            x = x.detach().requires_grad_(want_gradient)
            hidden = gathered_encode((x + 1.0) * 0.5, self.table, self.spec.grid)
            *inner, last = self.spec.split(self.mlp)
            for weight, bias in inner:
                hidden = torch.relu(torch.addmm(bias, hidden, weight.t()))
            out = torch.addmm(last[1], hidden, last[0].t())
            logit = out[:, 0] + reference.blob(x, self.spec)
            gradient = None
            if want_gradient:
                (gradient,) = torch.autograd.grad(logit.sum(), x, create_graph=differentiable)
            return FieldSample(torch.exp(logit), torch.sigmoid(out[:, 1:]), gradient)
