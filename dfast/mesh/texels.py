"""Which point of a mesh each texel of its atlas shows, and the filling of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

MARGIN = 1.0
"""Texels beyond its border that a face still covers: linear filtering reads them."""
TOGETHER = 1 << 21
"""Most pairs of a face and a texel that are looked at together."""


class Spans(NamedTuple):
    """Texels side by side in a row that a face covers, with the margin; S of them."""

    face: Tensor
    """[S]"""
    row: Tensor
    """[S]"""
    start: Tensor
    """[S] column of the first texel."""
    texels: Tensor
    """[S] how many, 0 for a row in which there are none."""


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
    lines, lengths = _edges(where)
    spans = _spans(where, lines, size)
    parts = [_cover(lines, part, size) for part in _chunks(spans)]
    texel, face, distance = (torch.cat(part) for part in zip(*parts, strict=True))
    depth = distance.amin(1)
    # Of the faces at a texel the one counts in which it lies deepest, of equals the first.
    deepest = depth.new_full((size * size,), -torch.inf).scatter_reduce(0, texel, depth, "amax")
    best = (depth == deepest[texel]).nonzero()[:, 0]
    first = torch.full((size * size,), len(depth), device=depth.device)
    first = first.scatter_reduce(0, texel[best], best, "amin")
    texel = (first < len(depth)).nonzero()[:, 0]
    face, distance = face[first[texel]], distance[first[texel]]
    weight = (distance * lengths[face]).clamp(min=0)  # areas of the triangles at the point
    return texel, face, (weight / weight.sum(1, keepdim=True)).float()


def _edges(corners: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lines a, b, c [F, 3, 3] through the edges opposite to the corners, and lengths.

    a x + b y + c is the distance of a point from the edge, positive on the side of the face.
    """
    start, end = corners.roll(-1, 1), corners.roll(-2, 1)
    edge = end - start
    length = edge.norm(dim=2).clamp(min=1e-12)
    twice = _cross(edge[:, 2], -edge[:, 1])  # twice the signed area, [F]
    inward = torch.stack([-edge[..., 1], edge[..., 0]], 2) / length[..., None]
    inward = inward * torch.where(twice < 0, -1.0, 1.0)[:, None, None]
    return torch.cat([inward, -(inward * start).sum(2, keepdim=True)], 2), length


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _spans(corners: Tensor, lines: Tensor, size: int) -> Spans:
    """Return what each face covers in every row of its bounds."""
    low = (corners.amin(1) - MARGIN).ceil().clamp(0, size - 1)
    high = (corners.amax(1) + MARGIN).floor().clamp(0, size - 1)
    face, row = _repeated((high - low)[:, 1].long() + 1)
    row = row + low[face, 1].long()
    slope, offset = lines[face, :, 0], lines[face, :, 1] * row[:, None] + lines[face, :, 2]
    crossing = -(offset + MARGIN) / slope  # of the row and the edge that the margin has moved
    start = torch.where(slope > 0, crossing, -torch.inf).amax(1).maximum(low[face, 0]).ceil()
    stop = torch.where(slope < 0, crossing, torch.inf).amin(1).minimum(high[face, 0]).floor()
    beside = ((slope == 0) & (offset <= -MARGIN)).any(1)
    count = (stop - start + 1).clamp(min=0).masked_fill(beside, 0)
    return Spans(face, row, start.long(), count.long())


def _repeated(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return each index of counts [K] as often as it counts, and the number of the repetition."""
    index = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    before = counts.cumsum(0) - counts
    return index, torch.arange(len(index), device=counts.device) - before[index]


def _chunks(spans: Spans) -> Iterator[Spans]:
    """Yield the spans in parts of bounded numbers of texels."""
    total, start = spans.texels.cumsum(0).cpu(), 0
    while start < len(total):
        done = int(total[start - 1]) if start else 0
        stop = max(start + 1, int(torch.searchsorted(total, done + TOGETHER, right=True)))
        yield Spans(*(values[start:stop] for values in spans))
        start = stop


def _cover(lines: Tensor, spans: Spans, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the texels of spans, their faces, and the distances [P, 3] from the faces' edges."""
    span, step = _repeated(spans.texels)
    column = spans.start[span] + step
    line = lines[spans.face]
    offset = line[..., 1] * spans.row[:, None] + line[..., 2]
    distance = torch.addcmul(offset[span], line[span, :, 0], column[:, None].double())
    return spans.row[span] * size + column, spans.face[span], distance


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
