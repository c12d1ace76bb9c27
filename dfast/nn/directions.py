"""An encoding of directions for colours that depend on the view: real spherical harmonics."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dfast._native import vectors
from dfast._numbers import shown, whole


def spherical_harmonics(directions: Tensor, degree: int) -> Tensor:
    """Return the real spherical harmonics of all bands below `degree`.

    With ``(x + i y)^m = c_m + i s_m`` and ``P_l^m`` the associated Legendre functions divided by
    ``sin(theta)^m``, Condon-Shortley phase included:
    ``Y_l^0 = K_l^0 P_l^0(z)``, ``Y_l^m = sqrt(2) K_l^m P_l^m(z) c_m`` and
    ``Y_l^-m = sqrt(2) K_l^m P_l^m(z) s_m`` for m > 0, where
    ``K_l^m = sqrt((2 l + 1) (l - m)! / (4 pi (l + m)!))``.
    They are orthonormal on the sphere. The recurrences in l are those of P.-P. Sloan, "Efficient
    Spherical Harmonic Evaluation", JCGT 2 (2), 2013; signs and order are tiny-cuda-nn's.

    Args:
        directions: [..., 3] unit vectors (not checked).
        degree: number of bands, 1 or more.

    Returns:
        [..., degree**2], band after band, within a band from m = -l to l; differentiable.
    """
    x, y, z = directions.unbind(-1)
    columns: list[Tensor] = [torch.empty(0)] * degree**2
    c, s = torch.ones_like(x), torch.zeros_like(x)
    start = 1.0  # P_m^m = (-1)^m (2 m - 1)!!
    for m in range(degree):
        before, legendre = torch.zeros_like(z), torch.full_like(z, start)
        for l in range(m, degree):
            if l > m:
                step = ((2 * l - 1) * z * legendre - (l + m - 1) * before) / (l - m)
                before, legendre = legendre, step
            k = math.sqrt((2 * l + 1) / (4 * math.pi) / math.perm(l + m, 2 * m))
            if m == 0:
                columns[l * l + l] = k * legendre
            else:
                columns[l * l + l + m] = math.sqrt(2) * k * legendre * c
                columns[l * l + l - m] = math.sqrt(2) * k * legendre * s
        c, s = c * x - s * y, c * y + s * x
        start *= -(2 * m + 1)
    return torch.stack(columns, -1)


class SphericalHarmonics(nn.Module):
    """Encode directions by real spherical harmonics, see `spherical_harmonics`.

    >>> encode = SphericalHarmonics(degree=4)
    >>> list(encode(torch.nn.functional.normalize(torch.rand(2, 5, 3), dim=-1)).shape)
    [2, 5, 16]
    """

    def __init__(self, degree: int = 4) -> None:
        """Make an encoding of `degree` bands, 1..8; it has no parameters.

        Raises:
            ValueError: on another degree.
        """
        super().__init__()
        number = whole(degree)
        if number is None or not 1 <= number <= 8:
            raise ValueError(f"degree must be in [1, 8], got {shown(degree)}")
        self.degree = number

    @property
    def input_dim(self) -> int:
        """Coordinates of a direction."""
        return 3

    @property
    def output_dim(self) -> int:
        """Width of the encoding, degree squared."""
        return self.degree**2

    def forward(self, directions: Tensor) -> Tensor:
        """Encode unit vectors [..., 3] as [..., output_dim]; 16-bit ones are cast to float32."""
        if vectors("directions", directions, 3).dtype in (torch.float16, torch.bfloat16):
            directions = directions.float()
        return spherical_harmonics(directions, self.degree)

    def extra_repr(self) -> str:
        """Return the degree for `print`."""
        return f"degree={self.degree}"
