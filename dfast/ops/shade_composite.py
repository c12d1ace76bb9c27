"""Shading and compositing in one op: samples of rays to pictures, nothing stored a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import jvp_rules, transforms
from dfast.ops.march import Samples


class RaySums(NamedTuple):
    """What R rays see, see :func:`shade_composite`."""

    color: Tensor
    """[R,3]"""
    opacity: Tensor
    """[R] in [0, 1]"""
    depth: Tensor
    """[R] sum of w t"""
    normal: Tensor
    """[R,3] sum of w n, world axes"""
    orientation: Tensor
    """[R] sum of stop(w) max(0, n . v)^2, v the ray's direction"""


def shade_composite(
    tau: Tensor,
    albedo: Tensor,
    gradient: Tensor | None,
    samples: Samples,
    directions: Tensor,
    view: Tensor | None,
    light_position: Tensor,
    ambient: Tensor,
    diffuse: Tensor,
    textureless: Tensor,
    *,
    background: Tensor | None = None,
    early_stop: float = 0.0,
    eps: float = 1e-6,
) -> RaySums:
    """Light every sample, as :func:`dfast.ops.shade.shade`, and composite each ray, as
    :func:`dfast.ops.composite.composite`, without a result a sample.

    Without a gradient all normals are zero: only the ambient light is left, and ``normal`` and
    ``orientation`` are 0. ``color`` is premultiplied, or, with a background, complete: ``color +
    (1 - opacity) * background``.

    Differentiable once in ``tau``, ``albedo`` and ``gradient``, through all five results; weights
    are constants in ``orientation``. Slots of no ray are never read, and their gradients are left
    as the allocator gave them. The rest gets no gradient.

    Args:
        tau: [M] density per unit length, >= 0, float32 or float64.
        albedo: [M, 3] in [0, 1].
        gradient: [M, 3] gradient of the density before its activation, or None.
        samples: of :func:`dfast.ops.march.march`; ``x``, ``t``, ``dt`` and ``offsets`` are read.
            Offsets are checked on the CPU only.
        directions: [R, 3] unit.
        view: int32 [R], the ray's view, in [0, B) (checked on the CPU only); None gives each of the
            B views R / B neighbouring rays.
        light_position: [B, 3] world, one point light a view.
        ambient: [B] light from everywhere.
        diffuse: [B] strength of the point light.
        textureless: [B] in [0, 1]; 1 makes the object white.
        background: [B, 3] colour behind the object, or None: none.
        early_stop: transmittance in [0, 1) below which a ray ends.
        eps: under the root of the normal's length, > 0.

    Raises:
        ValueError: on a wrong shape, dtype, device or range.
    """
    if not 0 <= early_stop < 1:
        raise ValueError(f"early_stop must be in [0, 1), got {early_stop}")
    if not eps > 0:
        raise ValueError(f"eps must be positive, got {eps}")
    tau, albedo = transforms.widen(tau, albedo)
    gradient = transforms.widen_optional(gradient)
    tau = _native.contiguous("tau", tau, (None,), tau)
    count = tau.shape[0]

    def constant(name: str, values: Tensor, *shape: int | None) -> Tensor:
        return _native.contiguous(name, transforms.constant(*transforms.widen(values)), shape, tau)

    albedo = _native.contiguous("albedo", albedo, (count, 3), tau)
    if gradient is not None:
        gradient = _native.contiguous("gradient", gradient, (count, 3), tau)
    x = constant("samples.x", samples.x, count, 3)
    t, dt = constant("samples.t", samples.t, count), constant("samples.dt", samples.dt, count)
    directions = constant("directions", directions, None, 3)
    rays = directions.shape[0]
    offsets = _integers("samples.offsets", samples.offsets, rays + 1, tau)
    light = constant("light_position", light_position, None, 3)
    views = light.shape[0]
    ambient = constant("ambient", ambient, views)
    diffuse = constant("diffuse", diffuse, views)
    textureless = constant("textureless", textureless, views)
    if background is not None:
        background = constant("background", background, views, 3)
    if view is not None:
        view = _integers("view", view, rays, tau)
    elif rays and (views == 0 or rays % views):
        raise ValueError(f"view is needed: {rays} rays are not an equal share for {views} views")
    return RaySums(
        *transforms.call(
            _shade_composite,
            tau, albedo, gradient, x, t, dt, offsets, directions, view, light, ambient, diffuse,
            textureless, background, early_stop, eps,
        )
    )  # fmt: skip


def _integers(name: str, values: Tensor, size: int, like: Tensor) -> Tensor:
    if values.dtype != torch.int32 or values.shape != (size,):
        raise ValueError(f"{name} must be int32 [{size}], got {values.dtype} {list(values.shape)}")
    if values.device != like.device:
        raise ValueError(f"{name} must be on {like.device}, got {values.device}")
    return values.contiguous()


_INPUTS = (
    "Tensor tau, Tensor albedo, Tensor? gradient, Tensor x, Tensor t, Tensor dt, Tensor offsets,"
    " Tensor directions, Tensor? view, Tensor light_position, Tensor ambient, Tensor diffuse,"
    " Tensor textureless, Tensor? background, float early_stop, float eps"
)
_TENSORS = 14  # of them


