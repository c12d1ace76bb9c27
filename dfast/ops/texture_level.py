"""Which level of a texture's mip chain each pixel should look up."""

from __future__ import annotations

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import transforms
from dfast.ops.custom_op import custom_op
from dfast.ops.rasterize import Raster, check_clip, check_faces, check_seen


def texture_level(
    raster: Raster,
    clip: Tensor,
    faces: Tensor,
    uv: Tensor,
    uv_faces: Tensor,
    *,
    height: int,
    width: int,
) -> Tensor:
    """Return the level at which a pixel is about as large as a texel.

    It is log2 of the longer of the two steps, in texels, that the position in the texture makes
    from a pixel to the one on its right and to the one below; exact derivatives stand for the
    steps. Nothing here is differentiable.

    Args:
        raster: what the pixels see.
        clip: [B, V, 4] what was rasterised.
        faces: [F, 3] what was rasterised.
        uv: [A, 2] positions in the texture.
        uv_faces: [F, 3] rows of `uv` of each triangle's corners, int32 (int64 is converted).
            Checked on the CPU only.
        height: rows of the texture.
        width: columns of the texture.

    Returns:
        [B, N, N], at least 0; 0 where no triangle is seen.

    Raises:
        ValueError: on a wrong shape, dtype, device or range.
    """
    height = _native.whole_number("height", height, 1)
    width = _native.whole_number("width", width, 1)
    clip, uv = transforms.widen(clip, uv)
    clip = check_clip(transforms.constant(clip))
    faces = check_faces("faces", faces, clip.shape[1], clip.device)
    uv = _native.contiguous("uv", transforms.constant(uv), (None, 2), clip)
    uv_faces = check_faces("uv_faces", uv_faces, uv.shape[0], clip.device)
    if uv_faces.shape != faces.shape:
        raise ValueError(f"uv_faces must be {list(faces.shape)}, got {list(uv_faces.shape)}")
    if raster.face.shape[0] != clip.shape[0]:
        raise ValueError(f"clip must have {raster.face.shape[0]} views, got {list(clip.shape)}")
    face = check_seen(raster, faces.shape[0], clip.device)
    level: Tensor = transforms.call(_texture_level, clip, faces, uv, uv_faces, face, height, width)
    return level


@custom_op(
    "texture_level",
    "(Tensor clip, Tensor faces, Tensor uv, Tensor uv_faces, Tensor face, SymInt height,"
    " SymInt width) -> Tensor",
)
def _texture_level(
    clip: Tensor,
    faces: Tensor,
    uv: Tensor,
    uv_faces: Tensor,
    face: Tensor,
    height: int,
    width: int,
) -> Tensor:
    level = clip.new_empty(face.shape)
    _native.call(
        "texture_level",
        like=clip,
        clip=clip,
        faces=faces,
        uv=uv,
        uv_faces=uv_faces,
        face=face,
        views=clip.shape[0],
        vertices=clip.shape[1],
        resolution=face.shape[1],
        height=height,
        width=width,
        level=level,
    )
    return level


@_texture_level.register_fake
def _(clip, faces, uv, uv_faces, face, height, width):  # type: ignore[no-untyped-def]
    return torch.empty_like(face, dtype=clip.dtype)


transforms.register(_texture_level)
