"""Volume compositing by emission and absorption: from samples to colour, depth and opacity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import jvp_rules, transforms
from dfast.ops.custom_op import custom_op


def composite(
    density: Tensor,
    dt: Tensor,
    rgb: Tensor,
    t: Tensor,
    offsets: Tensor,
    *,
    early_stop_eps: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Composite the samples of each ray, front to back.

    ``alpha_i = 1 - exp(-density_i dt_i)``, ``T_i = prod_{j<i} (1 - alpha_j)`` and
    ``w_i = T_i alpha_i``. Samples whose ``T_i`` is below ``early_stop_eps`` have zero weight. The
    colour is premultiplied and without background, which the caller adds:
    ``color + (1 - opacity)[:, None] * background``.

    Differentiable once in ``density`` and ``rgb``, through all four results. ``dt`` and ``t`` get
    no gradient. torch.func and forward mode work, first order. Under autocast 16-bit inputs are
    cast to float32, which the results then have.

    Args:
        density: [M] density per unit length, >= 0, float32 or float64.
        dt: [M] interval lengths.
        rgb: [M, C] values to composite, C >= 1.
        t: [M] distances.
        offsets: int32 [R + 1], rising within [0, M]; ray r owns samples
            ``offsets[r]:offsets[r + 1]``. Samples before and after all rays have zero weight and
            zero gradient. Checked on the CPU only.
        early_stop_eps: transmittance in [0, 1) below which a ray ends.

    Returns:
        color [R, C], depth [R] (``sum w t``), opacity [R] (``sum w``), weights [M].

    Raises:
        ValueError: on a wrong shape, dtype, device or range.
    """
    if not 0 <= early_stop_eps < 1:
        raise ValueError(f"early_stop_eps must be in [0, 1), got {early_stop_eps}")
    density, dt, rgb, t = transforms.widen(density, dt, rgb, t)
    density = _native.contiguous("density", density, (None,), density)
    dt = _native.contiguous("dt", transforms.constant(dt), tuple(density.shape), density)
    t = _native.contiguous("t", transforms.constant(t), tuple(density.shape), density)
    rgb = _native.contiguous("rgb", rgb, (density.shape[0], None), density)
    _native.dense("offsets", offsets)
    if offsets.dtype != torch.int32 or offsets.dim() != 1 or offsets.shape[0] < 1:
        raise ValueError(
            f"offsets must be int32 [R + 1], got {offsets.dtype} {list(offsets.shape)}"
        )
    if offsets.device != density.device:
        raise ValueError(f"offsets must be on {density.device}, got {offsets.device}")
    result: tuple[Tensor, Tensor, Tensor, Tensor] = transforms.call(
        _composite, density, dt, rgb, t, offsets.contiguous(), early_stop_eps
    )
    return result


@custom_op(
    "composite",
    "(Tensor density, Tensor dt, Tensor rgb, Tensor t, Tensor offsets, float early_stop_eps)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
)
def _composite(
    density: Tensor, dt: Tensor, rgb: Tensor, t: Tensor, offsets: Tensor, early_stop_eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rays, channels = offsets.shape[0] - 1, rgb.shape[1]
    if density.device.type == "cpu":
        bounds_hold = offsets[0] >= 0 and offsets[-1] <= density.shape[0]
        if not bounds_hold or bool((offsets[1:] < offsets[:-1]).any()):
            raise ValueError(f"offsets must rise within [0, {density.shape[0]}] (samples given)")
    color = density.new_empty(rays, channels)
    depth, opacity = density.new_empty(rays), density.new_empty(rays)
    weights = torch.empty_like(density)
    _native.call(
        "composite",
        like=density,
        density=density,
        dt=dt,
        rgb=rgb,
        t=t,
        offsets=offsets,
        samples=len(density),
        rays=rays,
        channels=channels,
        early_stop_eps=early_stop_eps,
        color=color,
        depth=depth,
        opacity=opacity,
        weights=weights,
    )
    return color, depth, opacity, weights


@_composite.register_fake
def _(density, dt, rgb, t, offsets, early_stop_eps):  # type: ignore[no-untyped-def]
    rays = offsets.shape[0] - 1
    return (
        density.new_empty(rays, rgb.shape[1]),
        density.new_empty(rays),
        density.new_empty(rays),
        torch.empty_like(density),
    )


@custom_op(
    "composite_backward",
    "(Tensor density, Tensor dt, Tensor rgb, Tensor t, Tensor offsets, Tensor? d_color,"
    " Tensor? d_depth, Tensor? d_opacity, Tensor? d_weights, float early_stop_eps)"
    " -> (Tensor, Tensor)",
)
def _composite_backward(
    density: Tensor,
    dt: Tensor,
    rgb: Tensor,
    t: Tensor,
    offsets: Tensor,
    d_color: Tensor | None,
    d_depth: Tensor | None,
    d_opacity: Tensor | None,
    d_weights: Tensor | None,
    early_stop_eps: float,
) -> tuple[Tensor, Tensor]:
    rays, channels = offsets.shape[0] - 1, rgb.shape[1]
    d_density, d_rgb = torch.empty_like(density), torch.empty_like(rgb)
    _native.call(
        "composite_backward",
        like=density,
        density=density,
        dt=dt,
        rgb=rgb,
        t=t,
        offsets=offsets,
        d_color=None if d_color is None else d_color.contiguous(),
        d_depth=None if d_depth is None else d_depth.contiguous(),
        d_opacity=None if d_opacity is None else d_opacity.contiguous(),
        d_weights=None if d_weights is None else d_weights.contiguous(),
        samples=len(density),
        rays=rays,
        channels=channels,
        early_stop_eps=early_stop_eps,
        d_density=d_density,
        d_rgb=d_rgb,
    )
    return d_density, d_rgb


@_composite_backward.register_fake
def _(  # type: ignore[no-untyped-def]
    density, dt, rgb, t, offsets, d_color, d_depth, d_opacity, d_weights, early_stop_eps
):
    return torch.empty_like(density), torch.empty_like(rgb)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    density, dt, rgb, t, offsets, ctx.early_stop_eps = inputs
    ctx.save_for_backward(density, dt, rgb, t, offsets)
    ctx.set_materialize_grads(False)


def _backward(
    ctx: Any,
    d_color: Tensor | None,
    d_depth: Tensor | None,
    d_opacity: Tensor | None,
    d_weights: Tensor | None,
) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    d_density, d_rgb = transforms.call(
        _composite_backward, *saved, d_color, d_depth, d_opacity, d_weights, ctx.early_stop_eps
    )
    return (
        d_density,
        None,  # dt
        d_rgb,
        None,  # t
        None,  # offsets
        None,  # early_stop_eps
    )


def _jvp(inputs: Sequence[Any], outputs: Sequence[Any], tangents: transforms.Tangents) -> Any:
    return jvp_rules.composite(tangents[0], tangents[2], *inputs)


transforms.register(
    _composite,
    differentiable=("density", "rgb"),
    setup_context=_setup_context,
    backward=_backward,
    jvp=_jvp,
)
transforms.register_backward(_composite_backward)