@torch.library.custom_op(
    "dfast::shade_composite",
    mutates_args=(),
    schema=f"({_INPUTS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _shade_composite(
    tau: Tensor,
    albedo: Tensor,
    gradient: Tensor | None,
    x: Tensor,
    t: Tensor,
    dt: Tensor,
    offsets: Tensor,
    directions: Tensor,
    view: Tensor | None,
    light_position: Tensor,
    ambient: Tensor,
    diffuse: Tensor,
    textureless: Tensor,
    background: Tensor | None,
    early_stop: float,
    eps: float,
) -> tuple[Tensor, ...]:
    rays, views = directions.shape[0], light_position.shape[0]
    if tau.device.type == "cpu":
        _check_indices(offsets, view, tau.shape[0], views)
    color, normal = tau.new_empty(rays, 3), tau.new_empty(rays, 3)
    opacity, depth, orientation = (tau.new_empty(rays) for _ in range(3))
    _native.call(
        "shade_composite", tau,
        tau, albedo, gradient, x, t, dt, offsets, directions, view, light_position, ambient,
        diffuse, textureless, background, rays, views, early_stop, eps,
        color, opacity, depth, normal, orientation,
    )  # fmt: skip
    return color, opacity, depth, normal, orientation


def _check_indices(offsets: Tensor, view: Tensor | None, samples: int, views: int) -> None:
    bounds_hold = offsets[0] >= 0 and offsets[-1] <= samples
    if not bounds_hold or bool((offsets[1:] < offsets[:-1]).any()):
        raise ValueError(f"samples.offsets must rise within [0, {samples}] (samples given)")
    if view is not None and view.numel():
        low, high = (int(v) for v in torch.aminmax(view))
        if low < 0 or high >= views:
            raise ValueError(f"view must be in [0, {views}), got values in [{low}, {high}]")


@_shade_composite.register_fake
def _(tau, albedo, gradient, x, t, dt, offsets, directions, *_):  # type: ignore[no-untyped-def]
    rays = directions.shape[0]
    return (
        tau.new_empty(rays, 3),
        tau.new_empty(rays),
        tau.new_empty(rays),
        tau.new_empty(rays, 3),
        tau.new_empty(rays),
    )


@torch.library.custom_op(
    "dfast::shade_composite_backward",
    mutates_args=(),
    schema=f"({_INPUTS}, Tensor? d_color, Tensor? d_opacity, Tensor? d_depth, Tensor? d_normal,"
    " Tensor? d_orientation) -> (Tensor, Tensor, Tensor)",
)
def _shade_composite_backward(
    tau: Tensor,
    albedo: Tensor,
    gradient: Tensor | None,
    x: Tensor,
    t: Tensor,
    dt: Tensor,
    offsets: Tensor,
    directions: Tensor,
    view: Tensor | None,
    light_position: Tensor,
    ambient: Tensor,
    diffuse: Tensor,
    textureless: Tensor,
    background: Tensor | None,
    early_stop: float,
    eps: float,
    d_color: Tensor | None,
    d_opacity: Tensor | None,
    d_depth: Tensor | None,
    d_normal: Tensor | None,
    d_orientation: Tensor | None,
) -> tuple[Tensor, ...]:
    rays, views = directions.shape[0], light_position.shape[0]
    grads = [
        None if d is None else d.contiguous()
        for d in (d_color, d_opacity, d_depth, d_normal, d_orientation)
    ]
    d_tau, d_albedo = torch.empty_like(tau), torch.empty_like(albedo)
    d_gradient = torch.empty_like(albedo) if gradient is not None else albedo.new_empty(0, 3)
    _native.call(
        "shade_composite_backward", tau,
        tau, albedo, gradient, x, t, dt, offsets, directions, view, light_position, ambient,
        diffuse, textureless, background, rays, views, early_stop, eps,
        *grads, d_tau, d_albedo, d_gradient,
    )  # fmt: skip
    return d_tau, d_albedo, d_gradient


@_shade_composite_backward.register_fake
def _(tau, albedo, gradient, *_):  # type: ignore[no-untyped-def]
    d_gradient = torch.empty_like(albedo) if gradient is not None else albedo.new_empty(0, 3)
    return torch.empty_like(tau), torch.empty_like(albedo), d_gradient


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:_TENSORS])
    ctx.early_stop, ctx.eps = inputs[_TENSORS:]
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    d_tau, d_albedo, d_gradient = transforms.call(
        _shade_composite_backward, *saved, ctx.early_stop, ctx.eps, *grads
    )
    return (
        d_tau,
        d_albedo,
        None if saved[2] is None else d_gradient,
        *[None] * (_TENSORS - 3 + 2),  # everything else is a constant
    )


def _jvp(inputs: Sequence[Any], outputs: Sequence[Any], tangents: transforms.Tangents) -> Any:
    return jvp_rules.shade_composite(tangents[0], tangents[1], tangents[2], *inputs)


transforms.register(
    _shade_composite,
    differentiable=("tau", "albedo", "gradient"),
    setup_context=_setup_context,
    backward=_backward,
    jvp=_jvp,
)
transforms.register_backward(_shade_composite_backward)
