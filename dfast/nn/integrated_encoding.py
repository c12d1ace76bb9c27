"""The integrated positional encoding of mip-NeRF, of an isotropic Gaussian around each point.

Plain positional encoding is the sine and cosine of a point's coordinates at frequencies that double
(NeRF, Mildenhall et al. 2020). Its mean over a Gaussian of the variance v along a coordinate damps
frequency f by exp(-f^2 v / 2) and changes nothing else (mip-NeRF, Barron et al. 2021, arXiv
2103.13415, eq. 14). A Gaussian that is the same in all directions damps every coordinate alike, so
its encoding is plain positional encoding times one weight for each frequency.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

Basis = Literal["axes", "icosahedron"]
"""Directions along which points are encoded."""


def damping(frequencies: Tensor, variance: float) -> Tensor:
    """Return the factors of frequencies under a Gaussian, [L] in (0, 1].

    Args:
        frequencies: [L], radians per unit of length.
        variance: >= 0, of the Gaussian along any direction, in squared units of length.
    """
    return torch.exp(-0.5 * variance * frequencies.square())


def integrated_encoding(
    x: Tensor, directions: Tensor, frequencies: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Return the encoding of points, [N, 2, L, D]: sines, then cosines; differentiable.

    Args:
        x: [N, 3] points.
        directions: [D, 3] unit vectors.
        frequencies: [L], radians per unit of length.
        weights: [L], see `damping`; None for all ones.
    """
    phases = (x @ directions.t())[:, None, :] * frequencies[:, None]
    waves = torch.stack([torch.sin(phases), torch.cos(phases)], 1)
    return waves if weights is None else waves * weights[:, None]


def encoding_slope(waves: Tensor, a: Tensor, directions: Tensor, frequencies: Tensor) -> Tensor:
    """Return J^T a [N, 3] of the encoding in its points; differentiable in `waves` and `a`.

    Args:
        waves: [N, 2, L, D], what `integrated_encoding` returned.
        a: [N, 2, L, D].
        directions: [D, 3] unit vectors.
        frequencies: [L], radians per unit of length.
    """
    sines, cosines = waves.unbind(1)
    slope = a[:, 0] * cosines - a[:, 1] * sines
    return (slope * frequencies[:, None]).sum(1) @ directions


@lru_cache(maxsize=2)
def basis(name: Basis) -> Tensor:
    """Return the directions along which points are encoded, float64 [D, 3].

    Args:
        name: "axes" for the three axes, as in mip-NeRF; "icosahedron" for the 21 directions of an
            icosahedron's corners and edges, without opposites, which tell apart Gaussians that the
            axes confuse (mip-NeRF 360, Barron et al. 2022, arXiv 2111.12077, appendix A).
    """
    if name == "axes":
        return torch.eye(3, dtype=torch.float64)
    golden = (1.0 + 5.0**0.5) / 2.0
    corners = [(0.0, a, b * golden) for a in (-1.0, 1.0) for b in (-1.0, 1.0)]
    points = torch.tensor([p[k:] + p[:k] for k in range(3) for p in corners], dtype=torch.float64)
    near = torch.triu(torch.cdist(points, points) < 2.1, diagonal=1)  # edges have the length 2
    first, second = near.nonzero().unbind(1)
    points = torch.cat([points, (points[first] + points[second]) / 2.0])
    # Of a point and its opposite, that whose last coordinate other than 0 is positive stays.
    signs = torch.sign(torch.where(points.abs() < 1e-9, 0.0, points))
    half = signs @ torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64) > 0
    return torch.nn.functional.normalize(points[half], dim=1)
