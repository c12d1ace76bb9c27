"""Texture look-up with bilinear filtering, or trilinear filtering between levels of a mip chain."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import transforms
from dfast.ops.custom_op import custom_op
from dfast.ops.rasterize import in_fixed_order, summed


def texture(image: Tensor, uv: Tensor, level: Tensor | None = None) -> Tensor:
    """Look up a texture.

    The centre of texel (row y, column x) is at ``((x + 0.5) / W, (y + 0.5) / H)``. Positions beyond
    the outermost centres see the outermost texels.

    Differentiable once in all three arguments. On CUDA the order of the gradient's sums varies
    unless torch.use_deterministic_algorithms is on.

    Args:
        image: [H, W, C], row 0 at v = 0, float32 or float64.
        uv: [..., 2] positions, (0, 0) is the first row's left corner, as in glTF.
        level: [...] level of the mip chain (`mip_chain`), 0 for the image itself, as
            `dfast.ops.texture_level` computes it. Between whole numbers the levels are mixed, and
            beyond the chain its ends are seen. None looks up the image alone.

    Returns:
        [..., C].

    Raises:
        ValueError: on a wrong shape, dtype or device, or an image without texels.
    """
    image, uv = transforms.widen(image, uv)
    level = transforms.widen_optional(level)
    image = _native.contiguous("image", image, (None, None, None), image)
    if image.shape[0] * image.shape[1] == 0:
        raise ValueError(f"image must have texels, got {list(image.shape)}")
    shape = _native.vectors("uv", uv, 2).shape[:-1]
    flat = _native.contiguous("uv", uv.reshape(-1, 2), (None, 2), image)
    if level is not None:
        if _native.dense("level", level).shape != shape:
            raise ValueError(f"level must have shape {list(shape)}, got {list(level.shape)}")
        level = _native.contiguous("level", level.reshape(-1), (len(flat),), image)
    levels = [image] if level is None else mip_chain(image)
    texels = torch.cat([one.flatten(0, 1) for one in levels])
    out: Tensor = transforms.call(
        _texture, texels, flat, level, image.shape[0], image.shape[1], len(levels)
    )
    return out.reshape(*shape, image.shape[2])


def mip_chain(image: Tensor) -> list[Tensor]:
    """Return an image [H, W, C] and its halvings: each texel is the mean of four.

    The chain ends where a side is odd, so that every texel has four below it: with one level of a
    texel for sides that are powers of two and equal, otherwise earlier.
    """
    levels = [image]
    while levels[-1].shape[0] % 2 == 0 and levels[-1].shape[1] % 2 == 0:
        height, width, channels = levels[-1].shape
        levels.append(levels[-1].reshape(height // 2, 2, width // 2, 2, channels).mean((1, 3)))
    return levels


def _chain(height: int, width: int, levels: int, texels: Tensor) -> dict[str, int]:
    """Return the fields of the mip chain, which both launchers take."""
    return {"height": height, "width": width, "levels": levels, "channels": texels.shape[1]}


@custom_op(
    "texture",
    "(Tensor texels, Tensor uv, Tensor? level, SymInt height, SymInt width, SymInt levels)"
    " -> Tensor",
)
def _texture(
    texels: Tensor, uv: Tensor, level: Tensor | None, height: int, width: int, levels: int
) -> Tensor:
    out = texels.new_empty(uv.shape[0], texels.shape[1])
    _native.call(
        "texture",
        like=texels,
        **_chain(height, width, levels, texels),
        texels=texels,
        uv=uv,
        level=level,
        points=uv.shape[0],
        out=out,
    )
    return out


@_texture.register_fake
def _(texels, uv, level, height, width, levels):  # type: ignore[no-untyped-def]
    return texels.new_empty(uv.shape[0], texels.shape[1])


@custom_op(
    "texture_backward",
    "(Tensor texels, Tensor uv, Tensor? level, Tensor d_out, SymInt height, SymInt width,"
    " SymInt levels) -> (Tensor, Tensor, Tensor)",
)
def _texture_backward(
    texels: Tensor,
    uv: Tensor,
    level: Tensor | None,
    d_out: Tensor,
    height: int,
    width: int,
    levels: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of texels, positions and levels; those of no levels are empty."""
    points, channels = d_out.shape
    d_uv = torch.empty_like(uv)
    d_level = uv.new_empty(0) if level is None else torch.empty_like(level)
    ordered = in_fixed_order(texels)
    d_texels = None if ordered else torch.zeros_like(texels)
    terms = texels.new_empty(points * 8, channels) if ordered else None
    places = texels.new_empty(points * 8, dtype=torch.int64) if ordered else None
    _native.call(
        "texture_backward",
        like=texels,
        **_chain(height, width, levels, texels),
        texels=texels,
        uv=uv,
        level=level,
        d_out=d_out.contiguous(),
        points=points,
        rows=texels.shape[0],
        d_texels=d_texels,
        terms=terms,
        places=places,
        d_uv=d_uv,
        d_level=None if level is None else d_level,
    )
    if terms is not None and places is not None:
        d_texels = summed(places, terms, texels.shape[0])
    assert d_texels is not None
    return d_texels, d_uv, d_level


@_texture_backward.register_fake
def _(texels, uv, level, d_out, height, width, levels):  # type: ignore[no-untyped-def]
    d_level = uv.new_empty(0) if level is None else torch.empty_like(level)
    return torch.empty_like(texels), torch.empty_like(uv), d_level


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.sizes = inputs[3:]
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, d_out: Tensor | None) -> tuple[Tensor | None, ...]:
    if d_out is None:
        return None, None, None, None, None, None
    texels, uv, level = ctx.saved_tensors
    d_texels, d_uv, d_level = transforms.call(
        _texture_backward, texels, uv, level, d_out, *ctx.sizes
    )
    return d_texels, d_uv, None if level is None else d_level, None, None, None


transforms.register(
    _texture,
    differentiable=("texels", "uv", "level"),
    setup_context=_setup_context,
    backward=_backward,
)
transforms.register_backward(_texture_backward)
