"""Several fields in one space, each moved, turned and scaled: their densities add up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dfast.nn.radiance_field import RadianceField
from dfast.ops.field_spec import FieldSample

TINY = 1e-12
"""Smallest sum of weights that a mean is divided by: thinner fields than this are not seen."""


@dataclass(frozen=True)
class Place:
    """Where the unit sphere of a field is in the space of all."""

    position: tuple[float, float, float]
    """Of its centre."""
    size: float
    """Its radius, > 0."""
    heading: float
    """Degrees that it is turned by about z, from +x towards +y."""

    def turn(self) -> Tensor:
        """Return the rotation [3, 3] of directions in the field to those in the space."""
        angle = math.radians(self.heading)
        c, s = math.cos(angle), math.sin(angle)
        return torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


class ComposedField(RadianceField):
    """The sum of several fields, each inside a sphere of its own.

    A point x of the space is y = R^T (x - p) / s in the frame of a field at the position p, turned
    by R and of the size s. What the field absorbs on a way through it does not depend on its size,
    so its density there is tau(y) / s; outside its sphere it is 0. With a_i the derivative of a
    density in its logit, the results are

        density = sum tau_i,  albedo = sum tau_i c_i / sum tau_i,
        gradient = sum a_i R_i g_i / s_i / sum a_i,

    so that the gradient points where that of the summed density does, and one field alone has its
    own. Both orders of derivatives are those of the fields.

    Attributes:
        parts: the fields, in their own frames.
        places: where they are.
    """

    turns: Tensor
    positions: Tensor

    def __init__(
        self,
        parts: Sequence[RadianceField],
        places: Sequence[Place],
        *,
        activation: Literal["softplus", "exp"] = "softplus",
        density_scale: float = 1.0,
    ) -> None:
        """Compose fields.

        Args:
            parts: the fields, with levels of the same resolutions.
            places: where each is.
            activation: of the fields' logits.
            density_scale: factor of their densities.

        Raises:
            ValueError: without a place for each field.
        """
        super().__init__()
        if not parts or len(parts) != len(places):
            raise ValueError(f"places must be one for each of {len(parts)}, got {len(places)}")
        self.parts, self.places = nn.ModuleList(parts), tuple(places)
        self.activation, self.density_scale = activation, density_scale
        positions = torch.tensor([place.position for place in places])
        self.register_buffer("turns", torch.stack([p.turn() for p in places]), persistent=False)
        self.register_buffer("positions", positions, persistent=False)

    @property
    def fields(self) -> list[RadianceField]:
        """Return the fields, in their own frames."""
        return [part for part in self.parts if isinstance(part, RadianceField)]

    @property
    def mlp(self) -> nn.Parameter:  # type: ignore[override]
        """Return the first field's MLP, which is on the device of all."""
        return self.fields[0].mlp

    @property
    def resolutions(self) -> tuple[float, ...]:
        """Those of the fields, which are the same, in their own frames."""
        return self.fields[0].resolutions

    @property
    def computes_reserved(self) -> bool:
        """Whether points past `count` cost as much as others in any of the fields."""
        return any(part.computes_reserved for part in self.fields)

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw new parameters, field by field."""
        for part in self.fields:
            part.reset(generator)

    def half_copies(self) -> dict[str, Tensor | None]:
        """Return the float16 copies of the fields, by the names of their parameters here."""
        return {
            f"parts.{index}.{name}": copy
            for index, part in enumerate(self.fields)
            for name, copy in part.half_copies().items()
        }

    def refresh_half_copies(self) -> None:
        """Bring the float16 copies of the fields up to date."""
        for part in self.fields:
            part.refresh_half_copies()

    def forward(
        self,
        x: Tensor,
        *,
        level_weights: Tensor | None = None,
        want_gradient: bool = False,
        count: Tensor | None = None,
    ) -> FieldSample:
        """Return density, albedo and gradient of the sum, see `RadianceField.forward`.

        Args:
            x: [..., 3] world points.
            level_weights: [L] in [0, 1], or None for all ones, of every field.
            want_gradient: whether to compute the gradient behind the normal.
            count: int64 [1] or None: how many of N points [N, 3] there really are. With a count,
                and off the CPU, every field is evaluated at every point: to choose those inside
                would wait for the device, and a CUDA graph cannot record it.
        """
        shape, x = x.shape[:-1], x.reshape(-1, 3)
        density, slope = x.new_zeros(len(x)), x.new_zeros(len(x))
        albedo, gradient = x.new_zeros(len(x), 3), x.new_zeros(len(x), 3)
        for index, (part, place) in enumerate(zip(self.fields, self.places, strict=True)):
            turn, size = self.turns[index].to(x.dtype), place.size
            local = (x - self.positions[index].to(x.dtype)) @ turn / size
            inside = local.square().sum(-1) <= 1.0
            rows = None
            if count is None and x.device.type == "cpu":
                rows = inside.nonzero()[:, 0]
                local = local[rows]
            tau, color, g = part(
                local, level_weights=level_weights, want_gradient=want_gradient, count=count
            )
            steep = self._slope(tau) / size
            here = tau / size
            density = density + _spread(here, rows, inside)
            albedo = albedo + _spread(here[:, None] * color, rows, inside)
            if want_gradient:
                slope = slope + _spread(steep, rows, inside)
                turned = g @ turn.t() / size
                gradient = gradient + _spread(steep[:, None] * turned, rows, inside)
        albedo = albedo / density.clamp(min=TINY)[:, None]
        gradient = gradient / slope.clamp(min=TINY)[:, None]
        return FieldSample(
            density.view(shape),
            albedo.view(*shape, 3),
            gradient.view(*shape, 3) if want_gradient else None,
        )

    def _slope(self, density: Tensor) -> Tensor:
        """Return the derivative [N] of densities [N] in their logits: both from the activation."""
        if self.activation == "exp":
            return density
        return -torch.expm1(-density / self.density_scale) * self.density_scale


def _spread(values: Tensor, rows: Tensor | None, inside: Tensor) -> Tensor:
    """Return values of the points inside a sphere, and 0 for the others, [N, ...].

    Args:
        values: [M, ...] of the points `rows`; of all N points where that is None.
        rows: [M] the points inside.
        inside: [N] whether each point is.
    """
    if rows is None:
        return torch.where(inside.view(-1, *[1] * (values.dim() - 1)), values, 0.0)
    return values.new_zeros(len(inside), *values.shape[1:]).index_put((rows,), values)
