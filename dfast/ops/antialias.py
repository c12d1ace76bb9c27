"""Antialiasing of a rasterised mesh's silhouettes, with gradients of its vertices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import transforms
from dfast.ops.custom_op import custom_op
from dfast.ops.rasterize import (
    Raster,
    check_clip,
    check_faces,
    check_range,
    check_seen,
    in_fixed_order,
    summed,
)


def antialias(
    color: Tensor, raster: Raster, clip: Tensor, faces: Tensor, twins: Tensor | None = None
) -> Tensor:
    """Blend the colours of neighbouring pixels between which a silhouette passes.

    Where a silhouette edge crosses the segment between the centres of two pixels, the pixel on
    whose side of the middle it lies gets a share of the other's colour: as much as its distance
    from the middle, in pixels. Edges that are steep on the screen blend pixels side by side, the
    others pixels one above the other, which makes the mean coverage of straight edges exact.
    Triangles may be smaller than pixels. An object narrower than a pixel is seen only where it
    covers a pixel's centre.

    Differentiable once in ``color`` and in ``clip``, through the shares: this is where a silhouette
    gets its gradient. On CUDA the order of the gradient's sums varies unless
    torch.use_deterministic_algorithms is on.

    Args:
        color: [B, N, N, C] values of pixels; colours, opacity and others in one call.
        raster: what the pixels see.
        clip: [B, V, 4] what was rasterised.
        faces: [F, 3] what was rasterised.
        twins: `half_edge_twins` of the faces, which need not be computed again while the triangles
            stay the same; by default they are computed.

    Returns:
        [B, N, N, C].

    Raises:
        ValueError: on a wrong shape, dtype or device.
    """
    color, clip = transforms.widen(color, clip)
    clip = check_clip(clip)
    faces = check_faces("faces", faces, clip.shape[1], clip.device)
    shape = tuple(raster.face.shape)
    color = _native.contiguous("color", color, (*shape, None), clip)
    depth = _native.contiguous("raster.depth", raster.depth.detach(), shape, clip)
    if clip.shape[0] != shape[0]:
        raise ValueError(f"clip must have {shape[0]} views, got {list(clip.shape)}")
    twins = half_edge_twins(faces) if twins is None else _native.dense("twins", twins)
    if twins.dtype != torch.int32 or twins.shape != faces.shape or twins.device != faces.device:
        raise ValueError(
            f"twins must be int32 {list(faces.shape)} on {faces.device}, "
            f"got {twins.dtype} {list(twins.shape)} on {twins.device}"
        )
    check_range("twins", twins, -1, faces.numel())
    face = check_seen(raster, faces.shape[0], clip.device)
    result = transforms.call(_antialias, color, clip, faces, twins.contiguous(), face, depth)
    out: Tensor = result[0]
    return out


def half_edge_twins(faces: Tensor) -> Tensor:
    """Find the neighbours of triangles.

    Edge 3 f + k of triangle f is opposite its corner k; its twin is the same edge of the triangle
    on the other side.

    Args:
        faces: [F, 3] vertices, all triangles counterclockwise as seen from one side.

    Returns:
        int32 [F, 3], for each edge its twin; -1 for edges of one triangle, of more than two, or of
        two that turn differently.
    """
    start, end = faces.long().roll(-1, 1).flatten(), faces.long().roll(-2, 1).flatten()
    key = torch.minimum(start, end) * 2**31 + torch.maximum(start, end)
    key, order = key.sort(stable=True)
    equal = torch.nn.functional.pad(key[1:] == key[:-1], (2, 2))  # [i + 2]: of places i and i + 1
    first = (equal[2:-1] & ~equal[1:-2] & ~equal[3:])[: len(key)]
    after, before = order.roll(-1), order.roll(1)
    first = first & (start[order] == end[after]) & (start[order] != end[order])
    mate = torch.where(first, after, torch.where(first.roll(1), before, -1))
    return torch.empty_like(order).scatter_(0, order, mate).to(torch.int32).view(faces.shape)


@custom_op(
    "antialias",
    "(Tensor color, Tensor clip, Tensor faces, Tensor twins, Tensor face, Tensor depth)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
)
def _antialias(
    color: Tensor, clip: Tensor, faces: Tensor, twins: Tensor, face: Tensor, depth: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the image, and for the backward pass: where silhouettes are, edges and offsets."""
    out = torch.empty_like(color)
    near = torch.zeros_like(face, dtype=torch.uint8)
    edge, offset = face.new_empty(*face.shape, 2), color.new_empty(*face.shape, 2)
    _native.call(
        "antialias",
        like=color,
        **_surface(clip, faces, twins, face, depth),
        color=color,
        channels=color.shape[-1],
        near=near,
        edge=edge,
        offset=offset,
        out=out,
    )
    return out, near, edge, offset


