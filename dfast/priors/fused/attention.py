"""Attention layers whose projections of the same input are one matrix product.

Shapes: B images, C channels, H x W pixels, N = H W rows, M text tokens of D channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnAddedKVProcessor2_0, AttnProcessor2_0
from torch import Tensor, nn

from dfast.ops.attention import attend as ops_attend
from dfast.ops.gated import merge
from dfast.priors.fused.chunked_attention import chunked_attention
from dfast.priors.fused.layers import linear_rows, to_pixels, to_rows

MAX_FLASH_HEAD_SIZE = 256
"""Largest channels a head for which torch has flash attention kernels."""
MAX_SCORES = 1 << 26
"""Most attention weights (B heads N M) of a wide head that are kept for the backward pass."""


def can_fuse_attention(layer: Any) -> bool:
    """Return whether `fuse_attention` supports every setting of a diffusers Attention."""
    if type(layer.processor) not in (AttnProcessor2_0, AttnAddedKVProcessor2_0):
        return False
    projections = [layer.to_q, layer.to_k, layer.to_v, layer.add_k_proj, layer.add_v_proj]
    return (
        all(p is None or type(p) is nn.Linear for p in projections)
        and type(layer.to_out[0]) is nn.Linear
        and layer.to_out[0].bias is not None
        and all(n is None for n in (layer.spatial_norm, layer.norm_q, layer.norm_k))
        and not layer.fused_projections
        and layer.rescale_output_factor == 1
    )


def fuse_attention(layer: Any) -> None:
    """Stack the weights of all projections that read the same rows, in place.

    The original layers keep views of the stacked weights.

    Args:
        layer: an Attention for which `can_fuse_attention` holds.
    """
    own, text = [layer.to_q], []
    if type(layer.processor) is AttnAddedKVProcessor2_0:
        text = [layer.add_k_proj, layer.add_v_proj]
        own += [] if layer.only_cross_attention else [layer.to_k, layer.to_v]
        processor: Any = PixelAttention()
    else:
        (text if layer.is_cross_attention else own).extend([layer.to_k, layer.to_v])
        processor = RowAttention()
    _stack_projections(layer, "own", own)
    _stack_projections(layer, "text", text)
    layer.set_processor(processor)


def _stack_projections(layer: Any, name: str, projections: Sequence[nn.Linear]) -> None:
    """Register the buffers <name>_weight and <name>_bias: projections stacked by output rows."""
    weight = bias = None
    if projections:
        weight = torch.cat([p.weight.detach() for p in projections])
        parts = weight.split([p.out_features for p in projections])
        for linear, part in zip(projections, parts, strict=True):
            linear.weight.data = part
        if projections[0].bias is not None:
            bias = torch.cat([p.bias.detach() for p in projections])
    layer.register_buffer(f"{name}_weight", weight, persistent=False)
    layer.register_buffer(f"{name}_bias", bias, persistent=False)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Return multi-head attention, [B, N, C].

    Args:
        q: queries, [B, N, C].
        k: keys, [B, M, C].
        v: values, [B, M, C].
        heads: equal parts of C.
        mask: added to the scores, broadcast to [B, heads, N, M]; or None.
    """
    size = q.shape[-1] // heads
    if size <= MAX_FLASH_HEAD_SIZE or mask is not None:
        return ops_attend(q, k, v, heads, mask)
    scores = q.shape[0] * heads * q.shape[1] * k.shape[1]
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    if scores <= MAX_SCORES and q.dtype != torch.float32:
        out = ((q * size**-0.5) @ k.mT).softmax(-1) @ v
    else:  # float32, too: its products are then as precise as its convolutions, and as fast
        out = chunked_attention(*(x.flatten(0, 1) for x in (q, k, v))).view(*q.shape)
    return out.transpose(1, 2).flatten(2)


