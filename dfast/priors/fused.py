"""The same diffusion model in fewer kernels: faster from the first call, with nothing to compile.

`tune` changes the class of some modules of a diffusers UNet or VAE in place. What they compute
stays what diffusers computes, up to rounding; weights stay where they are. What changes:

- group normalisation, the activation behind it and what is added before it are one op;
- a convolution's bias is added by whoever reads or merges its result next;
- attention reads its queries, keys and values out of one product; above the head sizes that fused
  attention kernels are made for it is two products and a softmax;
- a 1x1 convolution is a matrix product, and the gate of a feed-forward layer one op.

Modules are recognised by their exact class and left alone where something about them is unusual.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.activations import GEGLU
from diffusers.models.attention_processor import (
    Attention,
    AttnAddedKVProcessor2_0,
    AttnProcessor2_0,
)
from diffusers.models.resnet import ResnetBlock2D, ResnetBlockCondNorm2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

from ..ops.gated import geglu, merge
from ..ops.group_norm import Activation, group_norm

FUSED_HEAD_SIZE = 256
"""Channels a head that flash attention goes up to."""
MOST_SCORES = 1 << 26
"""Attention weights that may be held at once; more are left to torch."""


def tune(module: nn.Module) -> nn.Module:
    """Make `module` faster in place, and return it.

    module: a UNet2DConditionModel, an AutoencoderKL or its encoder, or any part of them, in eval
    mode, its parameters frozen, where and in the precision in which it will run; best in
    channels-last memory. Gradients flow to its inputs. Weights loaded or moved later are not seen.

    Raises ValueError when it trains.
    """
    if module.training or any(p.requires_grad for p in module.parameters()):
        raise ValueError("module must be in eval mode with frozen parameters, got one that trains")
    for part in list(module.modules()):
        if type(part) is nn.GroupNorm and part.affine:
            part.__class__ = FusedGroupNorm
    for part in list(module.modules()):
        if type(part) is ResnetBlock2D and _known_resnet(part):
            _fuse_resnet(part)
        elif type(part) is Transformer2DModel and part.is_input_continuous:
            part.__class__ = FusedTransformer
        elif type(part) is Attention and _known_attention(part):
            _fuse_attention(part)
        elif type(part) is GEGLU:
            part.__class__ = FusedGEGLU
        _join_last_activation(part)
    _act_once(module)
    return module


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


def _known_attention(layer: Any) -> bool:
    if type(layer.processor) not in (AttnProcessor2_0, AttnAddedKVProcessor2_0):
        return False
    products = [layer.to_q, layer.to_k, layer.to_v, layer.add_k_proj, layer.add_v_proj]
    return (
        all(p is None or type(p) is nn.Linear for p in products)
        and type(layer.to_out[0]) is nn.Linear
        and layer.to_out[0].bias is not None
        and all(n is None for n in (layer.spatial_norm, layer.norm_q, layer.norm_k))
        and not layer.fused_projections
        and layer.rescale_output_factor == 1
    )


def _fuse_attention(layer: Any) -> None:
    """One weight for all that reads the same rows; the layers keep views of it."""
    own, text = [layer.to_q], []
    if type(layer.processor) is AttnAddedKVProcessor2_0:
        text = [layer.add_k_proj, layer.add_v_proj]
        own += [] if layer.only_cross_attention else [layer.to_k, layer.to_v]
        processor: Any = PixelAttention()
    else:
        (text if layer.is_cross_attention else own).extend([layer.to_k, layer.to_v])
        processor = RowAttention()
    _join(layer, "own", own)
    _join(layer, "text", text)
    layer.set_processor(processor)


def _join(layer: Any, name: str, products: Sequence[nn.Linear]) -> None:
    """Buffers <name>_weight and <name>_bias of the products one above the other."""
    weight = bias = None
    if products:
        weight = torch.cat([p.weight.detach() for p in products])
        parts = weight.split([p.out_features for p in products])
        for linear, part in zip(products, parts, strict=True):
            linear.weight.data = part
        if products[0].bias is not None:
            bias = torch.cat([p.bias.detach() for p in products])
    layer.register_buffer(f"{name}_weight", weight, persistent=False)
    layer.register_buffer(f"{name}_bias", bias, persistent=False)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Attention of rows q [B, N, C] to k and v [B, M, C] in `heads` equal parts; [B, N, C]."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    size, scores = q.shape[-1], q.shape[0] * heads * q.shape[2] * k.shape[2]
    if size > FUSED_HEAD_SIZE and mask is None and scores <= MOST_SCORES:
        out = ((q * size**-0.5) @ k.mT).softmax(-1) @ v
    else:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return out.transpose(1, 2).flatten(2)


def keys_and_values(attn: Any, rows: Tensor, text: Tensor | None) -> Tensor:
    """Those made of the text [B, M, D], or of the rows themselves where there is none."""
    if text is None:
        text = rows
    elif attn.norm_cross is not None:
        text = attn.norm_encoder_hidden_states(text)
    return F.linear(text, attn.text_weight, attn.text_bias)


class RowAttention:
    """AttnProcessor2_0: of rows to themselves or to a text, or of pixels to themselves."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """hidden_states [B, N, C] or [B, C, H, W], encoder_hidden_states [B, M, D]"""
        pixels = hidden_states.ndim == 4
        rows = rows_of(hidden_states) if pixels else hidden_states
        if attn.group_norm is not None:
            rows = attn.group_norm(rows.mT).mT
        own, text = F.linear(rows, attn.own_weight, attn.own_bias), encoder_hidden_states
        if not attn.is_cross_attention:
            q, k, v = own.chunk(3, -1)
            if text is not None:  # given to a layer that was made for one kind of rows
                k, v = attn.to_k(text), attn.to_v(text)
        else:
            q, (k, v) = own, keys_and_values(attn, rows, text).chunk(2, -1)
        if attention_mask is not None:
            batch, length = k.shape[:2]
            attention_mask = attn.prepare_attention_mask(attention_mask, length, batch)
            attention_mask = attention_mask.view(batch, attn.heads, -1, attention_mask.shape[-1])
        out = attend(q, k, v, attn.heads, attention_mask)
        if not pixels:
            out = attn.to_out[0](out)
            return out + hidden_states if attn.residual_connection else out
        out = pixels_of(product(attn.to_out[0], out, bias=False), hidden_states)
        if attn.residual_connection:
            return merge(hidden_states, out, attn.to_out[0].bias)
        return out + attn.to_out[0].bias[:, None, None]


class PixelAttention:
    """AttnAddedKVProcessor2_0: of pixels to themselves and to a text, beside a shortcut."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """hidden_states [B, C, H, W], encoder_hidden_states [B, M, D]"""
        rows = rows_of(hidden_states)
        batch, length = rows.shape[:2]
        mask = attn.prepare_attention_mask(attention_mask, length, batch, out_dim=4)
        own = F.linear(attn.group_norm(rows.mT).mT, attn.own_weight, attn.own_bias)
        keys = keys_and_values(attn, rows, encoder_hidden_states)
        q, rest = own.tensor_split([attn.inner_dim], -1)
        if not attn.only_cross_attention:
            keys = torch.cat([keys, rest], 1)
        k, v = keys.chunk(2, -1)
        out = product(attn.to_out[0], attend(q, k, v, attn.heads, mask), bias=False)
        return merge(hidden_states, pixels_of(out, hidden_states), attn.to_out[0].bias)


def _join_last_activation(part: Any) -> None:
    """A model's last normalisation takes over the activation behind it."""
    last, act = getattr(part, "conv_norm_out", None), getattr(part, "conv_act", None)
    if type(last) is FusedGroupNorm and act is not None and (kind := activation_of(act)):
        last.activation = kind
        part.conv_act = nn.Identity()


def _act_once(unet: Any) -> None:
    """The time embedding's activation, the same before each of its products, taken once."""
    blocks = [m for m in unet.modules() if hasattr(m, "time_emb_proj")]
    if not hasattr(unet, "time_embed_act") or unet.time_embed_act is not None or not blocks:
        return
    kinds = {activation_of(b.nonlinearity) for b in blocks if type(b) is FusedResnet}
    whole = all(type(b) is FusedResnet and not b.skip_time_act for b in blocks)
    if whole and len(kinds) == 1 and not _others_hear_time(unet):
        unet.time_embed_act = blocks[0].nonlinearity
        for block in blocks:
            block.skip_time_act = True


def _others_hear_time(unet: nn.Module) -> bool:
    return any(
        type(m) is ResnetBlockCondNorm2D or getattr(m, "spatial_norm", None) is not None
        for m in unet.modules()
    )
