"""The field by the hash-grid ops and torch's matrix products.

This takes the place of the fused op where that cannot run. The gradient is that of a hand-written
backward pass whose ReLU masks are constants: ordinary autograd through it is the exact second order
(docs/math.md, "Normals and second order").
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dfast.nn.density import activated, blob, blob_gradient
from dfast.ops.field_spec import FieldSample, FieldSpec
from dfast.ops.hashgrid import hash_encode, hash_encode_grad


@dataclass(frozen=True)
class GeneralField:
    """The tensors of a field, and the formulas of `dfast.ops.field` on them."""

    spec: FieldSpec
    table: Tensor
    """[entries, F]"""
    table_half: Tensor | None
    """[entries, F] float16 copy to read from; the gradient goes to `table`"""
    mlp: Tensor
    """[P]"""
    level_weights: Tensor | None
    """[L], or None for all ones"""

    def evaluate(
        self, x: Tensor, *, analytic: bool, finite_step: float | None, count: Tensor | None
    ) -> FieldSample:
        """Return density, albedo and gradient at points.

        Args:
            x: [N, 3] world points.
            analytic: whether to compute the gradient exactly.
            finite_step: in world units; computes the gradient by central differences instead.
            count: int64 [1] or None: how many points there really are; the others give zeros.
        """
        real = None
        if count is not None:  # points past it may hold anything, and so may their gradients
            real = (torch.arange(len(x), device=x.device) < count)[:, None]
            x = torch.where(real, x, 0.0)
        *inner, last = self.spec.split(self.mlp)
        hidden, active = self._encode(x), []
        for weight, bias in inner:
            hidden = torch.relu(torch.addmm(bias, hidden, weight.t()))
            if analytic:
                active.append(hidden.detach())
        out = torch.addmm(last[1], hidden, last[0].t())
        gradient = None
        if analytic:
            gradient = self._analytic_gradient(x, active)
        elif finite_step is not None:
            gradient = self._finite_gradient(x, finite_step)
        density = self._density(out[:, 0] + blob(self.spec, x))
        albedo = torch.sigmoid(out[:, 1:])
        sample = FieldSample(density, albedo, gradient)
        return sample if real is None else sample.where(real)

    def _encode(self, x: Tensor) -> Tensor:
        """Return the encoding of world points."""
        grid = self.spec.grid
        return hash_encode(
            _unit(x), self.table, grid, self.level_weights, table_half=self.table_half
        )

    def _density(self, logit: Tensor) -> Tensor:
        """Return the density of a logit, blob included."""
        return self.spec.density_scale * activated(self.spec, logit + self.spec.density_bias)

    def _analytic_gradient(self, x: Tensor, active: list[Tensor]) -> Tensor:
        """Return J^T a_0 + grad blob, a_k = (W_{k+1}^T a_{k+1}) * m_k from the last layer down.

        `active` holds the outputs of the hidden layers, whose signs are the masks m_k.
        """
        first, *middle, last = [weight for weight, _ in self.spec.split(self.mlp)]
        a = _masked(last[0].expand_as(active[-1]), active[-1])
        for weight, hidden in zip(reversed(middle), reversed(active[:-1]), strict=True):
            a = _masked(a @ weight, hidden)
        a = a @ first
        g = hash_encode_grad(
            _unit(x), self.table, a, self.spec.grid, self.level_weights, table_half=self.table_half
        )
        return torch.add(blob_gradient(self.spec, x), g, alpha=0.5)  # d unit / dx = 1/2

    def _finite_gradient(self, x: Tensor, h: float) -> Tensor:
        """Return central differences of the logit with step h: six more evaluations."""
        steps = torch.eye(3, dtype=x.dtype, device=x.device) * h
        stencil = torch.cat([x + sign * step for step in steps for sign in (1.0, -1.0)])
        *inner, last = self.spec.split(self.mlp)
        hidden = self._encode(stencil)
        for weight, bias in inner:
            hidden = torch.relu(torch.addmm(bias, hidden, weight.t()))
        values = (hidden @ last[0][0] + blob(self.spec, stencil)).view(3, 2, -1)
        return ((values[:, 0] - values[:, 1]) / (2.0 * h)).t()


def _masked(a: Tensor, hidden: Tensor) -> Tensor:
    """Return a * [hidden > 0] in one pass, without a mask in memory; differentiable in a."""
    out: Tensor = torch.ops.aten.threshold_backward(a, hidden, 0)
    return out


def _unit(x: Tensor) -> Tensor:
    """Map world points of [-1, 1] to the grid's [0, 1]."""
    return ((x + 1.0) * 0.5).clamp(0.0, 1.0)
