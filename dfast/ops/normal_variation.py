"""How much the normals of neighbouring pixels differ, with the gradient from the same launch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import transforms
from dfast.ops.custom_op import custom_op


def normal_variation(
    normal: Tensor, opacity: Tensor, depth: Tensor, *, edge: float, step: float
) -> Tensor:
    """Return how much the normals of neighbouring pixels differ: lumps cost, edges hardly do.

    The difference d of two neighbours costs d^2 / (d^2 + c^2), which stops growing beyond c (Geman
    and McClure 1985), weighted by the smaller of their opacities; a pair across a step in depth
    costs nothing. The mean over the pairs along each axis is taken, and the two are added, in a
    fixed order.

    Differentiable once in `normal`.

    Args:
        normal: [B, 3, H, W] sums of w n, H, W >= 2, float32 or float64. Memory with the three
            numbers of a pixel next to each other is read directly, any other is copied first.
        opacity: [B, 1, H, W] in [0, 1]; a constant here.
        depth: [B, 1, H, W] sums of w t; a constant here. Over the opacity, which counts as 0.001
            at least, it is the distance of what a pixel shows.
        edge: c > 0.
        step: difference of two distances from which on they are of different surfaces, > 0.

    Returns:
        Scalar in [0, 2].

    Raises:
        ValueError: on a wrong shape, dtype, device or value.
    """
    if _native.dense("normal", normal).ndim != 4 or normal.shape[1] != 3:
        raise ValueError(f"normal must have shape [B, 3, H, W], got {list(normal.shape)}")
    if min(normal.shape[0], normal.shape[2] - 1, normal.shape[3] - 1) < 1:
        raise ValueError(
            f"normal must have an image of 2 x 2 pixels or more, got {list(normal.shape)}"
        )
    for name, value in {"edge": edge, "step": step}.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    normal, opacity, depth = transforms.widen(normal, opacity, depth)
    one = (normal.shape[0], 1, *normal.shape[2:])
    constants = (
        _native.contiguous(name, transforms.constant(tensor), one, normal)
        for name, tensor in {"opacity": opacity, "depth": depth}.items()
    )
    pixels = normal.movedim(1, -1).contiguous()
    cost: Tensor = transforms.call(_normal_variation, pixels, *constants, edge, step)[0]
    return cost


@custom_op(
    "normal_variation",
    "(Tensor normal, Tensor opacity, Tensor depth, float edge, float step) -> (Tensor, Tensor)",
)
def _normal_variation(
    normal: Tensor, opacity: Tensor, depth: Tensor, edge: float, step: float
) -> tuple[Tensor, Tensor]:
    views, height, width = normal.shape[:3]
    gradient, cost = torch.empty_like(normal), normal.new_empty(views * height)
    _native.call(
        "normal_variation",
        like=normal,
        normal=normal,
        opacity=opacity,
        depth=depth,
        views=views,
        height=height,
        width=width,
        edge=edge,
        step=step,
        cost=cost,
        gradient=gradient,
    )
    # Each row's cost is over the number of pairs already.
    return cost.sum(), gradient


@_normal_variation.register_fake
def _(normal, opacity, depth, edge, step):  # type: ignore[no-untyped-def]
    return normal.new_empty(()), torch.empty_like(normal)


@custom_op("normal_variation_backward", "(Tensor normal, Tensor gradient, Tensor d) -> Tensor")
def _normal_variation_backward(normal: Tensor, gradient: Tensor, d: Tensor) -> Tensor:
    """Return the gradient times that of the cost; with `normal`, second derivatives are refused."""
    return d * gradient


@_normal_variation_backward.register_fake
def _(normal, gradient, d):  # type: ignore[no-untyped-def]
    return torch.empty_like(gradient)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(inputs[0], output[1])


def _backward(ctx: Any, d_cost: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    d_normal = None
    if d_cost is not None:
        d_normal = transforms.call(_normal_variation_backward, *ctx.saved_tensors, d_cost)
    return (
        d_normal,
        None,  # opacity
        None,  # depth
        None,  # edge
        None,  # step
    )


def _jvp(inputs: Sequence[Any], outputs: Sequence[Any], tangents: transforms.Tangents) -> Any:
    d_normal = tangents[0]
    if d_normal is None:
        return None, None
    one = torch.ones_like(outputs[0])
    gradient = transforms.call(_normal_variation_backward, inputs[0], outputs[1], one)
    return (d_normal * gradient).sum(), None  # gradient


transforms.register(
    _normal_variation,
    differentiable=("normal",),
    setup_context=_setup_context,
    backward=_backward,
    jvp=_jvp,
)
transforms.register_backward(_normal_variation_backward)
