"""Group normalisation, gates, and pixels as rows of matrix products.

Shapes: B images, C channels, H x W pixels.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from diffusers.models.activations import GEGLU
from torch import Tensor, nn

from dfast.ops.gated import geglu
from dfast.ops.group_norm import Activation, group_norm


def activation_name(module: nn.Module) -> Activation | None:
    """Return the name of an activation in `dfast.ops.group_norm`, None if it has none."""
    if type(module) is nn.SiLU:
        return "silu"
    if type(module) is nn.GELU and module.approximate == "none":
        return "gelu"
    return None


class FusedGroupNorm(nn.GroupNorm):
    """Group normalisation with the activation that follows it."""

    activation: Activation = "none"

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised and activated input, [B, C, ...]."""
        return apply_group_norm(self, input, activation=self.activation)


def apply_group_norm(module: nn.GroupNorm, x: Tensor, **options: Any) -> Tensor:
    """Return `group_norm` of x with the parameters of a module.

    Args:
        module: with affine parameters.
        x: [B, C, ...].
        options: further arguments of `dfast.ops.group_norm.group_norm`.
    """
    added = (options.get("add"), options.get("scale_shift"))
    if any(tensor is not None and tensor.requires_grad for tensor in added):
        return _differentiable_group_norm(module, x, **options)
    options |= {"eps": module.eps}
    return group_norm(x, module.num_groups, module.weight, module.bias, **options)


def _differentiable_group_norm(
    module: nn.GroupNorm,
    x: Tensor,
    *,
    add: Tensor | None = None,
    scale_shift: Tensor | None = None,
    activation: Activation | None = None,
) -> Tensor:
    """Return `apply_group_norm` in plain torch, which has a gradient for every argument."""
    if add is not None:
        x = x + add[..., None, None]
    x = F.group_norm(x, module.num_groups, module.weight, module.bias, module.eps)
    if scale_shift is not None:
        scale, shift = scale_shift[..., None, None].chunk(2, 1)
        x = x * (1 + scale) + shift
    if activation == "silu":
        return F.silu(x)
    return F.gelu(x) if activation == "gelu" else x


def to_rows(x: Tensor) -> Tensor:
    """Return pixels [B, C, H, W] as rows [B, H W, C], a view if memory is channels-last."""
    return x.movedim(1, -1).flatten(1, 2)


def to_pixels(rows: Tensor, like: Tensor) -> Tensor:
    """Return rows [B, H W, C] as pixels [B, C, H, W] of the size of `like`."""
    return rows.unflatten(1, like.shape[2:]).movedim(-1, 1)


def linear_rows(layer: Any, x: Tensor, *, bias: bool = True) -> Tensor:
    """Apply a linear layer or 1x1 convolution to rows.

    Args:
        layer: with `weight` and `bias`.
        x: rows, [B, N, C].
        bias: whether to add the bias.
    """
    return F.linear(x, layer.weight.flatten(1), layer.bias if bias else None)


class FusedGEGLU(GEGLU):
    """GEGLU gate of a feed-forward layer; one op where no gradient is needed."""

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return value * GELU(gate) of the projected input [..., C]."""
        x = self.proj(hidden_states)
        if x.requires_grad:
            value, gate = x.chunk(2, dim=-1)
            return value * F.gelu(gate)
        return geglu(x)
