"""Which point of a mesh each texel of its atlas shows, and the filling of the rest."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

MARGIN = 1.0
"""Texels beyond its border that a face still covers: linear filtering reads them."""
CANDIDATES = 1 << 21
"""Most pairs of a face and a texel that are looked at together."""


def texel_points(corners: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Find a point of the charts for each texel that they cover or border on.

    Args:
        corners: [F, 3, 2] texture coordinates of the corners of faces, from the top left.
        size: texels a side.

    Returns:
        Texels [N], numbered row by row; the face of each [N]; and the barycentric coordinates of
        its point in that face, [N, 3].
    """
    where = corners.double() * size - 0.5  # texel centres are whole numbers
    parts = [_cover(where, *pair) for pair in _candidates(where, size)]
    texel, face, depth, weight = (torch.cat(part) for part in zip(*parts, strict=True))
    # Of the faces at a texel the one counts in which it lies deepest, of equals the first.
    deepest = depth.new_full((size * size,), -torch.inf).scatter_reduce(0, texel, depth, "amax")
    best = (depth == deepest[texel]).nonzero()[:, 0]
    first = torch.full((size * size,), len(depth), device=depth.device)
    first = first.scatter_reduce(0, texel[best], best, "amin")
    texel = (first < len(depth)).nonzero()[:, 0]
    weight = weight[first[texel]].clamp(min=0)
    return texel, face[first[texel]], (weight / weight.sum(1, keepdim=True)).float()


def _candidates(corners: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Yield faces, texels and the size: all texels in the bounds of every face, with the margin."""
    low = (corners.amin(1) - MARGIN).ceil().clamp(0, size - 1).long()
    high = (corners.amax(1) + MARGIN).floor().clamp(0, size - 1).long()
    wide, tall = (high - low + 1).clamp(min=0).unbind(1)
    number = wide * tall
    total = number.cumsum(0).cpu()
    start = 0
    while start < len(corners):
        done = int(total[start - 1]) if start else 0
        stop = max(start + 1, int(torch.searchsorted(total, done + CANDIDATES, right=True)))
        mine = number[start:stop]
        local = torch.repeat_interleave(torch.arange(stop - start, device=mine.device), mine)
        index = torch.arange(len(local), device=mine.device) - (mine.cumsum(0) - mine)[local]
        face = local + start
        x, y = low[face, 0] + index % wide[face], low[face, 1] + index // wide[face]
        yield face, y * size + x, size
        start = stop


def _cover(
    corners: Tensor, face: Tensor, texel: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the texels in or near their faces, the faces, the depths and barycentric weights."""
    point = torch.stack([texel % size, texel // size], 1).double()
    a, b, c = corners.unbind(1)
    twice = _cross(b - a, c - a)  # twice the signed area, [F]
    weights, depths = [], []
    for start, end in ((b, c), (c, a), (a, b)):
        edge = end - start
        weight = _cross(edge[face], point - start[face]) / twice[face]
        height = twice.abs() / edge.norm(dim=1).clamp(min=1e-12)
        weights.append(weight)
        depths.append(weight * height[face])
    depth = torch.stack(depths).amin(0)
    near = (depth > -MARGIN).nonzero()[:, 0]
    return texel[near], face[near], depth[near].float(), torch.stack(weights, 1)[near]


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def fill_gaps(image: Tensor, known: Tensor) -> Tensor:
    """Fill the texels between charts, so that filters and smaller copies mix in no other colour.

    Each unknown texel takes the mean of the known ones in the smallest square of 2, 4, 8, ...
    texels a side around it that has any.

    Args:
        image: [C, H, W].
        known: bool [H, W], whether a texel has a value.

    Returns:
        [C, H, W].
    """
    height, width = known.shape
    if bool(known.all()) or height * width == 1:
        return image
    both = torch.cat([image * known, known[None].to(image)])
    both = pad(both, (0, width % 2, 0, height % 2))
    rows = both[:, 0::2] + both[:, 1::2]
    half = rows[:, :, 0::2] + rows[:, :, 1::2]
    mean = half[:-1] / half[-1:].clamp(min=1)
    coarse = fill_gaps(mean, half[-1] > 0)
    coarse = interpolate(coarse[None], scale_factor=2.0, mode="nearest")[0, :, :height, :width]
    return torch.where(known, image, coarse)
