"""Rendering of triangle meshes in plain PyTorch: raster, interpolation, textures, silhouettes.

With q_k = (x_k - X w_k, y_k - Y w_k) for a pixel's centre (X, Y), the edge functions of a triangle
are e_k = q_{k+1} x q_{k+2}, and D = sum e_k w_k. See csrc/math/triangle.h.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dfast.ops.antialias import half_edge_twins
from dfast.ops.rasterize import Raster
from dfast.ops.texture import mip_chain


def rasterize(clip: Tensor, faces: Tensor, *, resolution: int) -> Raster:
    """Rasterise as :func:`dfast.ops.rasterize.rasterize` does.

    It lists every pixel of every triangle's bounding box.
    """
    faces = faces.long()
    with torch.no_grad():
        face = (
            torch.stack([_nearest(view, faces, resolution) for view in clip])
            if len(clip)
            else (faces.new_empty(0, resolution, resolution))
        )
    seen = face >= 0
    e, corner = _edges_at(clip, faces, face, _centers(resolution, clip))
    total, d = e.sum(-1), (e * corner[..., 3]).sum(-1)
    barycentric = e[..., :2] / torch.where(seen, total, 1.0)[..., None]
    depth = (e * corner[..., 2]).sum(-1) / torch.where(seen, d, 1.0)
    return Raster(
        face.to(torch.int32),
        torch.where(seen[..., None], barycentric, 0.0),
        torch.where(seen, depth, 1.0),
    )


def _centers(resolution: int, like: Tensor) -> Tensor:
    """Return the clip coordinates (X, Y) of the pixels' centres, [N, N, 2]."""
    x = (torch.arange(resolution).to(like) * 2 + 1) / resolution - 1
    return torch.stack(torch.meshgrid(-x, x, indexing="ij")[::-1], -1)


