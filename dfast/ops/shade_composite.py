"""Shading and compositing in one operator: from samples of rays to pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import jvp_rules, transforms
from dfast.ops.custom_op import custom_op
from dfast.ops.march import Samples


class RaySums(NamedTuple):
    """The results of :func:`shade_composite` for R rays.

    Attributes:
        color: [R, 3] colour.
        opacity: [R] in [0, 1], the sum of w.
        depth: [R] the sum of w t.
        normal: [R, 3] the sum of w n, world axes.
        orientation: [R] the sum of stop(w) max(0, n.v)^2, where v is the ray's direction.
    """

    color: Tensor
    opacity: Tensor
    depth: Tensor
    normal: Tensor
    orientation: Tensor


def shade_composite(
    density: Tensor,
    albedo: Tensor,
    gradient: Tensor | None,
    samples: Samples,
    directions: Tensor,
    camera_ids: Tensor | None,
    light_position: Tensor,
    ambient: Tensor,
    diffuse: Tensor,
    textureless: Tensor,
    *,
    background: Tensor | None = None,
    early_stop_eps: float = 0.0,
    eps: float = 1e-6,
) -> RaySums:
    """Shade all samples and composite each ray, without storing a result per sample.

    The formulas are those of :func:`dfast.ops.shade.shade` and
    :func:`dfast.ops.composite.composite`. Without a gradient all normals are zero: only the ambient
    light is left, and ``normal`` and ``orientation`` are 0. ``color`` is premultiplied. With a
    background it is complete: ``color + (1 - opacity) * background``.

    Differentiable once in ``density``, ``albedo`` and ``gradient``, through all five results;
    weights are constants in ``orientation``. Slots of no ray are never read, and their gradients
    are uninitialised memory. The other arguments get no gradient.

    Args:
        density: [M] per unit length, >= 0, float32 or float64.
        albedo: [M, 3] in [0, 1].
        gradient: [M, 3] gradient of the density before its activation, or None.
        samples: samples of :func:`dfast.ops.march.march`, of which ``x``, ``t``, ``dt`` and
            ``offsets`` are read. Offsets are checked on the CPU only.
        directions: [R, 3] of unit length.
        camera_ids: int32 [R], the ray's camera, in [0, B) (checked on the CPU only); None gives
            each of the B cameras R / B neighbouring rays.
        light_position: [B, 3] world, one point light for each of B cameras.
        ambient: [B] ambient light.
        diffuse: [B] intensity of the point light.
        textureless: [B] in [0, 1]; 1 makes the object white.
        background: [B, 3] colour behind the object, or None for no background.
        early_stop_eps: transmittance in [0, 1) below which a ray ends.
        eps: added under the root of the normal's length, > 0.

    Returns:
        The sums of all rays.

    Raises:
        ValueError: on a wrong shape, dtype, device or range.
    """
    if not 0 <= early_stop_eps < 1:
        raise ValueError(f"early_stop_eps must be in [0, 1), got {early_stop_eps}")
    if not eps > 0:
        raise ValueError(f"eps must be positive, got {eps}")
    density, albedo = transforms.widen(density, albedo)
    gradient = transforms.widen_optional(gradient)
    density = _native.contiguous("density", density, (None,), density)
    count = density.shape[0]

    def constant(name: str, values: Tensor, *shape: int | None) -> Tensor:
        (values,) = transforms.widen(transforms.constant(values))
        return _native.contiguous(name, values, shape, density)

    albedo = _native.contiguous("albedo", albedo, (count, 3), density)
    if gradient is not None:
        gradient = _native.contiguous("gradient", gradient, (count, 3), density)
    x = constant("samples.x", samples.x, count, 3)
    t, dt = constant("samples.t", samples.t, count), constant("samples.dt", samples.dt, count)
    directions = constant("directions", directions, None, 3)
    rays = directions.shape[0]
    offsets = _integers("samples.offsets", samples.offsets, rays + 1, density)
    light = constant("light_position", light_position, None, 3)
    views = light.shape[0]
    ambient = constant("ambient", ambient, views)
    diffuse = constant("diffuse", diffuse, views)
    textureless = constant("textureless", textureless, views)
    if background is not None:
        background = constant("background", background, views, 3)
    if camera_ids is not None:
        camera_ids = _integers("camera_ids", camera_ids, rays, density)
    elif rays and (views == 0 or rays % views):
        raise ValueError(
            f"camera_ids is needed: {rays} rays are not an equal share for {views} views"
        )
    sums = transforms.call(
        _shade_composite,
        density,
        albedo,
        gradient,
        x,
        t,
        dt,
        offsets,
        directions,
        camera_ids,
        light,
        ambient,
        diffuse,
        textureless,
        background,
        early_stop_eps,
        eps,
    )
    return RaySums(*sums)


def _integers(name: str, values: Tensor, size: int, like: Tensor) -> Tensor:
    """Check an int32 argument [size] and return it contiguous."""
    _native.dense(name, values)
    if values.dtype != torch.int32 or values.shape != (size,):
        raise ValueError(f"{name} must be int32 [{size}], got {values.dtype} {list(values.shape)}")
    if values.device != like.device:
        raise ValueError(f"{name} must be on {like.device}, got {values.device}")
    return values.contiguous()


_INPUTS = (
    "Tensor density, Tensor albedo, Tensor? gradient, Tensor x, Tensor t, Tensor dt,"
    " Tensor offsets, Tensor directions, Tensor? camera_ids, Tensor light_position,"
    " Tensor ambient, Tensor diffuse, Tensor textureless, Tensor? background,"
    " float early_stop_eps, float eps"
)
_NAMES = tuple(part.split()[1] for part in _INPUTS.split(", "))
_NUM_TENSORS = 14  # the first 14 inputs are tensors


def _fields(inputs: Sequence[Any]) -> dict[str, Any]:
    """Return the inputs by name, and the numbers of rays and views."""
    named = dict(zip(_NAMES, inputs, strict=True))
    views = named["light_position"].shape[0]
    return named | {"rays": named["directions"].shape[0], "views": views}


@custom_op(
    "shade_composite",
    f"({_INPUTS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _shade_composite(*inputs):  # type: ignore[no-untyped-def]
    fields = _fields(inputs)
    density, rays = fields["density"], fields["rays"]
    if density.device.type == "cpu":
        samples, views = density.shape[0], fields["views"]
        _check_indices(fields["offsets"], fields["camera_ids"], samples, views)
    color, normal = density.new_empty(rays, 3), density.new_empty(rays, 3)
    opacity, depth, orientation = (density.new_empty(rays) for _ in range(3))
    _native.call(
        "shade_composite",
        like=density,
        **fields,
        color=color,
        opacity=opacity,
        depth=depth,
        normal=normal,
        orientation=orientation,
    )
    return color, opacity, depth, normal, orientation


def _check_indices(offsets: Tensor, camera_ids: Tensor | None, samples: int, views: int) -> None:
    """Check that offsets rise within the samples and camera ids are in range."""
    bounds_hold = offsets[0] >= 0 and offsets[-1] <= samples
    if not bounds_hold or bool((offsets[1:] < offsets[:-1]).any()):
        raise ValueError(f"samples.offsets must rise within [0, {samples}] (samples given)")
    if camera_ids is not None and camera_ids.numel():
        low, high = (int(v) for v in torch.aminmax(camera_ids))
        if low < 0 or high >= views:
            raise ValueError(f"camera_ids must be in [0, {views}), got values in [{low}, {high}]")


@_shade_composite.register_fake
def _(density, albedo, gradient, x, t, dt, offsets, directions, *_):  # type: ignore[no-untyped-def]
    rays = directions.shape[0]
    return (
        density.new_empty(rays, 3),
        density.new_empty(rays),
        density.new_empty(rays),
        density.new_empty(rays, 3),
        density.new_empty(rays),
    )


@custom_op(
    "shade_composite_backward",
    f"({_INPUTS}, Tensor? d_color, Tensor? d_opacity, Tensor? d_depth, Tensor? d_normal,"
    " Tensor? d_orientation) -> (Tensor, Tensor, Tensor)",
)
def _shade_composite_backward(*inputs):  # type: ignore[no-untyped-def]
    fields = _fields(inputs[: len(_NAMES)])
    density, albedo, gradient = inputs[:3]
    d_results = [None if d is None else d.contiguous() for d in inputs[len(_NAMES) :]]
    d_color, d_opacity, d_depth, d_normal, d_orientation = d_results
    d_density, d_albedo = torch.empty_like(density), torch.empty_like(albedo)
    d_gradient = torch.empty_like(albedo) if gradient is not None else albedo.new_empty(0, 3)
    _native.call(
        "shade_composite_backward",
        like=density,
        **fields,
        d_color=d_color,
        d_opacity=d_opacity,
        d_depth=d_depth,
        d_normal=d_normal,
        d_orientation=d_orientation,
        d_density=d_density,
        d_albedo=d_albedo,
        d_gradient=d_gradient,
    )
    return d_density, d_albedo, d_gradient


@_shade_composite_backward.register_fake
def _(density, albedo, gradient, *_):  # type: ignore[no-untyped-def]
    d_gradient = torch.empty_like(albedo) if gradient is not None else albedo.new_empty(0, 3)
    return torch.empty_like(density), torch.empty_like(albedo), d_gradient


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:_NUM_TENSORS])
    ctx.early_stop_eps, ctx.eps = inputs[_NUM_TENSORS:]
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    d_density, d_albedo, d_gradient = transforms.call(
        _shade_composite_backward, *saved, ctx.early_stop_eps, ctx.eps, *grads
    )
    return (
        d_density,
        d_albedo,
        None if saved[2] is None else d_gradient,
        *[None] * (_NUM_TENSORS - 3 + 2),  # all other inputs are constants
    )


def _jvp(inputs: Sequence[Any], outputs: Sequence[Any], tangents: transforms.Tangents) -> Any:
    return jvp_rules.shade_composite(tangents[0], tangents[1], tangents[2], *inputs)


transforms.register(
    _shade_composite,
    differentiable=("density", "albedo", "gradient"),
    setup_context=_setup_context,
    backward=_backward,
    jvp=_jvp,
)
transforms.register_backward(_shade_composite_backward)
