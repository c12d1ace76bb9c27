"""Where the things of a sentence stand, for many sentences at once.

Everything is computed from a few points of each thing, the outermost in many directions, so that a
batch on a GPU and a single sentence on a CPU have the same places.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dfast.world.sentence import RELATIONS

GAP = 0.08
"""Between things that stand side by side, in units of a thing."""
FILL = 0.93
"""Part of the unit sphere that an arrangement fills."""
SINGLE = 0.95
"""Largest reach of a thing that stands alone."""
SMALL, BIG = 0.6, 1.3
"""A small or a big thing relative to another; a small one alone, to how it fills the picture."""
FIRST_SCALE: dict[str, float] = {"on top of": 0.8, "under": 0.4, "inside": 0.5}
"""Size of the first thing relative to the second, where it is not the same."""
ON, BESIDE, BEFORE, BEHIND, UNDER, INSIDE = range(len(RELATIONS))


class Places(NamedTuple):
    """Where I things of each of B sentences stand."""

    scale: Tensor
    """[B, I], uniform; the stretch of a size word is the caller's."""
    offset: Tensor
    """[B, I, 3]."""


def support_points(inside: Tensor, directions: int = 96) -> Tensor:
    """Return the outermost of some points in many directions, [directions, 3].

    Args:
        inside: points of a thing, [N, 3].
        directions: how many, spread evenly over the sphere.
    """
    i = torch.arange(directions, device=inside.device) + 0.5
    z = 1 - 2 * i / directions
    turn = i * (torch.pi * (5**0.5 - 1))
    r = (1 - z * z).sqrt()
    axes = torch.stack([r * turn.cos(), r * turn.sin(), z], -1)
    around = torch.cat([axes, torch.eye(3, device=z.device), -torch.eye(3, device=z.device)])
    return inside[(inside @ around.T).argmax(0)]


def with_worn(points: Tensor, top: Tensor, radius: Tensor, worn: Tensor, some: Tensor) -> Tensor:
    """Return the outermost points of things and of what they wear, [..., P + Q, 3].

    Args:
        points: [..., P, 3] of each thing, stretched.
        top: [..., 3] where its head is, stretched.
        radius: [...] of its head.
        worn: [..., Q, 3] in units of the head's radius.
        some: [...] bool: it wears something.
    """
    there = top[..., None, :] + radius[..., None, None] * worn
    # A point of the thing itself stands for nothing.
    return torch.cat([points, torch.where(some[..., None, None], there, points[..., :1, :])], -2)


def single(points: Tensor, big: Tensor, small: Tensor, dressed: Tensor) -> Places:
    """Return the places of single things: as they were made, or smaller if they do not fit.

    Args:
        points: [B, 1, P, 3] of each thing, stretched.
        big: [B] bool: fill the sphere.
        small: [B] bool.
        dressed: [B] bool: it wears something, with which it is centred.
    """
    middle = (points.amin(2) + points.amax(2)) / 2 * dressed[:, None, None]  # [B, 1, 3]
    reach = (points - middle[:, :, None]).norm(dim=-1).amax(-1)  # [B, 1]
    fit = SINGLE / reach
    scale = torch.where(big[:, None], fit, fit.clamp(max=1.0))
    scale = torch.where(small[:, None], SMALL * scale, scale)
    return Places(scale, -middle * scale[..., None])


def several(points: Tensor) -> Places:
    """Return the places of I things side by side along y, the first on the left from the front.

    Args:
        points: [B, I, P, 3] of each thing, stretched.
    """
    low, high = points.amin(2), points.amax(2)
    width = high[..., 1] - low[..., 1] + GAP
    before = width.cumsum(1) - width
    offset = torch.zeros_like(low)
    offset[..., 1] = before - low[..., 1]
    offset[..., 2] = -low[..., 2]
    return _fitted(points, torch.ones_like(width), offset)


def related(points: Tensor, relation: Tensor, scale: Tensor, seat: Tensor) -> Places:
    """Return the places of two things in a relation.

    Args:
        points: [B, 2, P, 3] of each thing, stretched.
        relation: [B] index into `RELATIONS`.
        scale: [B, 2] sizes of the things relative to each other.
        seat: [B] height of the second thing at which another stands on it, stretched; NaN for
            its top.
    """
    low, high = (f(points, 2) * scale[..., None] for f in (torch.amin, torch.amax))
    zero = torch.zeros_like(seat)
    floor = low[:, 1, 2] - low[:, 0, 2]
    seat = torch.where(seat.isnan(), high[:, 1, 2], seat * scale[:, 1])
    on = seat - low[:, 0, 2] - 0.02
    x = torch.where(relation == BEFORE, high[:, 1, 0] + GAP - low[:, 0, 0], zero)
    x = torch.where(relation == BEHIND, low[:, 1, 0] - GAP - high[:, 0, 0], x)
    y = torch.where(relation == BESIDE, low[:, 1, 1] - GAP - high[:, 0, 1], zero)
    z = torch.where((relation == ON) | (relation == INSIDE), on, floor)
    offset = torch.stack([torch.stack([x, y, z], -1), torch.zeros_like(low[:, 1])], 1)
    return _fitted(points, scale, offset)


def _fitted(points: Tensor, scale: Tensor, offset: Tensor) -> Places:
    """Return places that fill the unit sphere, centred.

    Args:
        points: [B, I, P, 3].
        scale: [B, I].
        offset: [B, I, 3].
    """
    placed = (points * scale[..., None, None] + offset[:, :, None]).flatten(1, 2)
    middle = (placed.amin(1) + placed.amax(1)) / 2
    reach = (placed - middle[:, None]).norm(dim=-1).amax(1)
    fit = FILL / reach
    return Places(scale * fit[:, None], (offset - middle[:, None]) * fit[:, None, None])
