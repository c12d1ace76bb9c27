"""Which point of a mesh each texel of its atlas shows, and the filling of the rest."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dfast.mesh.arrays import Floats, Indices

MARGIN = 1.0
"""Texels beyond its border that a face still covers: linear filtering reads them."""
CANDIDATES = 1 << 21
"""Most pairs of a face and a texel that are looked at together."""


def texel_points(corners: Floats, size: int) -> tuple[Indices, Indices, Floats]:
    """Find a point of the charts for each texel that they cover or border on.

    Args:
        corners: [F, 3, 2] texture coordinates of the corners of faces, from the top left.
        size: texels a side.

    Returns:
        Texels [N], numbered row by row; the face of each [N]; and the barycentric coordinates of
        its point in that face, [N, 3].
    """
    where = corners.astype(float) * size - 0.5  # texel centres are whole numbers
    found = [_cover(where, *pair) for pair in _candidates(where, size)]
    texel, face, depth, weight = (np.concatenate(part) for part in zip(*found, strict=True))
    # Of the faces at a texel the one counts in which it lies deepest.
    order = np.lexsort((depth, texel))
    last = np.append(texel[order][1:] != texel[order][:-1], True)
    chosen = order[last]
    weight = np.maximum(weight[chosen], 0)
    weight /= weight.sum(1, keepdims=True)
    return texel[chosen], face[chosen], weight.astype(np.float32)


def _candidates(corners: NDArray[np.float64], size: int) -> Iterator[tuple[Indices, Indices, int]]:
    """Yield faces, texels and the size: all texels in the bounds of every face, with the margin."""
    low = np.clip(np.ceil(corners.min(1) - MARGIN), 0, size - 1).astype(np.int64)
    high = np.clip(np.floor(corners.max(1) + MARGIN), 0, size - 1).astype(np.int64)
    wide, tall = (np.maximum(high - low + 1, 0)).T
    total = np.cumsum(wide * tall)
    start = 0
    while start < len(corners):
        done = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, done + CANDIDATES, "right")))
        number = (wide * tall)[start:stop]
        face = np.repeat(np.arange(start, stop), number)
        index = np.arange(len(face)) - np.repeat(np.cumsum(number) - number, number)
        x, y = low[face, 0] + index % wide[face], low[face, 1] + index // wide[face]
        yield face, y * size + x, size
        start = stop


def _cover(
    corners: NDArray[np.float64], face: Indices, texel: Indices, size: int
) -> tuple[Indices, Indices, Floats, NDArray[np.float64]]:
    """Return the texels in or near their faces, the faces, the depths and barycentric weights."""
    point = np.stack([texel % size, texel // size], 1).astype(float)
    a, b, c = np.moveaxis(corners, 1, 0)
    twice = _cross(b - a, c - a)  # twice the signed area, [F]
    weights, depths = [], []
    for start, end in ((b, c), (c, a), (a, b)):
        edge = end - start
        weight = _cross(edge[face], point - start[face]) / twice[face]
        height = np.abs(twice) / np.maximum(np.linalg.norm(edge, axis=1), 1e-12)
        weights.append(weight)
        depths.append(weight * height[face])
    depth = np.min(depths, 0)
    near = depth > -MARGIN
    return (
        texel[near],
        face[near],
        depth[near].astype(np.float32),
        np.stack(weights, 1)[near],
    )


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def fill_gaps(image: Floats, known: NDArray[np.bool_]) -> Floats:
    """Fill the texels between charts, so that filters and smaller copies mix in no other colour.

    Each unknown texel takes the mean of the known ones in the smallest square of 2, 4, 8, ...
    texels a side around it that has any.

    Args:
        image: [T, T, C].
        known: [T, T] whether a texel has a value.

    Returns:
        [T, T, C].
    """
    height, width = known.shape
    if known.all() or height * width == 1:
        return image
    weight = known[..., None].astype(np.float32)
    both = np.concatenate([image * weight, weight], 2)
    both = np.pad(both, ((0, height % 2), (0, width % 2), (0, 0)))
    half = both.reshape(both.shape[0] // 2, 2, both.shape[1] // 2, 2, -1).sum((1, 3))
    there = half[..., -1] > 0
    mean = half[..., :-1] / np.maximum(half[..., -1:], 1e-12)
    coarse = fill_gaps(mean, there).repeat(2, 0).repeat(2, 1)[:height, :width]
    return np.where(known[..., None], image, coarse)
