"""ResNet blocks with fused normalisation and residual additions, and one projection of the time.

Shapes: B images, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from dfast.ops.gated import merge
from dfast.ops.group_norm import group_norm_and_input
from dfast.priors.fused.layers import (
    FusedGroupNorm,
    activation_name,
    apply_group_norm,
    linear_rows,
    to_pixels,
    to_rows,
)


def can_fuse_resnet(block: Any) -> bool:
    """Return whether `FusedResnet` supports every setting of a ResnetBlock2D."""
    embedding = block.time_emb_proj
    return (
        activation_name(block.nonlinearity) is not None
        and block.time_embedding_norm in ("default", "scale_shift")
        and all(type(c) is nn.Conv2d and c.bias is not None for c in (block.conv1, block.conv2))
        and (embedding is None or type(embedding) is nn.Linear)
        and all(type(n) is FusedGroupNorm for n in (block.norm1, block.norm2))
    )


def fuse_resnet(block: Any) -> None:
    """Turn a ResnetBlock2D, for which `can_fuse_resnet` holds, into a FusedResnet in place."""
    before_norm2 = block.conv1.bias
    if block.time_emb_proj is not None and block.time_embedding_norm == "default":
        wide = torch.promote_types(before_norm2.dtype, torch.float32)
        before_norm2 = (before_norm2.to(wide) + block.time_emb_proj.bias.to(wide)).to(before_norm2)
    block.register_buffer("before_norm1", None, persistent=False)
    block.register_buffer("before_norm2", before_norm2.detach(), persistent=False)
    block.register_buffer("after_conv2", block.conv2.bias.detach(), persistent=False)
    block.__class__ = FusedResnet


def time_bias(block: Any) -> Tensor:
    """Return the bias of a block's projected time embedding, with all that norm 2 adds besides."""
    bias: Tensor = (
        block.before_norm2
        if block.time_embedding_norm == "default"
        else block.time_emb_proj.bias.detach()
    )
    return bias


class TimeProjections(nn.Module):
    """Activate a time embedding and project it for all ResNet blocks in one product.

    The blocks' layers keep views of the stacked weights.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, activation: nn.Module, blocks: Sequence[Any]) -> None:
        """Stack the projections of some FusedResnet, which take their columns from then on.

        Args:
            activation: of the time embedding.
            blocks: with a projection each.
        """
        super().__init__()
        self.activation = activation
        layers = [block.time_emb_proj for block in blocks]
        weight = torch.cat([layer.weight.detach() for layer in layers])
        ends = list(accumulate((layer.out_features for layer in layers), initial=0))
        for block, layer, (start, end) in zip(blocks, layers, pairwise(ends), strict=True):
            layer.weight.data = weight[start:end]
            block.time_columns = slice(start, end)
        self.register_buffer("weight", weight, persistent=False)
        bias = torch.cat([time_bias(block) for block in blocks])
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, time: Tensor) -> Tensor:
        """Return all projections, [B, sum of the blocks' columns], of an embedding [B, D]."""
        return F.linear(self.activation(time), self.weight, self.bias)


class FusedResnet(ResnetBlock2D):
    """ResNet block with fused GroupNorm and activation.

    The time embedding is added between the two convolutions. A convolution's bias is added by the
    operation that reads its result: the second norm, or the residual addition.
    """

    before_norm1: Tensor | None
    """[C] bias that the block's input lacks"""
    before_norm2: Tensor
    """[C] biases that are added before the second norm"""
    after_conv2: Tensor
    """[C] biases that are added at the end"""
    time_columns: slice | None = None
    """Of this block in a time embedding that `TimeProjections` has projected, biases included."""

    def forward(
        self, input_tensor: Tensor, temb: Tensor | None = None, *_: Any, **__: Any
    ) -> Tensor:
        """Return the block's output, [B, C', H', W'].

        Args:
            input_tensor: [B, C, H, W].
            temb: time embedding, [B, D], or None.
        """
        act = activation_name(self.nonlinearity)
        norm1: Any = self.norm1
        h, x = group_norm_and_input(
            input_tensor,
            norm1.num_groups,
            norm1.weight,
            norm1.bias,
            eps=norm1.eps,
            add=self.before_norm1,
            activation=act,
        )
        resize = self.upsample or self.downsample
        if resize is not None:
            x, h = resize(x), resize(h)
        h = self._convolve(self.conv1, h)
        add, scale_shift = self.before_norm2, None
        if self.time_emb_proj is not None and temb is not None:
            time = self._project(temb)
            if self.time_embedding_norm == "default":
                add = time
            else:
                scale_shift = time
        h = apply_group_norm(self.norm2, h, add=add, scale_shift=scale_shift, activation=act)
        h = self._convolve(self.conv2, h)
        if self.conv_shortcut is not None:
            x = to_pixels(linear_rows(self.conv_shortcut, to_rows(x)), x)
        return merge(x, h, self.after_conv2, factor=1 / self.output_scale_factor)

    def _project(self, temb: Tensor) -> Tensor:
        """Return what the time embedding adds before, or scales and shifts after, norm 2."""
        if self.time_columns is not None:
            return temb[:, self.time_columns]
        time = temb if self.skip_time_act else self.nonlinearity(temb)
        return F.linear(time, self.time_emb_proj.weight, time_bias(self))

    @staticmethod
    def _convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
        return F.conv2d(x, layer.weight, None, layer.stride, layer.padding)
