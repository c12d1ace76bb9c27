"""ResNet and transformer blocks with fused normalisation, gates and residual additions."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from diffusers.models.activations import GEGLU
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

from dfast.ops.gated import geglu, merge
from dfast.ops.group_norm import Activation, group_norm


def activation_of(module: nn.Module) -> Activation | None:
    """The name that `group_norm` has for it, None if it has none."""
    if type(module) is nn.SiLU:
        return "silu"
    if type(module) is nn.GELU and module.approximate == "none":
        return "gelu"
    return None


class FusedGroupNorm(nn.GroupNorm):
    """With the activation that followed it."""

    activation: Activation = "none"

    def forward(self, input: Tensor) -> Tensor:
        """input [B, C, ...]"""
        return norm(self, input, activation=self.activation)


def norm(module: nn.GroupNorm, x: Tensor, **options: Any) -> Tensor:
    """`group_norm` with the module's own numbers."""
    return group_norm(
        x, module.num_groups, module.weight, module.bias, eps=module.eps, **options
    )  # fmt: skip


def rows_of(x: Tensor) -> Tensor:
    """Pixels [B, C, H, W] as rows [B, H W, C]: a view of channels-last memory."""
    return x.movedim(1, -1).flatten(1, 2)


def pixels_of(rows: Tensor, like: Tensor) -> Tensor:
    """Rows [B, H W, C] as pixels [B, C, H, W] of the size of `like`."""
    return rows.unflatten(1, like.shape[2:]).movedim(-1, 1)


def product(layer: Any, x: Tensor, *, bias: bool = True) -> Tensor:
    """A linear layer or 1x1 convolution on rows [B, N, C]."""
    return F.linear(x, layer.weight.flatten(1), layer.bias if bias else None)


def _known_resnet(block: Any) -> bool:
    embedding = block.time_emb_proj
    return (
        activation_of(block.nonlinearity) is not None
        and block.time_embedding_norm in ("default", "scale_shift")
        and all(type(c) is nn.Conv2d and c.bias is not None for c in (block.conv1, block.conv2))
        and (embedding is None or type(embedding) is nn.Linear)
        and all(type(n) is FusedGroupNorm for n in (block.norm1, block.norm2))
    )


def _fuse_resnet(block: Any) -> None:
    before_norm2 = block.conv1.bias
    if block.time_emb_proj is not None and block.time_embedding_norm == "default":
        before_norm2 = (before_norm2.float() + block.time_emb_proj.bias.float()).to(before_norm2)
    block.register_buffer("before_norm2", before_norm2.detach(), persistent=False)
    block.__class__ = FusedResnet


class FusedResnet(ResnetBlock2D):
    """norm, act, conv, norm, act, conv beside a shortcut; the time is told between the two."""

    before_norm2: Tensor  # [C] what is added before the second norm whatever the time

    def forward(
        self, input_tensor: Tensor, temb: Tensor | None = None, *_: Any, **__: Any
    ) -> Tensor:
        """input_tensor [B, C, H, W], temb [B, D] or None"""
        act = activation_of(self.nonlinearity)
        x, h = input_tensor, norm(self.norm1, input_tensor, activation=act)
        resize = self.upsample or self.downsample
        if resize is not None:
            x, h = resize(x), resize(h)
        h = self._convolve(self.conv1, h)
        add, scale_shift = self.before_norm2, None
        if self.time_emb_proj is not None and temb is not None:
            time = temb if self.skip_time_act else self.nonlinearity(temb)
            if self.time_embedding_norm == "default":
                add = F.linear(time, self.time_emb_proj.weight, add)
            else:
                scale_shift = self.time_emb_proj(time)
        h = norm(self.norm2, h, add=add, scale_shift=scale_shift, activation=act)
        h = self._convolve(self.conv2, h)
        if self.conv_shortcut is not None:
            x = pixels_of(product(self.conv_shortcut, rows_of(x)), x)
        bias: Any = self.conv2.bias
        return merge(x, h, bias, factor=1 / self.output_scale_factor)

    @staticmethod
    def _convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
        return F.conv2d(x, layer.weight, None, layer.stride, layer.padding)


class FusedTransformer(Transformer2DModel):
    """Pixels as rows through the blocks, beside a shortcut."""

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
        """hidden_states [B, C, H, W], encoder_hidden_states [B, L, D]"""
        masks = (attention_mask, encoder_attention_mask)
        if return_dict or any(mask is not None and mask.ndim == 2 for mask in masks):
            return super().forward(
                hidden_states, encoder_hidden_states, timestep, added_cond_kwargs, class_labels,
                cross_attention_kwargs, *masks, return_dict,
            )  # fmt: skip
        rows = product(self.proj_in, rows_of(self.norm(hidden_states)))
        for block in self.transformer_blocks:
            rows = block(
                rows, attention_mask=attention_mask, encoder_hidden_states=encoder_hidden_states,
                encoder_attention_mask=encoder_attention_mask, timestep=timestep,
                cross_attention_kwargs=cross_attention_kwargs, class_labels=class_labels,
            )  # fmt: skip
        rows = product(self.proj_out, rows, bias=False)
        return (merge(hidden_states, pixels_of(rows, hidden_states), self.proj_out.bias),)


class FusedGEGLU(GEGLU):
    """The gate of a feed-forward layer."""

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """hidden_states [..., C]"""
        x = self.proj(hidden_states)
        if x.requires_grad:
            value, gate = x.chunk(2, dim=-1)
            return value * F.gelu(gate)
        return geglu(x)