def project_keys_values(attn: Any, rows: Tensor, text: Tensor | None) -> Tensor:
    """Return keys and values, [B, M, 2 C], of a text or, without one, of the rows themselves.

    Args:
        attn: a fused Attention.
        rows: [B, N, C].
        text: [B, M, D] or None.
    """
    if text is None:
        text = rows
    elif attn.norm_cross is not None:
        text = attn.norm_encoder_hidden_states(text)
    return F.linear(text, attn.text_weight, attn.text_bias)


class RowAttention:
    """Replace AttnProcessor2_0: attention of rows or pixels to themselves, or of rows to a text."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Return the attended input, in its shape.

        Args:
            attn: a fused Attention.
            hidden_states: [B, N, C] or [B, C, H, W].
            encoder_hidden_states: text, [B, M, D], or None.
            attention_mask: as in diffusers.
            temb: not used.
        """
        pixels = hidden_states.ndim == 4
        rows = to_rows(hidden_states) if pixels else hidden_states
        if attn.group_norm is not None:
            rows = attn.group_norm(rows.mT).mT
        own, text = F.linear(rows, attn.own_weight, attn.own_bias), encoder_hidden_states
        if not attn.is_cross_attention:
            q, k, v = own.chunk(3, -1)
            if text is not None:  # a self-attention layer may be given a text, too
                k, v = attn.to_k(text), attn.to_v(text)
        else:
            q, (k, v) = own, project_keys_values(attn, rows, text).chunk(2, -1)
        if attention_mask is not None:
            batch, length = k.shape[:2]
            attention_mask = attn.prepare_attention_mask(attention_mask, length, batch)
            attention_mask = attention_mask.view(batch, attn.heads, -1, attention_mask.shape[-1])
        out = attend(q, k, v, attn.heads, attention_mask)
        if not pixels:
            out = attn.to_out[0](out)
            return out + hidden_states if attn.residual_connection else out
        out = to_pixels(linear_rows(attn.to_out[0], out, bias=False), hidden_states)
        if attn.residual_connection:
            return merge(hidden_states, out, attn.to_out[0].bias)
        return out + attn.to_out[0].bias[:, None, None]


class PixelAttention:
    """Replace AttnAddedKVProcessor2_0: attention of pixels to themselves and a text, plus input."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Return the attended input plus the input, [B, C, H, W].

        Args:
            attn: a fused Attention.
            hidden_states: [B, C, H, W].
            encoder_hidden_states: text, [B, M, D].
            attention_mask: as in diffusers.
        """
        rows = to_rows(hidden_states)
        batch, length = rows.shape[:2]
        mask = attn.prepare_attention_mask(attention_mask, length, batch, out_dim=4)
        own = F.linear(attn.group_norm(rows.mT).mT, attn.own_weight, attn.own_bias)
        keys = project_keys_values(attn, rows, encoder_hidden_states)
        q, rest = own.tensor_split([attn.inner_dim], -1)
        if not attn.only_cross_attention:
            keys = torch.cat([keys, rest], 1)
        k, v = keys.chunk(2, -1)
        out = linear_rows(attn.to_out[0], attend(q, k, v, attn.heads, mask), bias=False)
        return merge(hidden_states, to_pixels(out, hidden_states), attn.to_out[0].bias)


@contextmanager
def separate_projections(network: nn.Module) -> Iterator[None]:
    """Let fused attentions call each of their projections as a module, for a block.

    So forward hooks of the projections, which the stacked weights pass by, are run.

    Args:
        network: with attentions that `fuse_attention` has changed.
    """
    layers: list[Any] = list(network.modules())
    fused = [
        (layer, layer.processor)
        for layer in layers
        if type(getattr(layer, "processor", None)) in (RowAttention, PixelAttention)
    ]
    try:
        for layer, processor in fused:
            of_rows = type(processor) is RowAttention
            layer.processor = AttnProcessor2_0() if of_rows else AttnAddedKVProcessor2_0()
        yield
    finally:
        for layer, processor in fused:
            layer.processor = processor
