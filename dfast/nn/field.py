"""A hash grid and a small MLP from a world point to density and albedo.

The work is done by the fused op `dfast.ops.field`, which has the formulas. Where that cannot run
(see `Field.fused`) the hash-grid ops and torch's matrix products take its place: the gradient then
comes from a hand-written backward pass whose ReLU masks are constants, and ordinary autograd
through it is the exact second order.
"""

from __future__ import annotations

import math
import warnings
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from dfast.ops import transforms
from dfast.ops.field import field as fused_field
from dfast.ops.field_spec import FieldSample, FieldSpec, exp_limit, unsupported
from dfast.ops.hashgrid import hash_encode, hash_encode_grad


class Field(nn.Module):
    """Parameters: table [entries, F] and mlp [P], all weights and biases in one (see `FieldSpec`).

    Points are world points in the unit sphere; outside the cube [-1, 1]^3 the table is read at its
    border. Under autocast the field still computes and returns the dtype of its parameters.

    >>> field = Field()
    >>> density, albedo, _ = field(torch.rand(2, 5, 3))
    >>> list(density.shape), list(albedo.shape)
    ([2, 5], [2, 5, 3])
    """

    def __init__(
        self,
        spec: FieldSpec | None = None,
        *,
        precision: Literal["auto", "half", "float"] = "auto",
        normals: Literal["analytic", "finite"] = "analytic",
        finite_step: float = 0.01,
        generator: torch.Generator | None = None,
    ) -> None:
        """Make a field with random parameters.

        Args:
            spec: shape of the hash grid and of the MLP, activations, and the initial blob; None
                for the defaults of `FieldSpec`.
            precision: "half" reads a half copy of the table, on CUDA with the MLP on tensor cores;
                gradients still go to the float32 master. "auto" is half on CUDA if the fused
                kernel takes the shape, else "float".
            normals: how the density gradient is computed: exactly, or by central differences.
            finite_step: half the stencil of the central differences, in world units.
            generator: draws the parameters, on the host.
        """
        super().__init__()
        self.spec = spec = FieldSpec() if spec is None else spec
        self.precision, self.normals, self.finite_step = precision, normals, finite_step
        self.table = nn.Parameter(torch.empty(spec.grid.entries, spec.grid.features))
        self.mlp = nn.Parameter(torch.empty(spec.parameters))
        self.register_buffer("storage", None, persistent=False)
        self.storage: Tensor | None
        self._warned = False
        self._half_of: tuple[int, int] | None = None
        self.reset(generator)

    @property
    def weights(self) -> list[Tensor]:
        """Views [out, in] of `mlp`, layer by layer; writing to them under no_grad changes it."""
        return [weight for weight, _ in self.spec.split(self.mlp)]

    @property
    def biases(self) -> list[Tensor]:
        """Views [out] of `mlp`, layer by layer."""
        return [bias for _, bias in self.spec.split(self.mlp)]

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw new parameters; the host generator makes them the same on every device."""

        def draw(p: Tensor, bound: float) -> None:
            p.copy_((2.0 * torch.rand(p.shape, generator=generator) - 1.0) * bound)

        draw(self.table, 1e-4)
        for weight, bias in self.spec.split(self.mlp):
            draw(weight, math.sqrt(6.0 / weight.shape[1]))  # He et al. 2015
            bias.zero_()
        self.refresh_storage()

    @property
    def reads_half(self) -> bool:
        """Whether the table is read in half precision."""
        precision = self.precision
        if transforms.active():  # the copy has neither tangents nor the dimensions of vmap
            return False
        if precision == "auto":
            return self.table.is_cuda and self._obstacle(half=True) is None
        return precision == "half" and self.table.dtype == torch.float32

    @property
    def fused(self) -> bool:
        """Whether the next call runs as one fused op."""
        return self._obstacle(self.reads_half) is None

    def _obstacle(self, half: bool) -> str | None:
        """What keeps the fused op from running, None if it does."""
        if self.normals != "analytic":
            return "it computes analytic normals only"
        return unsupported(self.spec, self.table.device, self.table.dtype, half)

    @torch.no_grad()
    def refresh_storage(self) -> None:
        """Bring the half-precision copy up to date, in place if it is there.

        Reading it does so as well where the table changed since. Call this before a CUDA graph is
        recorded that reads the field.
        """
        if not self.reads_half:
            self.storage = None
            return
        if self._missing():
            self.storage = self.table.half()
        elif self.storage is not None:
            self.storage.copy_(self.table)
        self._half_of = self._versions()

    def _versions(self) -> tuple[int, int]:
        """Return the identity of the table and its version less that of the half copy.

        Every write in place raises a tensor's version by one. An optimiser that keeps the copy up
        to date writes both and changes nothing here; another one writes the table alone.
        """
        copy = 0 if self.storage is None else self.storage._version
        return id(self.table), self.table._version - copy

    def _missing(self) -> bool:
        """Whether there is no half copy where the table is."""
        s = self.storage
        return s is None or s.device != self.table.device or s.dtype != torch.float16

    def _rows(self) -> Tensor | None:
        """The half copy to read in place of the table, if that is how it is read."""
        if not self.reads_half:
            return None
        if torch.compiler.is_compiling():
            return self.storage
        if self._missing() or self._half_of != self._versions():
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
        """Return density and albedo at points and, if `want_gradient`, the density's gradient.

        Differentiable in every parameter through all results; x is a constant. torch.func works on
        the parameters, in forward mode on x too.

        Args:
            x: [..., 3] world points.
            level_weights: [L] in [0, 1], or None for all ones.
            want_gradient: whether to compute the gradient of the density's logit.
            count: int64 [1] or None: how many of N points [N, 3] there really are. Rows of the
                results past it are undefined.

        Returns:
            density [...], albedo [..., 3] and gradient [..., 3] or None.
        """
        if torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                weights = None if level_weights is None else level_weights.to(self.table.dtype)
                return self(
                    x.to(self.table.dtype),
                    level_weights=weights,
                    want_gradient=want_gradient,
                    count=count,
                )
        if x.dim() != 2:
            flat = self(
                x.reshape(-1, 3),
                level_weights=level_weights,
                want_gradient=want_gradient,
                count=count,
            )
            shape = x.shape[:-1]
            gradient = None if flat.gradient is None else flat.gradient.view(*shape, 3)
            return FieldSample(flat[0].view(shape), flat.albedo.view(*shape, 3), gradient)
        storage = self._rows()
        obstacle = self._obstacle(storage is not None)
        if obstacle is None and not transforms.forward_mode():
            return fused_field(
                x,
                self.table,
                self.mlp,
                self.spec,
                level_weights=level_weights,
                table_half=storage,
                count=count,
                want_gradient=want_gradient,
            )
        if obstacle is not None:
            self._explain(obstacle)
        return self._general(transforms.constant(x), storage, level_weights, want_gradient, count)

    @torch.no_grad()
    def density(self, x: Tensor, level_weights: Tensor | None = None) -> Tensor:
        """Density [N] at x [N,3], without gradients."""
        return self(x, level_weights=level_weights).density

    def blob(self, x: Tensor) -> Tensor:
        """The bump [N] that starts the object off, from `FieldSpec.blob`."""
        c = self.spec
        if c.blob == "gaussian":
            return c.blob_height * torch.exp(x.square().sum(-1) * (-0.5 / c.blob_width**2))
        if c.blob == "linear":
            return c.blob_height * (1.0 - x.norm(dim=-1) / c.blob_width)
        return torch.zeros_like(x[:, 0])

    def blob_gradient(self, x: Tensor) -> Tensor:
        """grad_x of `blob`, [N,3]; 0 at the origin."""
        c = self.spec
        if c.blob == "gaussian":
            return x * (self.blob(x) / -(c.blob_width**2))[:, None]
        if c.blob == "linear":
            unit = x / x.norm(dim=-1, keepdim=True).clamp(min=1e-12)
            return unit * (-c.blob_height / c.blob_width)
        return torch.zeros_like(x)

    def _explain(self, obstacle: str) -> None:
        """Say once that an explicit wish for half precision does not bring the fused kernel."""
        if self._warned or self.precision != "half" or not self.table.is_cuda:
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
        analytic = want_gradient and self.normals == "analytic"
        *inner, last = self.spec.split(self.mlp)
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
        return hash_encode(_unit(x), self.table, self.spec.grid, level_weights, table_half=storage)

    def _density(self, logit: Tensor) -> Tensor:
        c = self.spec
        s = logit + c.density_bias
        if c.activation == "exp":
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
        g = hash_encode_grad(
            _unit(x), self.table, a, self.spec.grid, level_weights, table_half=storage
        )
        return torch.add(self.blob_gradient(x), g, alpha=0.5)  # d unit / dx = 1/2

    def _finite_gradient(
        self, x: Tensor, storage: Tensor | None, level_weights: Tensor | None
    ) -> Tensor:
        """Central differences of the logit, for comparison: six more evaluations."""
        h = self.finite_step
        steps = torch.eye(3, dtype=x.dtype, device=x.device) * h
        stencil = torch.cat([x + sign * step for step in steps for sign in (1.0, -1.0)])
        *inner, last = self.spec.split(self.mlp)
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
