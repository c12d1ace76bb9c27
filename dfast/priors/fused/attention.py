"""Attention layers with joined projections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnAddedKVProcessor2_0, AttnProcessor2_0
from torch import Tensor, nn

from dfast.ops.gated import merge
from dfast.priors.fused.blocks import pixels_of, product, rows_of

FUSED_HEAD_SIZE = 256
"""Channels a head that flash attention goes up to."""
MOST_SCORES = 1 << 26
"""Attention weights that may be held at once; more are left to torch."""


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
