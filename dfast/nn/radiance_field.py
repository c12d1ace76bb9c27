"""What a scene needs of its field, whatever the field is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from dfast.ops.field_spec import FieldSample


class RadianceField(nn.Module, ABC):
    """Density and albedo as a function of position, with the density's gradient for normals.

    `dfast.nn.Field` is the hash grid, `dfast.nn.IPEField` the encoding of mip-NeRF. Both keep all
    weights of their MLP in one parameter, `mlp`.
    """

    mlp: nn.Parameter
    """[P]"""

    @property
    @abstractmethod
    def resolutions(self) -> tuple[float, ...]:
        """For each level of the encoding, coarse to fine, how many of its lengths fit into [-1, 1].

        The length is that which a low-pass filter is compared with: a cell of a grid, or one over
        the angular frequency of a wave.
        """

    @property
    def computes_reserved(self) -> bool:
        """Whether points past `count` cost as much as others, as they do in plain torch."""
        return True

    @abstractmethod
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw new parameters, on the host, so that they are the same on every device."""

    @abstractmethod
    def forward(
        self,
        x: Tensor,
        *,
        level_weights: Tensor | None = None,
        want_gradient: bool = False,
        count: Tensor | None = None,
    ) -> FieldSample:
        """Return density and albedo at points and, if `want_gradient`, the density's gradient.

        Differentiable in every parameter through all results; x is a constant.

        Args:
            x: [..., 3] world points.
            level_weights: [L] in [0, 1], or None for all ones.
            want_gradient: whether to compute the gradient behind the normal.
            count: int64 [1] or None: how many of N points [N, 3] there really are. Rows of the
                results past it are undefined. Those of their gradients, too, may hold anything,
                NaN included: a field must keep them out of those of its parameters, as by
                `torch.where` on the results.

        Returns:
            density [...], albedo [..., 3] and gradient [..., 3] or None.
        """

    @torch.no_grad()
    def density(self, x: Tensor, level_weights: Tensor | None = None) -> Tensor:
        """Return the density [...] at world points [..., 3], without gradients.

        Args:
            x: [..., 3] world points.
            level_weights: [L] in [0, 1], or None for all ones.
        """
        return self(x, level_weights=level_weights).density

    @staticmethod
    def _draw(p: Tensor, bound: float, generator: torch.Generator | None) -> None:
        """Fill a parameter with numbers in [-bound, bound), the same whatever torch's defaults."""
        drawn = torch.rand(p.shape, generator=generator, dtype=torch.float32, device="cpu")
        p.copy_((2.0 * drawn - 1.0) * bound)

    def half_copies(self) -> dict[str, Tensor | None]:
        """Return the float16 copies that an optimiser must keep up to date, by parameter name."""
        return {}

    def refresh_half_copies(self) -> None:
        """Bring the float16 copies up to date after the parameters were written."""
