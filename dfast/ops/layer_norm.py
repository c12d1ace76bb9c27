"""The residual addition of a transformer, fused with the layer normalisation after it."""

from __future__ import annotations

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import transforms
from dfast.ops.custom_op import custom_op


def add_layer_norm(
    x: Tensor,
    add: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    *,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """Return ``s = x + add`` and its layer normalisation ``norm(s) * weight + bias``.

    ``norm`` subtracts the mean of a row and divides by ``sqrt(variance + eps)`` (arXiv 1607.06450).
    Statistics and arithmetic are float32 (float64 for float64) and see s before it is rounded. The
    variance is computed from differences. The order of all sums is fixed.

    Not differentiable.

    Args:
        x: [..., C], float16, bfloat16, float32 or float64.
        add: like `x`, or None for zeros.
        weight: [C].
        bias: [C].
        eps: added to the variance, >= 0.

    Returns:
        s, which is `x` itself where `add` is None, and its normalisation; both [..., C].

    Raises:
        ValueError: on a wrong shape, dtype, device or value, or if a tensor requires a gradient.
    """
    if _native.dense("x", x).ndim < 1 or x.shape[-1] < 1:
        raise ValueError(f"x must have shape [..., C] with C > 0, got {list(x.shape)}")
    if not eps >= 0:
        raise ValueError(f"eps must not be negative, got {eps}")
    if torch.is_grad_enabled():
        for name, tensor in {"x": x, "add": add, "weight": weight, "bias": bias}.items():
            if tensor is not None and tensor.requires_grad:
                raise ValueError(f"{name} must not require a gradient: add_layer_norm has none")
    if transforms.autocast_enabled(x):
        weight, bias = weight.to(x.dtype), bias.to(x.dtype)
        add = None if add is None else add.to(x.dtype)
    weight = _native.contiguous("weight", weight, x.shape[-1:], x)
    bias = _native.contiguous("bias", bias, x.shape[-1:], x)
    if add is not None:
        add = _native.contiguous("add", add, x.shape, x)
    total, y = transforms.call(_add_layer_norm, x.contiguous(), add, weight, bias, eps)
    return x if add is None else total, y


@custom_op(
    "add_layer_norm",
    "(Tensor x, Tensor? add, Tensor weight, Tensor bias, float eps) -> (Tensor, Tensor)",
)
def _add_layer_norm(
    x: Tensor, add: Tensor | None, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    total, y = _outputs(x, add)
    channels = x.shape[-1]
    _native.call(
        "layer_norm",
        like=x,
        x=x,
        add=add,
        weight=weight,
        bias=bias,
        rows=x.numel() // channels,
        channels=channels,
        eps=eps,
        sum=total if add is not None else None,
        y=y,
    )
    return total, y


def _outputs(x: Tensor, add: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return memory for the sum, none where nothing is added, and for the result."""
    return x.new_empty(0) if add is None else torch.empty_like(x), torch.empty_like(x)


@_add_layer_norm.register_fake
def _(x, add, weight, bias, eps):  # type: ignore[no-untyped-def]
    return _outputs(x, add)


transforms.register(_add_layer_norm)
