"""Interpolation of attributes of a mesh's corners over the pixels that see it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import transforms
from dfast.ops.custom_op import custom_op
from dfast.ops.rasterize import (
    Raster,
    check_faces,
    check_seen,
    corners_seen,
    in_fixed_order,
    summed,
)


def interpolate(attributes: Tensor, faces: Tensor, raster: Raster) -> Tensor:
    """Interpolate attributes at the points that pixels see.

    Differentiable once in ``attributes`` and in the raster's barycentric coordinates. On CUDA the
    order of the gradient's sums varies unless torch.use_deterministic_algorithms is on.

    Args:
        attributes: [A, C] values that all views share, or [B, A, C] values of each view; float32 or
            float64.
        faces: [F, 3] rows of the attributes of each triangle's corners, int32 (int64 is converted);
            the triangles are those of the raster, the rows may be others than its vertices. Checked
            on the CPU only.
        raster: what the pixels of B views see.

    Returns:
        [B, N, N, C], 0 where no triangle is seen.

    Raises:
        ValueError: on a wrong shape, dtype or device.
    """
    attributes, barycentric = transforms.widen(attributes, raster.barycentric)
    shape = tuple(raster.face.shape)
    leading = (shape[0],) if attributes.ndim == 3 else ()
    attributes = _native.contiguous("attributes", attributes, (*leading, None, None), attributes)
    barycentric = _native.contiguous("raster.barycentric", barycentric, (*shape, 2), attributes)
    faces = check_faces("faces", faces, attributes.shape[-2], attributes.device)
    face = check_seen(raster, faces.shape[0], attributes.device)
    out: Tensor = transforms.call(_interpolate, attributes, faces, face, barycentric)
    return out


def _sizes(attributes: Tensor, face: Tensor) -> dict[str, int]:
    """Return the sizes of both launchers."""
    views = face.shape[0]
    return {
        "views": views,
        "pixels": face.shape[1] * face.shape[2],
        "rows_of_a_view": attributes.shape[1] if attributes.ndim == 3 else 0,
        "channels": attributes.shape[-1],
    }


@custom_op(
    "interpolate", "(Tensor attributes, Tensor faces, Tensor face, Tensor barycentric) -> Tensor"
)
def _interpolate(attributes: Tensor, faces: Tensor, face: Tensor, barycentric: Tensor) -> Tensor:
    out = attributes.new_empty(*face.shape, attributes.shape[-1])
    _native.call(
        "interpolate",
        like=attributes,
        attributes=attributes,
        faces=faces,
        face=face,
        barycentric=barycentric,
        **_sizes(attributes, face),
        out=out,
    )
    return out


@_interpolate.register_fake
def _(attributes, faces, face, barycentric):  # type: ignore[no-untyped-def]
    return attributes.new_empty(*face.shape, attributes.shape[-1])


@custom_op(
    "interpolate_backward",
    "(Tensor attributes, Tensor faces, Tensor face, Tensor barycentric, Tensor d_out)"
    " -> (Tensor, Tensor)",
)
def _interpolate_backward(
    attributes: Tensor, faces: Tensor, face: Tensor, barycentric: Tensor, d_out: Tensor
) -> tuple[Tensor, Tensor]:
    channels = attributes.shape[-1]
    rows = attributes.numel() // max(channels, 1)
    ordered = in_fixed_order(attributes)
    d_attributes = None if ordered else torch.zeros_like(attributes)
    terms = attributes.new_empty(*face.shape, 3, channels) if ordered else None
    d_barycentric = torch.empty_like(barycentric)
    sizes = _sizes(attributes, face)
    _native.call(
        "interpolate_backward",
        like=attributes,
        attributes=attributes,
        faces=faces,
        face=face,
        barycentric=barycentric,
        d_out=d_out.contiguous(),
        **sizes,
        rows=rows,
        d_attributes=d_attributes,
        terms=terms,
        d_barycentric=d_barycentric,
    )
    if terms is not None:
        corners = corners_seen(face, faces, sizes["rows_of_a_view"])
        d_attributes = summed(corners, terms.view(-1, channels), rows).view_as(attributes)
    assert d_attributes is not None
    return d_attributes, d_barycentric


@_interpolate_backward.register_fake
def _(attributes, faces, face, barycentric, d_out):  # type: ignore[no-untyped-def]
    return torch.empty_like(attributes), torch.empty_like(barycentric)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, d_out: Tensor | None) -> tuple[Tensor | None, ...]:
    if d_out is None:
        return None, None, None, None
    d_attributes, d_barycentric = transforms.call(_interpolate_backward, *ctx.saved_tensors, d_out)
    return d_attributes, None, None, d_barycentric


transforms.register(
    _interpolate,
    differentiable=("attributes", "barycentric"),
    setup_context=_setup_context,
    backward=_backward,
)
transforms.register_backward(_interpolate_backward)