def _surface(
    clip: Tensor, faces: Tensor, twins: Tensor, face: Tensor, depth: Tensor
) -> dict[str, Any]:
    """Return the fields of what is seen, which both launchers take."""
    return {
        "clip": clip,
        "faces": faces,
        "twins": twins,
        "face": face,
        "depth": depth,
        "views": clip.shape[0],
        "vertices": clip.shape[1],
        "triangles": faces.shape[0],
        "resolution": face.shape[1],
    }


@_antialias.register_fake
def _(color, clip, faces, twins, face, depth):  # type: ignore[no-untyped-def]
    return (
        torch.empty_like(color),
        torch.empty_like(face, dtype=torch.uint8),
        face.new_empty(*face.shape, 2),
        color.new_empty(*face.shape, 2),
    )


@custom_op(
    "antialias_backward",
    "(Tensor color, Tensor clip, Tensor faces, Tensor twins, Tensor face, Tensor depth,"
    " Tensor near, Tensor edge, Tensor offset, Tensor d_out) -> (Tensor, Tensor)",
)
def _antialias_backward(
    color: Tensor,
    clip: Tensor,
    faces: Tensor,
    twins: Tensor,
    face: Tensor,
    depth: Tensor,
    near: Tensor,
    edge: Tensor,
    offset: Tensor,
    d_out: Tensor,
) -> tuple[Tensor, Tensor]:
    ordered = in_fixed_order(clip)
    d_color = torch.empty_like(color)
    d_clip = None if ordered else torch.zeros_like(clip)
    terms = clip.new_empty(*edge.shape, 2, 4) if ordered else None
    _native.call(
        "antialias_backward",
        like=color,
        **_surface(clip, faces, twins, face, depth),
        color=color,
        near=near,
        edge=edge,
        offset=offset,
        d_out=d_out.contiguous(),
        channels=color.shape[-1],
        d_color=d_color,
        d_clip=d_clip,
        terms=terms,
    )
    if terms is not None:
        rows = _edge_ends(edge, faces, clip.shape[1])
        d_clip = summed(rows, terms.view(-1, 4), clip.shape[0] * clip.shape[1]).view_as(clip)
    assert d_clip is not None
    return d_color, d_clip


def _edge_ends(edge: Tensor, faces: Tensor, vertices: int) -> Tensor:
    """Return the rows in [B * V, 4] of the two ends of each edge [B, N, N, 2]; of none, any."""
    at = edge.clamp(min=0).long()
    views = torch.arange(len(edge), device=edge.device).view(-1, 1, 1, 1)
    flat = faces.long().flatten()
    ends = [flat[at // 3 * 3 + (at + k) % 3] if len(flat) else at for k in (1, 2)]
    return torch.stack([end + views * vertices for end in ends], -1).flatten()


@_antialias_backward.register_fake
def _(  # type: ignore[no-untyped-def]
    color, clip, faces, twins, face, depth, near, edge, offset, d_out
):
    return torch.empty_like(color), torch.empty_like(clip)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs, *output[1:])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, d_out: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if d_out is None:
        return None, None, None, None, None, None
    d_color, d_clip = transforms.call(_antialias_backward, *ctx.saved_tensors, d_out)
    return d_color, d_clip, None, None, None, None


transforms.register(
    _antialias,
    differentiable=("color", "clip"),
    setup_context=_setup_context,
    backward=_backward,
)
transforms.register_backward(_antialias_backward)
