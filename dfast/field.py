"""The object: a hash grid and a small MLP from a world point to density and albedo.

The work is done by the fused op `dfast.ops.field`, which has the formulas. Where that cannot run
(see `Field.fused`) the hash-grid ops and torch's matrix products take its place: the gradient then
comes from a hand-written backward pass whose ReLU masks are constants, and ordinary autograd
through it is the exact second order.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from .config import FieldConfig
from .ops.field import field as fused_field
from .ops.field_spec import FieldSample, FieldSpec, exp_limit, unsupported
from .ops.grid_spec import GridSpec
from .ops.hashgrid import hash_encode, hash_encode_grad

__all__ = ["Field", "FieldSample", "field_spec", "grid_spec"]


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


def field_spec(config: FieldConfig) -> FieldSpec:
    """The native op's view of all the settings."""
    return FieldSpec(
        grid=grid_spec(config),
        width=config.hidden,
        layers=config.layers,
        activation=config.density_activation,
        density_scale=config.density_scale,
        density_bias=config.density_bias,
        blob=config.blob,
        blob_height=config.blob_height,
        blob_width=config.blob_width,
    )


class Field(nn.Module):
    """Parameters: table [entries, F] and mlp [P], all weights and biases in one (see `FieldSpec`).

    Points are world points in the unit sphere; outside the cube [-1, 1]^3 the table is read at its
    border.
    """

    def __init__(self, config: FieldConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.shape = field_spec(config)
        self.spec = self.shape.grid
        self.table = nn.Parameter(torch.empty(self.spec.entries, self.spec.features))
        self.mlp = nn.Parameter(torch.empty(self.shape.parameters))
        self.register_buffer("storage", None, persistent=False)
        self.storage: Tensor | None
        self._warned = False
        self.reset(generator)

    @property
    def weights(self) -> list[Tensor]:
        """Views [out, in] of `mlp`, layer by layer; writing to them under no_grad changes it."""
        return [weight for weight, _ in self.shape.split(self.mlp)]

    @property
    def biases(self) -> list[Tensor]:
        """Views [out] of `mlp`, layer by layer."""
        return [bias for _, bias in self.shape.split(self.mlp)]

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw new parameters; the host generator makes them the same on every device."""

        def draw(p: Tensor, bound: float) -> None:
            p.copy_((2.0 * torch.rand(p.shape, generator=generator) - 1.0) * bound)

        draw(self.table, 1e-4)
        for weight, bias in self.shape.split(self.mlp):
            draw(weight, math.sqrt(6.0 / weight.shape[1]))  # He et al. 2015
            bias.zero_()
        self.refresh_storage()

    @property
    def reads_half(self) -> bool:
        """Whether the table is read in half precision."""
        precision = self.config.precision
        if precision == "auto":
            return self.table.is_cuda and self._obstacle(half=True) is None
        return precision == "half" and self.table.dtype == torch.float32

    @property
    def fused(self) -> bool:
        """Whether the next call runs as one fused op."""
        return self._obstacle(self.reads_half) is None

    def _obstacle(self, half: bool) -> str | None:
        """What keeps the fused op from running, None if it does."""
        if self.config.normals != "analytic":
            return "it computes analytic normals only"
        return unsupported(self.shape, self.table.device, self.table.dtype, half)

    @torch.no_grad()
    def refresh_storage(self) -> None:
        """Bring the half-precision copy up to date; call after the table changed or moved."""
        if not self.reads_half:
            self.storage = None
        elif self._stale():
            self.storage = self.table.half()
        elif self.storage is not None:
            self.storage.copy_(self.table)

    def _stale(self) -> bool:
        """Whether there is no half copy where the table is."""
        s = self.storage
        return s is None or s.device != self.table.device or s.dtype != torch.float16

    def _rows(self) -> Tensor | None:
        """The half copy to read in place of the table, if that is how it is read."""
        if not self.reads_half:
            return None
        if self._stale():
            self.refresh_storage()
        return self.storage

    def forward(
        self,
        x: Tensor,
        *,
        level_weights: Tensor | None = None,
        want_gradient: bool = False,
        count: Tensor | None = None,
    ) -> FieldSample:
        """Density, albedo and, if asked for, the gradient at x [N,3].

        level_weights: [L] in [0, 1] or None for all ones; count: int64 [1], how many of the points
        there really are: rows of the results past it are undefined. Differentiable once more in
        every parameter, gradient included; x itself is taken as constant.
        """
        storage = self._rows()
        obstacle = self._obstacle(storage is not None)
        if obstacle is None:
            return fused_field(
                x,
                self.table,
                self.mlp,
                self.shape,
                level_weights=level_weights,
                table_half=storage,
                count=count,
                want_gradient=want_gradient,
            )
        self._explain(obstacle)
        return self._general(x.detach(), storage, level_weights, want_gradient, count)

    @torch.no_grad()
    def density(self, x: Tensor, level_weights: Tensor | None = None) -> Tensor:
        """Density [N] at x [N,3], without gradients."""
        return self(x, level_weights=level_weights).density

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

    def _explain(self, obstacle: str) -> None:
        """Say once that an explicit wish for half precision does not bring the fused kernel."""
        if self._warned or self.config.precision != "half" or not self.table.is_cuda:
            return
        self._warned = True
        warnings.warn(
            f"field.precision is 'half', but the fused kernel cannot run: {obstacle}; the slower "
            "general path is used",
            stacklevel=3,
        )

    def _general(
        self,
        x: Tensor,
        storage: Tensor | None,
        level_weights: Tensor | None,
        want_gradient: bool,
        count: Tensor | None,
    ) -> FieldSample:
        """`forward` by the hash-grid ops and torch's matrix products."""
        real = None
        if count is not None:  # points past it may hold anything, and so may their gradients
            real = torch.arange(len(x), device=x.device) < count
            x = torch.where(real[:, None], x, 0.0)
        analytic = want_gradient and self.config.normals == "analytic"
        *inner, last = self.shape.split(self.mlp)
        hidden, active = self._encode(x, storage, level_weights), []
        for weight, bias in inner:
            hidden = torch.relu(torch.addmm(bias, hidden, weight.t()))
            if analytic:
                active.append(hidden.detach())
        out = torch.addmm(last[1], hidden, last[0].t())
        gradient = None
        if analytic:
            gradient = self._analytic_gradient(x, active, storage, level_weights)
        elif want_gradient:
            gradient = self._finite_gradient(x, storage, level_weights)
        tau, albedo = self._density(out[:, 0] + self.blob(x)), torch.sigmoid(out[:, 1:])
        if real is not None:
            tau = torch.where(real, tau, 0.0)
            albedo = torch.where(real[:, None], albedo, 0.0)
            gradient = None if gradient is None else torch.where(real[:, None], gradient, 0.0)
        return FieldSample(tau, albedo, gradient)

    def _encode(self, x: Tensor, storage: Tensor | None, level_weights: Tensor | None) -> Tensor:
        return hash_encode(_unit(x), self.table, self.spec, level_weights, table_half=storage)

    def _density(self, logit: Tensor) -> Tensor:
        c = self.config
        s = logit + c.density_bias
        if c.density_activation == "exp":
            return c.density_scale * torch.exp(s.clamp(max=exp_limit()))
        return c.density_scale * softplus(s)

    def _analytic_gradient(
        self,
        x: Tensor,
        active: list[Tensor],
        storage: Tensor | None,
        level_weights: Tensor | None,
    ) -> Tensor:
        """J^T a0 + grad blob with a_k = (W_{k+1}^T a_{k+1}) * m_k from the last layer down."""
        first, *middle, last = self.weights
        a = _masked(last[0].expand_as(active[-1]), active[-1])
        for weight, hidden in zip(reversed(middle), reversed(active[:-1]), strict=True):
            a = _masked(a @ weight, hidden)
        a = a @ first
        g = hash_encode_grad(_unit(x), self.table, a, self.spec, level_weights, table_half=storage)
        return torch.add(self.blob_gradient(x), g, alpha=0.5)  # d unit / dx = 1/2

    def _finite_gradient(
        self, x: Tensor, storage: Tensor | None, level_weights: Tensor | None
    ) -> Tensor:
        """Central differences of the logit, for comparison: six more evaluations."""
        h = self.config.finite_step
        steps = torch.eye(3, dtype=x.dtype, device=x.device) * h
        stencil = torch.cat([x + sign * step for step in steps for sign in (1.0, -1.0)])
        *inner, last = self.shape.split(self.mlp)
        hidden = self._encode(stencil, storage, level_weights)
        for weight, bias in inner:
            hidden = torch.relu(torch.addmm(bias, hidden, weight.t()))
        values = (hidden @ last[0][0] + self.blob(stencil)).view(3, 2, -1)
        return ((values[:, 0] - values[:, 1]) / (2.0 * h)).t()


def _masked(a: Tensor, hidden: Tensor) -> Tensor:
    """a * [hidden > 0] in one pass, without a mask in memory; differentiable in a."""
    out: Tensor = torch.ops.aten.threshold_backward(a, hidden, 0)
    return out


def _unit(x: Tensor) -> Tensor:
    """World [-1, 1] to the grid's [0, 1]."""
    return ((x + 1.0) * 0.5).clamp(0.0, 1.0)
