"""Transformers over the pixels of an image; a residual addition is one op with the norm after it.

Shapes: B images, C channels, H x W pixels, N = H W rows, L text tokens of D channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

from dfast.ops.gated import merge
from dfast.ops.layer_norm import add_layer_norm
from dfast.priors.fused.layers import linear_rows, to_pixels, to_rows


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


def can_fuse_blocks(blocks: Iterable[Any], options: Any) -> bool:
    """Return whether `apply_blocks` supports every setting of a transformer's blocks.

    Args:
        blocks: of the transformer.
        options: further arguments of the attentions (`cross_attention_kwargs`), or None.
    """
    return not (options or torch.is_grad_enabled()) and all(
        type(block) is BasicTransformerBlock
        and block.norm_type == "layer_norm"
        and block.pos_embed is None
        and block._chunk_size is None
        and not hasattr(block, "fuser")
        and not _has_hooks(block)
        and all(_is_plain(norm) for norm in (block.norm1, block.norm2, block.norm3) if norm)
        for block in blocks
    )


def _is_plain(norm: Any) -> bool:
    """Return whether a module is a layer normalisation of the last dimension with parameters."""
    return (
        type(norm) is nn.LayerNorm
        and len(norm.normalized_shape) == 1
        and norm.weight is not None
        and norm.bias is not None
        and not _has_hooks(norm)
    )


def _has_hooks(module: nn.Module) -> bool:
    """Return whether someone wants to hear when a module is called."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def apply_blocks(
    blocks: Iterable[Any],
    rows: Tensor,
    text: Tensor | None,
    mask: Tensor | None,
    text_mask: Tensor | None,
) -> Tensor:
    """Return the rows after all blocks, [B, N, C]. Not differentiable.

    Args:
        blocks: for which `can_fuse_blocks` holds.
        rows: [B, N, C].
        text: [B, L, D] or None.
        mask: of the attention to rows, as in diffusers.
        text_mask: of the attention to the text.
    """
    add = None
    for block in blocks:
        rows, normed = _add_and_norm(block.norm1, rows, add)
        own = text if block.only_cross_attention else None
        add = block.attn1(normed, encoder_hidden_states=own, attention_mask=mask)
        if block.attn2 is not None:
            rows, normed = _add_and_norm(block.norm2, rows, add)
            add = block.attn2(normed, encoder_hidden_states=text, attention_mask=text_mask)
        rows, normed = _add_and_norm(block.norm3, rows, add)
        add = block.ff(normed)
    return rows if add is None else rows + add


def _add_and_norm(norm: Any, rows: Tensor, add: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the sum of two tensors, and its normalisation by a layer."""
    return add_layer_norm(rows, add, norm.weight, norm.bias, eps=norm.eps)
