"""Patterns on parts: where the second colour shows, in the part's own axes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dfast.world.parts import PATTERNS

STRIPE = 0.17
"""Width of a stripe; stripes are across the part's axis z."""
CHECK = 0.21
"""Side of a check."""
DOT_STEP, DOT = 0.27, 0.092
"""Distance of dots on a side of the part, and their radius."""


def second(pattern: str, p: Sequence[Tensor], size: Sequence[Tensor]) -> Tensor:
    """Return where a pattern shows its second colour, bool.

    Args:
        pattern: one of `PATTERNS`.
        p: components of points in the axes of the part.
        size: of the part, which broadcasts against the points.
    """
    x, y, z = p
    if pattern == "striped":
        return _odd(z / STRIPE + 0.5)
    if pattern == "checkered":
        cells = [torch.floor(v / CHECK + 0.5) for v in (x, y, z)]
        return torch.remainder(cells[0] + cells[1] + cells[2], 2) == 1
    # Dots lie on the side of the part's box that a point is nearest to.
    u, v, w = (q.abs() / s.clamp_min(0.01) for q, s in zip(p, size[:3], strict=True))
    first = torch.where((u >= v) & (u >= w), y, x)
    other = torch.where((w > u) & (w > v), y, z)
    return _from_center(first) ** 2 + _from_center(other) ** 2 < DOT**2


def bits_of(p: Sequence[Tensor], size: Sequence[Tensor]) -> Tensor:
    """Return `second` of every pattern as bits, uint8: bit i is that of pattern i."""
    bits = [second(name, p, size).to(torch.uint8) << i for i, name in enumerate(PATTERNS)]
    return bits[0] | bits[1] | bits[2]


def _odd(v: Tensor) -> Tensor:
    """Return whether the whole part of v is odd."""
    return torch.remainder(torch.floor(v), 2) == 1


def _from_center(v: Tensor) -> Tensor:
    """Return the distance from the nearest centre of a dot along an axis."""
    return torch.remainder(v / DOT_STEP + 0.5, 1.0).sub(0.5) * DOT_STEP