def _edges(corner: Tensor, at: Tensor) -> Tensor:
    """Return the edge functions [..., 3] of corners [..., 3, 4] at points [..., 2]."""
    q = corner[..., :2] - at[..., None, :] * corner[..., 3:]
    a, b = q.roll(-1, -2), q.roll(-2, -2)
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _edges_at(clip: Tensor, faces: Tensor, face: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Return the edge functions [B, ..., 3] and corners [B, ..., 3, 4] of triangles [B, ...]."""
    views = torch.arange(len(face), device=face.device).view(-1, *[1] * face.ndim)
    if not len(faces):
        faces = faces.new_zeros(1, 3)
    corner = clip[views, faces[face.clamp(min=0)]]
    return _edges(corner, at), corner


def _nearest(clip: Tensor, faces: Tensor, n: int) -> Tensor:
    """Return the nearest triangle of each pixel of one view [V, 4], int64 [N, N]; -1 for none."""
    corner = clip[faces]  # [F, 3, 4]
    front = corner[..., 3] > 0
    screen = (1 + corner[..., :2] / corner[..., 3:] * corner.new_tensor([1, -1])) * (n / 2) - 0.5
    whole = (front.any(1) & ~front.all(1))[:, None]
    low = torch.where(whole, 0.0, screen.amin(1).clamp(0, n)).floor().long()
    high = torch.where(whole, float(n - 1), screen.amax(1).clamp(-1, n - 1)).ceil().long()
    size = (high + 1 - low).clamp(min=0) * front.any(1, keepdim=True)
    count = size.prod(1)
    index = torch.arange(len(faces), device=faces.device).repeat_interleave(count)
    place = torch.arange(len(index), device=faces.device)
    place = place - (count.cumsum(0) - count)[index]
    x, y = low[index, 0] + place % size[index, 0], low[index, 1] + place // size[index, 0]
    e = _edges(corner[index], _centers(n, clip)[y.clamp(max=n - 1), x.clamp(max=n - 1)])
    d = (e * corner[index, :, 3]).sum(-1)
    depth = (e * corner[index, :, 2]).sum(-1) / d
    sign = d.sign()[:, None]
    kept = (d != 0) & (e * sign >= 0).all(-1) & (depth.abs() <= 1) & (x < n) & (y < n)
    index, pixel, depth = index[kept], (y * n + x)[kept], depth[kept].float()
    nearest = depth.new_full((n * n,), torch.inf).scatter_reduce(0, pixel, depth, "amin")
    tied = depth == nearest[pixel]
    none = len(faces)
    face = index.new_full((n * n,), none).scatter_reduce(0, pixel[tied], index[tied], "amin")
    return torch.where(face == none, -1, face).view(n, n)


def interpolate(attributes: Tensor, faces: Tensor, raster: Raster) -> Tensor:
    """Interpolate as :func:`dfast.ops.interpolate.interpolate` does."""
    face, b = raster.face.long(), raster.barycentric
    if not len(faces):
        return b.new_zeros(*face.shape, attributes.shape[-1])
    rows = faces.long()[face.clamp(min=0)]
    if attributes.ndim == 2:
        corner = attributes[rows]
    else:
        corner = attributes[torch.arange(len(face), device=face.device).view(-1, 1, 1, 1), rows]
    weight = torch.cat([b, 1 - b.sum(-1, keepdim=True)], -1)
    out = (weight[..., None] * corner).sum(-2)
    return torch.where(face[..., None] >= 0, out, 0.0)


def texture(image: Tensor, uv: Tensor, level: Tensor | None = None) -> Tensor:
    """Look up as :func:`dfast.ops.texture.texture` does."""
    if level is None:
        return _bilinear(image, uv)
    levels = mip_chain(image)
    at = level.clamp(0, len(levels) - 1)
    values = torch.stack([_bilinear(one, uv) for one in levels], -2)
    below = at.detach().floor().clamp(max=max(len(levels) - 2, 0)).long()
    part = (at - below)[..., None]
    above = (below + 1).clamp(max=len(levels) - 1)

    def of(which: Tensor) -> Tensor:
        index = which[..., None, None].expand(*which.shape, 1, values.shape[-1])
        return values.gather(-2, index)[..., 0, :]

    return of(below) * (1 - part) + of(above) * part


def _bilinear(image: Tensor, uv: Tensor) -> Tensor:
    """Return the colours [..., C] of an image [H, W, C] at positions [..., 2]."""
    size = uv.new_tensor([image.shape[1], image.shape[0]])
    at = torch.minimum((uv * size - 0.5).clamp(min=0), size - 1)
    low = at.detach().floor().long()
    part = at - low
    high = torch.minimum(low + 1, size.long() - 1)
    x, y = part[..., :1], part[..., 1:]
    top = image[low[..., 1], low[..., 0]] * (1 - x) + image[low[..., 1], high[..., 0]] * x
    bottom = image[high[..., 1], low[..., 0]] * (1 - x) + image[high[..., 1], high[..., 0]] * x
    return top * (1 - y) + bottom * y


def antialias(
    color: Tensor, raster: Raster, clip: Tensor, faces: Tensor, twins: Tensor | None = None
) -> Tensor:
    """Blend as :func:`dfast.ops.antialias.antialias` does, both kinds of pairs one by one."""
    twins = (half_edge_twins(faces) if twins is None else twins).long().flatten()
    out = color
    for axis in (0, 1):  # pairs side by side, and one above the other
        first, second = _pairs(color, axis)
        face = torch.stack(_pairs(raster.face.long(), axis), -1)
        depth = torch.stack(_pairs(raster.depth.detach(), axis), -1)
        at = torch.stack(_pairs(_centers(color.shape[1], clip)[None], axis), -2)
        part, edge = _silhouette(clip, faces.long(), twins, face, depth, at, axis)
        nearer = _first_is_nearer(face, depth)
        offset = torch.where(edge >= 0, torch.where(nearer, part - 0.5, 0.5 - part), 0.0)[..., None]
        change = (first - second) * offset
        onto_second, onto_first = (
            torch.where(offset > 0, change, 0.0),
            torch.where(offset < 0, change, 0.0),
        )
        before, after = (
            ((0, 0, 1, 0), (0, 0, 0, 1)) if axis == 0 else ((0, 0, 0, 0, 1, 0), (0, 0, 0, 0, 0, 1))
        )
        pad = torch.nn.functional.pad
        out = out + pad(onto_second, before) + pad(onto_first, after)
    return out


def _pairs(values: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return the first and the second of all pairs of pixels [B, N, N, ...]."""
    if axis == 0:
        return values[:, :, :-1], values[:, :, 1:]
    return values[:, :-1], values[:, 1:]


def _first_is_nearer(face: Tensor, depth: Tensor) -> Tensor:
    """Return whether the first pixel of pairs [..., 2] is nearer."""
    both = (face[..., 0] >= 0) & (depth[..., 0] <= depth[..., 1])
    return (face[..., 1] < 0) | both


def _silhouette(
    clip: Tensor,
    faces: Tensor,
    twins: Tensor,
    face: Tensor,
    depth: Tensor,
    at: Tensor,
    axis: int,
) -> tuple[Tensor, Tensor]:
    """Return which part of each pair's segment is before a silhouette edge, and the edge or -1."""
    part = torch.zeros_like(at[..., 0, 0].expand(face.shape[:-1]))
    edge = torch.full_like(face[..., 0], -1)
    place = (face[..., 0] != face[..., 1]).nonzero()  # of the pairs whose walk goes on
    view = place[:, 0]
    pair = tuple(place.unbind(1))
    nearer = _first_is_nearer(face, depth)[pair][:, None]
    ends = at.expand(*face.shape, 2)[pair]
    start, end = torch.where(nearer[..., None], ends, ends.flip(1)).unbind(1)
    current, behind = torch.where(nearer, face[pair], face[pair].flip(1)).unbind(1)
    came = torch.full_like(current, -1)
    corners = torch.arange(3, device=face.device)
    for _ in range(128):
        if not len(place):
            break
        corner = clip[view[:, None], faces[current]]
        e, g = _edges(corner, start), _edges(corner, end)
        sign = torch.where((e * corner[..., 3]).sum(-1, keepdim=True) < 0, -1.0, 1.0)
        leaving = (sign * g < 0) & (sign * e > sign * g) & (corners != came[:, None])
        share = e / torch.where(leaving, e - g, 1.0)
        least, k = torch.where(leaving, share.detach(), torch.inf).min(-1)
        twin = twins[3 * current + k]
        nearby = twin.clamp(min=0) // 3
        folds = _turns(corner) != _turns(clip[view[:, None], faces[nearby]])
        found = least.isfinite() & ((twin < 0) | folds)
        index = torch.arange(len(k), device=face.device)
        a, b = corner[index, (k + 1) % 3], corner[index, (k + 2) % 3]
        across = (b[:, :2] * a[:, 3:] - a[:, :2] * b[:, 3:]).abs()
        blends = found & ((across[:, 1] >= across[:, 0]) == (axis == 0))
        pair = tuple(place[blends].unbind(1))
        part = part.index_put(pair, share[index, k][blends])
        edge = edge.index_put(pair, (3 * current + k)[blends])
        goes_on = least.isfinite() & ~found & (nearby != behind)
        place, view, start, end = place[goes_on], view[goes_on], start[goes_on], end[goes_on]
        current, behind, came = nearby[goes_on], behind[goes_on], (twin % 3)[goes_on]
    return part, edge


def _turns(corner: Tensor) -> Tensor:
    """Return whether triangles [..., 3, 4] turn counterclockwise on the screen."""
    w = corner[..., 3:]
    q = corner[..., :2] * w[..., :1, :] - corner[..., :1, :2] * w
    a, b = q[..., 1, :], q[..., 2, :]
    return (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0] >= 0) == (w[..., 0, 0] >= 0)
