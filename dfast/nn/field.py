"""A hash grid and a small MLP from a world point to density and albedo.

The work is done by the fused op `dfast.ops.field`, which has the formulas. Where that cannot run
(see `Field.fused`), and in forward mode, `GeneralField` takes its place.
"""

from __future__ import annotations

import math
import warnings
from typing import Literal

import torch
from torch import Tensor, nn

from dfast._native import vectors
from dfast.errors import DfastWarning
from dfast.nn.general_field import GeneralField
from dfast.nn.radiance_field import RadianceField
from dfast.ops import transforms
from dfast.ops.field import field as fused_field
from dfast.ops.field_spec import FieldSample, FieldSpec, unsupported


class Field(RadianceField):
    """Density and albedo as a function of position, with the density's gradient for normals.

    Points are world points in the unit sphere; outside the cube [-1, 1]^3 the table is read at its
    border. Under autocast the field still computes and returns the dtype of its parameters.

    >>> field = Field()
    >>> density, albedo, _ = field(torch.rand(2, 5, 3))
    >>> list(density.shape), list(albedo.shape)
    ([2, 5], [2, 5, 3])

    Attributes:
        spec: shape of the hash grid and the MLP, and the density head.
        table: [entries, F] features of the hash grid.
        mlp: [P] all weights and biases of the MLP, see `FieldSpec`.
        table_half: float16 copy of the table that is read where `reads_half`, else None.
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
        table = torch.empty(spec.grid.entries, spec.grid.features, dtype=torch.float32)
        self.table = nn.Parameter(table)
        self.mlp = nn.Parameter(torch.empty(spec.parameters, dtype=torch.float32))
        self.register_buffer("table_half", None, persistent=False)
        self.table_half: Tensor | None
        self._warned = False
        self._half_of: tuple[int, int] | None = None
        self.reset(generator)

    @property
    def weights(self) -> list[Tensor]:
        """Return views [out, in] of `mlp`, layer by layer; writing to them changes it."""
        return [weight for weight, _ in self.spec.split(self.mlp)]

    @property
    def biases(self) -> list[Tensor]:
        """Return views [out] of `mlp`, layer by layer."""
        return [bias for _, bias in self.spec.split(self.mlp)]

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw new parameters, on the host, so that they are the same on every device."""
        self._draw(self.table, 1e-4, generator)
        for weight, bias in self.spec.split(self.mlp):
            self._draw(weight, math.sqrt(6.0 / weight.shape[1]), generator)  # He et al. 2015
            bias.zero_()
        self.refresh_table_half()

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

    @property
    def computes_reserved(self) -> bool:
        """Whether points past `count` cost as much as others; the fused op leaves them out."""
        return not self.fused

    def _obstacle(self, half: bool) -> str | None:
        """Return what keeps the fused op from running, None if nothing does."""
        if self.normals != "analytic":
            return "it computes analytic normals only"
        return unsupported(self.spec, self.table.device, self.table.dtype, half)

    @property
    def resolutions(self) -> tuple[float, ...]:
        """Cells a side of the grid's levels."""
        return self.spec.grid.resolutions

    def half_copies(self) -> dict[str, Tensor | None]:
        """Return the half copy of the table; None where the float32 table is read."""
        return {"table": self.table_half}

    def refresh_half_copies(self) -> None:
        """Bring the half copy of the table up to date, see `refresh_table_half`."""
        self.refresh_table_half()

    @torch.no_grad()
    def refresh_table_half(self) -> None:
        """Bring the half-precision copy up to date, in place if it is there.

        Reading it does so as well where the table changed since. Call this before a CUDA graph is
        recorded that reads the field.
        """
        if not self.reads_half:
            self.table_half = None
            return
        if self._missing():
            self.table_half = self.table.half()
        elif self.table_half is not None:
            self.table_half.copy_(self.table)
        self._half_of = self._versions()

    def _versions(self) -> tuple[int, int]:
        """Return the identity of the table and its version less that of the half copy.

        Every write in place raises a tensor's version by one. An optimiser that keeps the copy up
        to date writes both and changes nothing here; another one writes the table alone.
        """
        copy = 0 if self.table_half is None else self.table_half._version
        return id(self.table), self.table._version - copy

    def _missing(self) -> bool:
        """Whether there is no half copy where the table is."""
        s = self.table_half
        return s is None or s.device != self.table.device or s.dtype != torch.float16

    def _rows(self) -> Tensor | None:
        """Return the half copy, up to date, if it is read in place of the table."""
        if not self.reads_half:
            return None
        if torch.compiler.is_compiling():
            return self.table_half
        if self._missing() or self._half_of != self._versions():
            self.refresh_table_half()
        return self.table_half

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
        if transforms.autocast_enabled(x):
            with torch.autocast(x.device.type, enabled=False):
                weights = None if level_weights is None else level_weights.to(self.table.dtype)
                return self(
                    x.to(self.table.dtype),
                    level_weights=weights,
                    want_gradient=want_gradient,
                    count=count,
                )
        if vectors("x", x, 3).dim() != 2:
            flat = self(
                x.reshape(-1, 3),
                level_weights=level_weights,
                want_gradient=want_gradient,
                count=count,
            )
            shape = x.shape[:-1]
            gradient = None if flat.gradient is None else flat.gradient.view(*shape, 3)
            return FieldSample(flat.density.view(shape), flat.albedo.view(*shape, 3), gradient)
        table_half = self._rows()
        obstacle = self._obstacle(table_half is not None)
        if obstacle is None and not transforms.forward_mode():
            return fused_field(
                x,
                self.table,
                self.mlp,
                self.spec,
                level_weights=level_weights,
                table_half=table_half,
                count=count,
                want_gradient=want_gradient,
            )
        if obstacle is not None:
            self._explain(obstacle)
        exact = self.normals == "analytic"
        general = GeneralField(self.spec, self.table, table_half, self.mlp, level_weights)
        return general.evaluate(
            transforms.constant(x),
            analytic=want_gradient and exact,
            finite_step=None if exact or not want_gradient else self.finite_step,
            count=count,
        )

    def _explain(self, obstacle: str) -> None:
        """Warn once that half precision was asked for, and the fused kernel cannot run."""
        if self._warned or self.precision != "half" or not self.table.is_cuda:
            return
        self._warned = True
        warnings.warn(
            f"field.precision is 'half', but the fused kernel cannot run: {obstacle}; the slower "
            "general path is used",
            DfastWarning,
            stacklevel=3,
        )
