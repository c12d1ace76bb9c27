"""Rasterisation of triangle meshes: which triangle each pixel sees, and where in it.

The parts of a differentiable renderer (Laine et al., "Modular primitives for high-performance
differentiable rendering", 2020) are `rasterize`, `dfast.ops.interpolate`, `dfast.ops.texture` and
`dfast.ops.antialias`; `dfast.render.mesh` puts them together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import transforms
from dfast.ops.custom_op import custom_op

MOST_VIEWS = 65535
"""Most views of a call: a dimension of CUDA's grids."""


class Raster(NamedTuple):
    """What the pixels of B views see, row 0 at the top.

    Attributes:
        face: [B, N, N] int32, the nearest triangle, -1 for none.
        barycentric: [B, N, N, 2] weights of the triangle's first two corners, true to perspective;
            the third corner has the rest. 0 where there is no triangle.
        depth: [B, N, N] z / w in [-1, 1], the near plane at -1; 1 where there is no triangle.
    """

    face: Tensor
    barycentric: Tensor
    depth: Tensor


def rasterize(clip: Tensor, faces: Tensor, *, resolution: int) -> Raster:
    """Rasterise the triangles of a mesh in B views.

    A pixel sees what its centre sees, from both sides, within the depth range -w <= z <= w. Of
    equally near triangles (depths are compared in float32) it sees the first. Nothing is clipped:
    triangles may reach behind the camera. Every device finds the same triangles, to the last bit.

    Barycentric coordinates and depth are differentiable once in ``clip``; which triangle is seen is
    not, and silhouettes get their gradients from `dfast.ops.antialias`. On CUDA the order of the
    gradient's sums varies unless torch.use_deterministic_algorithms is on.

    Args:
        clip: [B, V, 4] vertices (x, y, z, w) in clip space, x to the right and y up, float32 or
            float64; (-w, w) is the top left corner of the image.
        faces: [F, 3] vertices of each triangle, int32 (int64 is converted). Checked on the CPU
            only.
        resolution: N pixels a side, at least 1.

    Returns:
        The raster [B, N, N].

    Raises:
        ValueError: on a wrong shape, dtype, device or range.
    """
    resolution = _native.whole_number("resolution", resolution, 1, 32768)
    (clip,) = transforms.widen(clip)
    clip = check_clip(clip)
    faces = check_faces("faces", faces, clip.shape[1], clip.device)
    barycentric, depth, face = transforms.call(_rasterize, clip, faces, resolution)
    return Raster(face, barycentric, depth)


def check_clip(clip: Tensor) -> Tensor:
    """Return vertices in clip space contiguous.

    Raises:
        ValueError: unless they are [B, V, 4], B at most `MOST_VIEWS`.
    """
    clip = _native.contiguous("clip", clip, (None, None, 4), clip)
    if not torch.compiler.is_compiling() and clip.shape[0] > MOST_VIEWS:
        raise ValueError(f"clip must have at most {MOST_VIEWS} views, got {list(clip.shape)}")
    return clip


def check_faces(name: str, faces: Tensor, rows: int, device: torch.device) -> Tensor:
    """Return triangles as the kernels take them, int32 and contiguous.

    Args:
        name: the argument's name, for the message.
        faces: [F, 3].
        rows: number of rows that they index; checked on the CPU only.
        device: where they must be.

    Raises:
        ValueError: on another shape, dtype or device, or an index out of range.
    """
    _native.dense(name, faces)
    if faces.dtype not in (torch.int32, torch.int64) or faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(
            f"{name} must be int32 or int64 [F, 3], got {faces.dtype} {list(faces.shape)}"
        )
    if faces.device != device:
        raise ValueError(f"{name} must be on {device}, got {faces.device}")
    if not torch.compiler.is_compiling() and 3 * faces.shape[0] > _native.MOST_ROWS:
        raise ValueError(f"{name} must have fewer than 2**31 corners, got {list(faces.shape)}")
    check_range(name, faces, 0, rows)
    return faces.to(torch.int32).contiguous()


def check_seen(raster: Raster, triangles: int, device: torch.device) -> Tensor:
    """Return the triangles that pixels see, contiguous.

    Args:
        raster: what the pixels see.
        triangles: how many there are; checked on the CPU only.
        device: where the raster must be.

    Raises:
        ValueError: on another shape, dtype or device, or a triangle that is not there.
    """
    face = _native.dense("raster.face", raster.face)
    if face.dtype != torch.int32 or face.ndim != 3 or face.shape[1] != face.shape[2]:
        raise ValueError(
            f"raster.face must be int32 [B, N, N], got {face.dtype} {list(face.shape)}"
        )
    if face.device != device:
        raise ValueError(f"raster.face must be on {device}, got {face.device}")
    check_range("raster.face", face, -1, triangles)
    return face.contiguous()


