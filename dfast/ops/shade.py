"""Normals from the density gradient and Lambertian shading by a point light."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import jvp_rules, transforms
from dfast.ops.custom_op import custom_op


def shade(
    gradient: Tensor,
    albedo: Tensor,
    position: Tensor,
    light_position: Tensor,
    ambient: Tensor,
    diffuse: Tensor,
    textureless: Tensor,
    camera_ids: Tensor,
    *,
    eps: float = 1e-6,
) -> tuple[Tensor, Tensor]:
    """Shade samples: ``rgb = rho * (diffuse * max(0, n.l) + ambient)``.

    ``n = -gradient / sqrt(|gradient|^2 + eps)`` points out of the object, ``l`` points from the
    sample to the light of its camera, and ``rho = albedo + textureless * (1 - albedo)``.
    ``ambient = 1, diffuse = 0`` shows the albedo.

    Differentiable once in ``gradient`` and ``albedo``, through both results. Positions and lights
    get no gradient.

    Args:
        gradient: [M, 3] gradient of the density before its activation, float32 or float64.
        albedo: [M, 3] in [0, 1].
        position: [M, 3] world.
        light_position: [B, 3] world, one point light for each of B cameras.
        ambient: [B] ambient light.
        diffuse: [B] intensity of the point light (it does not fall with distance).
        textureless: [B] in [0, 1]; 1 makes the object white.
        camera_ids: int32 [M], the sample's camera, in [0, B). Checked on the CPU only.
        eps: added under the root of the normal's length, > 0. Normals of gradients well above
            ``sqrt(eps)`` are unit vectors.

    Returns:
        rgb [M, 3], normal [M, 3].

    Raises:
        ValueError: on a wrong shape, dtype, device or range.
    """
    if not eps > 0:
        raise ValueError(f"eps must be positive, got {eps}")
    gradient, albedo, position = transforms.widen(gradient, albedo, position)
    gradient = _native.contiguous("gradient", gradient, (None, 3), gradient)
    samples = gradient.shape[0]
    albedo = _native.contiguous("albedo", albedo, (samples, 3), gradient)
    position = _native.contiguous("position", transforms.constant(position), (samples, 3), gradient)
    light = _native.contiguous(
        "light_position", transforms.constant(light_position), (None, 3), gradient
    )
    views = light.shape[0]
    ambient = _native.contiguous("ambient", transforms.constant(ambient), (views,), gradient)
    diffuse = _native.contiguous("diffuse", transforms.constant(diffuse), (views,), gradient)
    textureless = _native.contiguous(
        "textureless", transforms.constant(textureless), (views,), gradient
    )
    _native.dense("camera_ids", camera_ids)
    if camera_ids.dtype != torch.int32 or camera_ids.shape != (samples,):
        raise ValueError(
            f"camera_ids must be int32 [{samples}], got {camera_ids.dtype} {list(camera_ids.shape)}"
        )
    if camera_ids.device != gradient.device:
        raise ValueError(f"camera_ids must be on {gradient.device}, got {camera_ids.device}")
    result: tuple[Tensor, Tensor] = transforms.call(
        _shade,
        gradient,
        albedo,
        position,
        light,
        ambient,
        diffuse,
        textureless,
        camera_ids.contiguous(),
        eps,
    )
    return result


@custom_op(
    "shade",
    "(Tensor gradient, Tensor albedo, Tensor position, Tensor light_position,"
    " Tensor ambient, Tensor diffuse, Tensor textureless, Tensor camera_ids, float eps)"
    " -> (Tensor, Tensor)",
)
def _shade(
    gradient: Tensor,
    albedo: Tensor,
    position: Tensor,
    light_position: Tensor,
    ambient: Tensor,
    diffuse: Tensor,
    textureless: Tensor,
    camera_ids: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    views = light_position.shape[0]
    if gradient.device.type == "cpu" and camera_ids.numel():
        low, high = (int(v) for v in torch.aminmax(camera_ids))
        if low < 0 or high >= views:
            raise ValueError(f"camera_ids must be in [0, {views}), got values in [{low}, {high}]")
    rgb, normal = torch.empty_like(albedo), torch.empty_like(gradient)
    _native.call(
        "shade",
        like=gradient,
        gradient=gradient,
        albedo=albedo,
        position=position,
        light_position=light_position,
        ambient=ambient,
        diffuse=diffuse,
        textureless=textureless,
        camera_ids=camera_ids,
        samples=gradient.shape[0],
        eps=eps,
        rgb=rgb,
        normal=normal,
    )
    return rgb, normal


@_shade.register_fake
def _(  # type: ignore[no-untyped-def]
    gradient, albedo, position, light_position, ambient, diffuse, textureless, camera_ids, eps
):
    return torch.empty_like(albedo), torch.empty_like(gradient)


@custom_op(
    "shade_backward",
    "(Tensor gradient, Tensor albedo, Tensor position, Tensor light_position,"
    " Tensor ambient, Tensor diffuse, Tensor textureless, Tensor camera_ids, Tensor? d_rgb,"
    " Tensor? d_normal, float eps)"
    " -> (Tensor, Tensor)",
)
def _shade_backward(
    gradient: Tensor,
    albedo: Tensor,
    position: Tensor,
    light_position: Tensor,
    ambient: Tensor,
    diffuse: Tensor,
    textureless: Tensor,
    camera_ids: Tensor,
    d_rgb: Tensor | None,
    d_normal: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    d_gradient, d_albedo = torch.empty_like(gradient), torch.empty_like(albedo)
    _native.call(
        "shade_backward",
        like=gradient,
        gradient=gradient,
        albedo=albedo,
        position=position,
        light_position=light_position,
        ambient=ambient,
        diffuse=diffuse,
        textureless=textureless,
        camera_ids=camera_ids,
        d_rgb=None if d_rgb is None else d_rgb.contiguous(),
        d_normal=None if d_normal is None else d_normal.contiguous(),
        samples=gradient.shape[0],
        eps=eps,
        d_gradient=d_gradient,
        d_albedo=d_albedo,
    )
    return d_gradient, d_albedo


@_shade_backward.register_fake
def _(  # type: ignore[no-untyped-def]
    gradient,
    albedo,
    position,
    light_position,
    ambient,
    diffuse,
    textureless,
    camera_ids,
    d_rgb,
    d_normal,
    eps,
):
    return torch.empty_like(gradient), torch.empty_like(albedo)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, d_rgb: Tensor | None, d_normal: Tensor | None) -> tuple[Tensor | None, ...]:
    d_gradient, d_albedo = transforms.call(
        _shade_backward, *ctx.saved_tensors, d_rgb, d_normal, ctx.eps
    )
    return (
        d_gradient,
        d_albedo,
        None,  # position
        None,  # light_position
        None,  # ambient
        None,  # diffuse
        None,  # textureless
        None,  # camera_ids
        None,  # eps
    )


def _jvp(inputs: Sequence[Any], outputs: Sequence[Any], tangents: transforms.Tangents) -> Any:
    return jvp_rules.shade(tangents[0], tangents[1], *inputs)[2:]


transforms.register(
    _shade,
    differentiable=("gradient", "albedo"),
    setup_context=_setup_context,
    backward=_backward,
    jvp=_jvp,
)
transforms.register_backward(_shade_backward)
