"""The object: a hash grid and a small MLP from a world point to density and albedo.

tau = density_scale * phi(s + bias + blob(x)), s the first of the MLP's four outputs, phi softplus
or exp; albedo is the sigmoid of the other three. phi' > 0 cancels in the normal, n = -grad tau /
|grad tau|, so what the shading needs is g = grad_x (s + blob), and nothing overflows. g comes from
a hand-written backward pass (MATH.md) whose ReLU masks are constants; ordinary autograd through it
is then the exact second order, with no graph of a graph.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from .config import FieldConfig
from .ops.hashgrid import GridSpec, hash_encode, hash_encode_grad

EXP_LIMIT = 15.0
"""Where the exp activation is clamped: 3.3e6 per unit length is as opaque as anything."""


class FieldSample(NamedTuple):
    """The field at N points."""

    tau: Tensor
    """[N] density per unit length, >= 0"""
    albedo: Tensor
    """[N,3] in [0, 1]"""
    gradient: Tensor | None
    """[N,3] grad_x of the density's logit; the normal is -gradient normalised"""


def grid_spec(config: FieldConfig) -> GridSpec:
    """The native op's view of the grid settings."""
    g = config.grid
    return GridSpec(
        levels=g.levels,
        features=g.features,
        log2_entries=g.log2_entries,
        base_resolution=g.base_resolution,
        max_resolution=g.max_resolution,
        interpolation=g.interpolation,
    )


class Field(nn.Module):
    """Parameters: table [entries, F], weights[i] [out, in], biases[i] [out].

    Points are world points in the unit sphere; outside the cube [-1, 1]^3 the table is read at its
    border.
    """

    def __init__(self, config: FieldConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.spec = grid_spec(config)
        widths = [self.spec.outputs] + [config.hidden] * config.layers + [4]
        self.table = nn.Parameter(torch.empty(self.spec.entries, self.spec.features))
        shapes = zip(widths[1:], widths[:-1], strict=True)
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(o, i)) for o, i in shapes)
        self.biases = nn.ParameterList(nn.Parameter(torch.empty(o)) for o in widths[1:])
        self.register_buffer("storage", None, persistent=False)
        self.storage: Tensor | None
        self.reset(generator)

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw new parameters; the host generator makes them the same on every device."""

        def draw(p: Tensor, bound: float) -> None:
            p.copy_((2.0 * torch.rand(p.shape, generator=generator) - 1.0) * bound)

        draw(self.table, 1e-4)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            draw(weight, math.sqrt(6.0 / weight.shape[1]))  # He et al. 2015
            bias.zero_()
        self.refresh_storage()

    @torch.no_grad()
    def refresh_storage(self) -> None:
        """Bring the half-precision copy up to date; call after the table changed."""
        if not self.config.half_table:
            return
        if self.storage is None or self.storage.device != self.table.device:
            self.storage = self.table.half()
        else:
            self.storage.copy_(self.table)

    def forward(
        self, x: Tensor, *, level_weights: Tensor | None = None, want_gradient: bool = False
    ) -> FieldSample:
        """Density, albedo and, if asked for, the gradient at x [N,3].

        level_weights: [L] in [0, 1] or None for all ones. Differentiable once more in every
        parameter, gradient included; x itself is taken as constant.
        """
        x = x.detach()
        analytic = want_gradient and self.config.normals == "analytic"
        hidden, active = self._encode(x, level_weights), []
        *inner, last = zip(self.weights, self.biases, strict=True)
        for weight, bias in inner:
            hidden = torch.relu(torch.addmm(bias, hidden, weight.t()))
            if analytic:
                active.append(hidden.detach())
        out = torch.addmm(last[1], hidden, last[0].t())
        gradient = None
        if analytic:
            gradient = self._analytic_gradient(x, active, level_weights)
        elif want_gradient:
            gradient = self._finite_gradient(x, level_weights)
        tau = self._density(out[:, 0] + self.blob(x))
        return FieldSample(tau, torch.sigmoid(out[:, 1:]), gradient)

    @torch.no_grad()
    def density(self, x: Tensor, level_weights: Tensor | None = None) -> Tensor:
        """tau [N] at x [N,3], without gradients."""
        return self._density(self._logit(x, level_weights))

    def blob(self, x: Tensor) -> Tensor:
        """The bump [N] that starts the object off, from `FieldConfig.blob`."""
        c = self.config
        if c.blob == "gaussian":
            return c.blob_height * torch.exp(x.square().sum(-1) * (-0.5 / c.blob_width**2))
        if c.blob == "linear":
            return c.blob_height * (1.0 - x.norm(dim=-1) / c.blob_width)
        return torch.zeros_like(x[:, 0])

    def blob_gradient(self, x: Tensor) -> Tensor:
        """grad_x of `blob`, [N,3]; 0 at the origin."""
        c = self.config
        if c.blob == "gaussian":
            return x * (self.blob(x) / -(c.blob_width**2))[:, None]
        if c.blob == "linear":
            unit = x / x.norm(dim=-1, keepdim=True).clamp(min=1e-12)
            return unit * (-c.blob_height / c.blob_width)
        return torch.zeros_like(x)

    def _encode(self, x: Tensor, level_weights: Tensor | None) -> Tensor:
        return hash_encode(_unit(x), self.table, self.spec, level_weights, storage=self.storage)

    def _logit(self, x: Tensor, level_weights: Tensor | None) -> Tensor:
        hidden = self._encode(x, level_weights)
        *inner, last = zip(self.weights, self.biases, strict=True)
        for weight, bias in inner:
            hidden = torch.relu(torch.addmm(bias, hidden, weight.t()))
        return hidden @ last[0][0] + last[1][0] + self.blob(x)

    def _density(self, logit: Tensor) -> Tensor:
        c = self.config
        s = logit + c.density_bias
        if c.density_activation == "exp":
            return c.density_scale * torch.exp(s.clamp(max=EXP_LIMIT))
        return c.density_scale * softplus(s)

    def _analytic_gradient(
        self, x: Tensor, active: list[Tensor], level_weights: Tensor | None
    ) -> Tensor:
        """J^T a0 + grad blob with a_k = (W_{k+1}^T a_{k+1}) * m_k from the last layer down."""
        first, *middle, last = self.weights
        a = _masked(last[0].expand_as(active[-1]), active[-1])
        for weight, hidden in zip(reversed(middle), reversed(active[:-1]), strict=True):
            a = _masked(a @ weight, hidden)
        a = a @ first
        g = hash_encode_grad(
            _unit(x), self.table, a, self.spec, level_weights, storage=self.storage
        )
        return 0.5 * g + self.blob_gradient(x)  # d unit / dx = 1/2

    def _finite_gradient(self, x: Tensor, level_weights: Tensor | None) -> Tensor:
        """Central differences of the logit, for comparison: six more evaluations."""
        h = self.config.finite_step
        steps = torch.eye(3, dtype=x.dtype, device=x.device) * h
        stencil = torch.cat([x + sign * step for step in steps for sign in (1.0, -1.0)])
        values = self._logit(stencil, level_weights).view(3, 2, -1)
        return ((values[:, 0] - values[:, 1]) / (2.0 * h)).t()


def _masked(a: Tensor, hidden: Tensor) -> Tensor:
    """a * [hidden > 0] in one pass, without a mask in memory; differentiable in a."""
    out: Tensor = torch.ops.aten.threshold_backward(a, hidden, 0)
    return out


def _unit(x: Tensor) -> Tensor:
    """World [-1, 1] to the grid's [0, 1]."""
    return ((x + 1.0) * 0.5).clamp(0.0, 1.0)
