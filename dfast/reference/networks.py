"""The fused operations of diffusion models in plain PyTorch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dfast.ops.group_norm import Activation


def group_norm(
    x: Tensor,
    groups: int,
    weight: Tensor,
    bias: Tensor,
    *,
    eps: float = 1e-5,
    add: Tensor | None = None,
    scale_shift: Tensor | None = None,
    activation: Activation = "none",
) -> Tensor:
    """Normalise groups of channels as :func:`dfast.ops.group_norm.group_norm` does."""

    def of_channels(rows: Tensor) -> Tensor:
        return rows[(..., *(None,) * (x.ndim - 2))]

    u = x if add is None else x + of_channels(add)
    members = u.unflatten(1, (groups, -1)).flatten(2)  # [B, groups, numbers]
    mean = members.mean(-1, keepdim=True)
    variance = (members - mean).square().mean(-1, keepdim=True)
    n = ((members - mean) / (variance + eps).sqrt()).view_as(u)
    z = n * of_channels(weight) + of_channels(bias)
    if scale_shift is not None:
        scale, shift = scale_shift.chunk(2, 1)
        z = z * (1 + of_channels(scale)) + of_channels(shift)
    return {"none": lambda v: v, "silu": F.silu, "gelu": F.gelu}[activation](z)


def geglu(x: Tensor) -> Tensor:
    """Return value * gelu(gate) as :func:`dfast.ops.gated.geglu` does."""
    value, gate = x.chunk(2, -1)
    return value * F.gelu(gate)


def merge(a: Tensor, b: Tensor, bias: Tensor, *, factor: float = 1.0) -> Tensor:
    """Return (a + b + bias) * factor as :func:`dfast.ops.gated.merge` does."""
    return (a + b + bias[(..., *(None,) * (a.ndim - 2))]) * factor


def add_layer_norm(
    x: Tensor, add: Tensor | None, weight: Tensor, bias: Tensor, *, eps: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """Return a sum and its normalisation as :func:`dfast.ops.layer_norm.add_layer_norm` does."""
    total = x if add is None else x + add
    mean = total.mean(-1, keepdim=True)
    variance = (total - mean).square().mean(-1, keepdim=True)
    return total, (total - mean) / (variance + eps).sqrt() * weight + bias


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attend as :func:`dfast.ops.attention.attention` does."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)
