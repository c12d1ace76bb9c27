"""Element-wise operations of a diffusion model, with one read and one write each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import transforms
from dfast.ops.custom_op import custom_op


def geglu(x: Tensor) -> Tensor:
    """Return ``value * gelu(gate)`` of ``x = [value, gate]`` (arXiv 2002.05202), with exact gelu.

    Not differentiable.

    Args:
        x: [..., 2 C], float16, bfloat16, float32 or float64; computed in float32 (float64).

    Returns:
        [..., C].

    Raises:
        ValueError: on an odd last size, or if x requires a gradient.
    """
    if _native.dense("x", x).ndim < 1 or x.shape[-1] % 2:
        raise ValueError(f"x must have shape [..., 2 C], got {list(x.shape)}")
    if torch.is_grad_enabled() and x.requires_grad:
        raise ValueError("x must not require a gradient: geglu has none")
    y: Tensor = transforms.call(_geglu, x.contiguous())
    return y


@custom_op("geglu", "(Tensor x) -> Tensor")
def _geglu(x: Tensor) -> Tensor:
    channels = x.shape[-1] // 2
    y = x.new_empty(*x.shape[:-1], channels)
    rows = y.numel() // max(channels, 1)
    _native.call("geglu", like=x, x=x, rows=rows, channels=channels, y=y)
    return y


@_geglu.register_fake
def _(x):  # type: ignore[no-untyped-def]
    return x.new_empty(*x.shape[:-1], x.shape[-1] // 2)


def merge(a: Tensor, b: Tensor, bias: Tensor, *, factor: float = 1.0) -> Tensor:
    """Return ``(a + b + bias) * factor``, the residual addition of a block.

    Differentiable in `a` and `b`.

    Args:
        a: [B, C, ...], float16, bfloat16, float32 or float64; computed in float32 (float64).
            Channels-last memory is read directly, any other layout is copied first.
        b: [B, C, ...], like `a`.
        bias: [C], bias of the convolution that computed `b`; it gets no gradient.
        factor: finite factor of the sum.

    Returns:
        [B, C, ...] in channels-last memory.

    Raises:
        ValueError: on a wrong shape, dtype, device or factor, or if `bias` requires a gradient.
    """
    a, b, bias = _same_dtype(a, b, bias)
    if _native.dense("a", a).ndim < 2:
        raise ValueError(f"a must have shape [B, C, ...], got {list(a.shape)}")
    if torch.is_grad_enabled() and bias.requires_grad:
        raise ValueError("bias must not require a gradient: merge gives a's and b's only")
    if not -math.inf < factor < math.inf:  # isfinite takes no symbolic number of torch.compile
        raise ValueError(f"factor must be finite, got {factor}")
    bias = _native.contiguous("bias", bias, (a.shape[1],), a)
    if _native.dense("b", b).shape != a.shape or b.dtype != a.dtype or b.device != a.device:
        raise ValueError(
            f"b must be {a.dtype} {list(a.shape)} on {a.device} as a is, got {b.dtype} "
            f"{list(b.shape)} on {b.device}"
        )
    left = a.movedim(1, -1).contiguous()
    y: Tensor = transforms.call(_merge, left, b.movedim(1, -1).contiguous(), bias, factor)
    return y.movedim(-1, 1)


def _same_dtype(a: Tensor, b: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return all in the wider dtype of `a` and `b` if autocast is enabled, else as they are."""
    if not transforms.autocast_enabled(a):
        return a, b, bias
    dtype = torch.promote_types(a.dtype, b.dtype)
    return a.to(dtype), b.to(dtype), bias.to(dtype)


@custom_op(
    "merge",
    "(Tensor a, Tensor b, Tensor bias, float factor) -> Tensor",
)
def _merge(a: Tensor, b: Tensor, bias: Tensor, factor: float) -> Tensor:
    y, channels = torch.empty_like(a), a.shape[-1]
    _native.call(
        "merge",
        like=a,
        a=a,
        b=b,
        bias=bias,
        rows=a.numel() // max(channels, 1),
        channels=channels,
        factor=factor,
        y=y,
    )
    return y


@_merge.register_fake
def _(a, b, bias, factor):  # type: ignore[no-untyped-def]
    return torch.empty_like(a)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.factor = inputs[-1]


def _backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    dx = dy if ctx.factor == 1 else dy * ctx.factor
    return (
        dx,
        dx,
        None,  # bias
        None,  # factor
    )


def _jvp(inputs: Sequence[Any], outputs: Sequence[Any], tangents: transforms.Tangents) -> Any:
    d_a, d_b = tangents[:2]
    total = d_b if d_a is None else d_a if d_b is None else d_a + d_b
    return None if total is None else total * inputs[3]


transforms.register(_geglu)
transforms.register(
    _merge,
    differentiable=("a", "b"),
    setup_context=_setup_context,
    backward=_backward,
    jvp=_jvp,
)
