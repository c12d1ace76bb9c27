"""ResNet and transformer blocks with fused normalisation, gates and residual additions.

Shapes: B images, C channels, H x W pixels, L text tokens of D channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.activations import GEGLU
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

from dfast.ops.gated import geglu, merge
from dfast.ops.group_norm import Activation, group_norm, group_norm_and_input
from dfast.priors.fused.transformer_blocks import apply_blocks, can_fuse_blocks


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
        before_norm2 = (before_norm2.float() + block.time_emb_proj.bias.float()).to(before_norm2)
    block.register_buffer("before_norm1", None, persistent=False)
    block.register_buffer("before_norm2", before_norm2.detach(), persistent=False)
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
        bias: Any = self.conv2.bias
        if self.before_norm1 is not None:
            bias = bias + self.before_norm1
        return merge(x, h, bias, factor=1 / self.output_scale_factor)

    def _project(self, temb: Tensor) -> Tensor:
        """Return what the time embedding adds before, or scales and shifts after, norm 2."""
        if self.time_columns is not None:
            return temb[:, self.time_columns]
        time = temb if self.skip_time_act else self.nonlinearity(temb)
        return F.linear(time, self.time_emb_proj.weight, time_bias(self))

    @staticmethod
    def _convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
        return F.conv2d(x, layer.weight, None, layer.stride, layer.padding)


class FusedTransformer(Transformer2DModel):
    """Transformer over the pixels of an image, whose projections are matrix products on rows."""

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        timestep: Any = None,
        added_cond_kwargs: Any = None,
        class_labels: Any = None,
        cross_attention_kwargs: Any = None,
        attention_mask: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        return_dict: bool = True,
    ) -> Any:
        """Return a tuple of the output, [B, C, H, W]; arguments are those of diffusers.

        Args:
            hidden_states: [B, C, H, W].
            encoder_hidden_states: text, [B, L, D], or None.
        """
        masks = (attention_mask, encoder_attention_mask)
        if return_dict or any(mask is not None and mask.ndim == 2 for mask in masks):
            conditioning = (timestep, added_cond_kwargs, class_labels, cross_attention_kwargs)
            return super().forward(
                hidden_states, encoder_hidden_states, *conditioning, *masks, return_dict
            )
        rows = linear_rows(self.proj_in, to_rows(self.norm(hidden_states)))
        if can_fuse_blocks(self.transformer_blocks, cross_attention_kwargs):
            rows = apply_blocks(self.transformer_blocks, rows, encoder_hidden_states, *masks)
        else:
            for block in self.transformer_blocks:
                rows = block(
                    rows,
                    attention_mask=attention_mask,
                    encoder_hidden_states=encoder_hidden_states,
                    encoder_attention_mask=encoder_attention_mask,
                    timestep=timestep,
                    cross_attention_kwargs=cross_attention_kwargs,
                    class_labels=class_labels,
                )
        rows = linear_rows(self.proj_out, rows, bias=False)
        return (merge(hidden_states, to_pixels(rows, hidden_states), self.proj_out.bias),)


class FusedGEGLU(GEGLU):
    """GEGLU gate of a feed-forward layer; one op where no gradient is needed."""

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return value * GELU(gate) of the projected input [..., C]."""
        x = self.proj(hidden_states)
        if x.requires_grad:
            value, gate = x.chunk(2, dim=-1)
            return value * F.gelu(gate)
        return geglu(x)
