"""Volume compositing: samples of rays to colour, depth and opacity, by emission and absorption."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import jvp_rules, transforms


def composite(
    tau: Tensor,
    dt: Tensor,
    rgb: Tensor,
    t: Tensor,
    offsets: Tensor,
    *,
    early_stop: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Composite the samples of each ray, front to back.

    ``alpha_i = 1 - exp(-tau_i dt_i)``, ``T_i = prod_{j<i} (1 - alpha_j)``, ``w_i = T_i alpha_i``;
    samples whose ``T_i`` is below ``early_stop`` weigh nothing. The colour is premultiplied and
    without background, which the caller adds: ``color + (1 - opacity)[:, None] * background``.

    Differentiable once in ``tau`` and ``rgb``, through all four results. ``dt`` and ``t`` get no
    gradient. torch.func and forward mode work, first order. Under autocast 16-bit inputs are cast
    to float32, which the results then have.

    Args:
        tau: [M] density per unit length, >= 0, float32 or float64.
        dt: [M] interval lengths.
        rgb: [M, C] values to composite, C >= 1.
        t: [M] distances.
        offsets: int32 [R + 1], rising within [0, M]; ray r owns samples
            ``offsets[r]:offsets[r + 1]``. Samples before and after all rays weigh nothing and get
            no gradient. Checked on the CPU only.
        early_stop: transmittance in [0, 1) below which a ray ends.

    Returns:
        color [R, C], depth [R] (``sum w t``), opacity [R] (``sum w``), weights [M].

    Raises:
        ValueError: on a wrong shape, dtype, device or range.
    """
    if not 0 <= early_stop < 1:
        raise ValueError(f"early_stop must be in [0, 1), got {early_stop}")
    tau, dt, rgb, t = transforms.widen(tau, dt, rgb, t)
    tau = _native.contiguous("tau", tau, (None,), tau)
    dt = _native.contiguous("dt", transforms.constant(dt), tuple(tau.shape), tau)
    t = _native.contiguous("t", transforms.constant(t), tuple(tau.shape), tau)
    rgb = _native.contiguous("rgb", rgb, (tau.shape[0], None), tau)
    if offsets.dtype != torch.int32 or offsets.dim() != 1 or offsets.shape[0] < 1:
        raise ValueError(
            f"offsets must be int32 [R + 1], got {offsets.dtype} {list(offsets.shape)}"
        )
    if offsets.device != tau.device:
        raise ValueError(f"offsets must be on {tau.device}, got {offsets.device}")
    result: tuple[Tensor, Tensor, Tensor, Tensor] = transforms.call(
        _composite, tau, dt, rgb, t, offsets.contiguous(), early_stop
    )
    return result


@torch.library.custom_op(
    "dfast::composite",
    mutates_args=(),
    schema="(Tensor tau, Tensor dt, Tensor rgb, Tensor t, Tensor offsets, float early_stop)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
)
def _composite(
    tau: Tensor, dt: Tensor, rgb: Tensor, t: Tensor, offsets: Tensor, early_stop: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rays, channels = offsets.shape[0] - 1, rgb.shape[1]
    if tau.device.type == "cpu":
        bounds_hold = offsets[0] >= 0 and offsets[-1] <= tau.shape[0]
        if not bounds_hold or bool((offsets[1:] < offsets[:-1]).any()):
            raise ValueError(f"offsets must rise within [0, {tau.shape[0]}] (samples given)")
    color = tau.new_empty(rays, channels)
    depth, opacity = tau.new_empty(rays), tau.new_empty(rays)
    weights = torch.empty_like(tau)
    _native.call(
        "composite", tau,
        tau, dt, rgb, t, offsets, len(tau), rays, channels, early_stop,
        color, depth, opacity, weights,
    )  # fmt: skip
    return color, depth, opacity, weights


@_composite.register_fake
def _(tau, dt, rgb, t, offsets, early_stop):  # type: ignore[no-untyped-def]
    rays = offsets.shape[0] - 1
    return (
        tau.new_empty(rays, rgb.shape[1]),
        tau.new_empty(rays),
        tau.new_empty(rays),
        torch.empty_like(tau),
    )


@torch.library.custom_op(
    "dfast::composite_backward",
    mutates_args=(),
    schema="(Tensor tau, Tensor dt, Tensor rgb, Tensor t, Tensor offsets, Tensor? d_color,"
    " Tensor? d_depth, Tensor? d_opacity, Tensor? d_weights, float early_stop)"
    " -> (Tensor, Tensor)",
)
def _composite_backward(
    tau: Tensor,
    dt: Tensor,
    rgb: Tensor,
    t: Tensor,
    offsets: Tensor,
    d_color: Tensor | None,
    d_depth: Tensor | None,
    d_opacity: Tensor | None,
    d_weights: Tensor | None,
    early_stop: float,
) -> tuple[Tensor, Tensor]:
    rays, channels = offsets.shape[0] - 1, rgb.shape[1]
    grads = [
        None if d is None else d.contiguous() for d in (d_color, d_depth, d_opacity, d_weights)
    ]
    d_tau, d_rgb = torch.empty_like(tau), torch.empty_like(rgb)
    _native.call(
        "composite_backward", tau,
        tau, dt, rgb, t, offsets, *grads, len(tau), rays, channels, early_stop, d_tau, d_rgb,
    )  # fmt: skip
    return d_tau, d_rgb


@_composite_backward.register_fake
def _(  # type: ignore[no-untyped-def]
    tau, dt, rgb, t, offsets, d_color, d_depth, d_opacity, d_weights, early_stop
):
    return torch.empty_like(tau), torch.empty_like(rgb)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    tau, dt, rgb, t, offsets, ctx.early_stop = inputs
    ctx.save_for_backward(tau, dt, rgb, t, offsets)
    ctx.set_materialize_grads(False)


def _backward(
    ctx: Any,
    d_color: Tensor | None,
    d_depth: Tensor | None,
    d_opacity: Tensor | None,
    d_weights: Tensor | None,
) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    d_tau, d_rgb = transforms.call(
        _composite_backward, *saved, d_color, d_depth, d_opacity, d_weights, ctx.early_stop
    )
    return (
        d_tau,
        None,  # dt
        d_rgb,
        None,  # t
        None,  # offsets
        None,  # early_stop
    )


def _jvp(inputs: Sequence[Any], outputs: Sequence[Any], tangents: transforms.Tangents) -> Any:
    return jvp_rules.composite(tangents[0], tangents[2], *inputs)


transforms.register(
    _composite,
    differentiable=("tau", "rgb"),
    setup_context=_setup_context,
    backward=_backward,
    jvp=_jvp,
)
transforms.register_backward(_composite_backward)