def check_range(name: str, indices: Tensor, low: int, high: int) -> None:
    """Raise unless indices are in [low, high).

    Nothing is checked on a GPU, whose values the host would have to wait for, nor under
    torch.compile and torch.func, where they are not known.
    """
    unknown = torch.compiler.is_compiling() or transforms.active()
    if indices.device.type != "cpu" or unknown or not indices.numel():
        return
    least, most = (int(v) for v in torch.aminmax(indices))
    if least < low or most >= high:
        raise ValueError(f"{name} must be in [{low}, {high}), got values in [{least}, {most}]")


def in_fixed_order(tensor: Tensor) -> bool:
    """Return whether sums on the device of a tensor have to be taken in a fixed order by torch.

    On CUDA they are otherwise made by atomics; the CPU's kernels have a fixed order.
    """
    return tensor.is_cuda and torch.are_deterministic_algorithms_enabled()


def summed(rows: Tensor, terms: Tensor, count: int) -> Tensor:
    """Return the sums [count, C] of terms [M, C] that belong to rows [M], in a fixed order."""
    return terms.new_zeros(count, terms.shape[1]).index_add_(0, rows, terms)


def corners_seen(face: Tensor, faces: Tensor, rows_of_a_view: int) -> Tensor:
    """Return the rows [B * P * 3] of the corners of each pixel's triangle; of no triangle, any.

    Args:
        face: [B, ...] the triangles.
        faces: [F, 3].
        rows_of_a_view: added once for each view in front; 0 if the views share their rows.
    """
    views = torch.arange(len(face), device=face.device).view(-1, *[1] * face.ndim)
    rows = faces.long()[face.clamp(min=0).long()] if len(faces) else face.long()[..., None] * 0
    return (rows + views * rows_of_a_view).expand(*face.shape, 3).reshape(-1)


@custom_op(
    "rasterize", "(Tensor clip, Tensor faces, SymInt resolution) -> (Tensor, Tensor, Tensor)"
)
def _rasterize(clip: Tensor, faces: Tensor, resolution: int) -> tuple[Tensor, Tensor, Tensor]:
    shape = (clip.shape[0], resolution, resolution)
    face = clip.new_empty(shape, dtype=torch.int32)
    barycentric, depth = clip.new_empty(*shape, 2), clip.new_empty(shape)
    _native.call(
        "rasterize",
        like=clip,
        clip=clip,
        faces=faces,
        views=clip.shape[0],
        vertices=clip.shape[1],
        triangles=faces.shape[0],
        resolution=resolution,
        keys=clip.new_empty(shape, dtype=torch.int64),
        face=face,
        barycentric=barycentric,
        depth=depth,
    )
    return barycentric, depth, face


@_rasterize.register_fake
def _(clip, faces, resolution):  # type: ignore[no-untyped-def]
    shape = (clip.shape[0], resolution, resolution)
    face = clip.new_empty(shape, dtype=torch.int32)
    return clip.new_empty(*shape, 2), clip.new_empty(shape), face


@custom_op(
    "rasterize_backward",
    "(Tensor clip, Tensor faces, Tensor face, Tensor? d_barycentric, Tensor? d_depth) -> Tensor",
)
def _rasterize_backward(
    clip: Tensor,
    faces: Tensor,
    face: Tensor,
    d_barycentric: Tensor | None,
    d_depth: Tensor | None,
) -> Tensor:
    views, vertices = clip.shape[:2]
    ordered = in_fixed_order(clip)
    d_clip = None if ordered else torch.zeros_like(clip)
    terms = clip.new_empty(*face.shape, 3, 4) if ordered else None
    _native.call(
        "rasterize_backward",
        like=clip,
        clip=clip,
        faces=faces,
        face=face,
        d_barycentric=None if d_barycentric is None else d_barycentric.contiguous(),
        d_depth=None if d_depth is None else d_depth.contiguous(),
        views=views,
        vertices=vertices,
        resolution=face.shape[1],
        d_clip=d_clip,
        terms=terms,
    )
    if terms is None:
        assert d_clip is not None
        return d_clip
    rows = corners_seen(face, faces, vertices)
    return summed(rows, terms.view(-1, 4), views * vertices).view_as(clip)


@_rasterize_backward.register_fake
def _(clip, faces, face, d_barycentric, d_depth):  # type: ignore[no-untyped-def]
    return torch.empty_like(clip)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    clip, faces, _ = inputs
    ctx.save_for_backward(clip, faces, output[2])
    ctx.set_materialize_grads(False)


def _backward(
    ctx: Any, d_barycentric: Tensor | None, d_depth: Tensor | None, _: None
) -> tuple[Tensor | None, ...]:
    if d_barycentric is None and d_depth is None:
        return None, None, None
    d_clip = transforms.call(_rasterize_backward, *ctx.saved_tensors, d_barycentric, d_depth)
    return d_clip, None, None


transforms.register(
    _rasterize, differentiable=("clip",), setup_context=_setup_context, backward=_backward
)
transforms.register_backward(_rasterize_backward)
