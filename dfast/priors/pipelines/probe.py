"""Calls whose cost is estimated on the meta device."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from dfast.config import Config


@torch.no_grad()
def _ask(unet: Any, batch: int, side: int) -> None:
    """One call of a UNet on the meta device."""
    c, dtype = unet.config, next(unet.parameters()).dtype
    with torch.device("meta"):
        hidden = torch.empty(batch, 77, c.encoder_hid_dim or c.cross_attention_dim, dtype=dtype)
        added = None
        if c.addition_embed_type == "text_time":
            pooled = c.projection_class_embeddings_input_dim - 6 * c.addition_time_embed_dim
            added = {
                "text_embeds": torch.empty(batch, pooled, dtype=dtype),
                "time_ids": torch.empty(batch, 6, dtype=dtype),
            }
        noisy = torch.empty(batch, c.in_channels, side, side, dtype=dtype)
        t = torch.empty(batch, dtype=torch.int64)
    unet(noisy, t, hidden, added_cond_kwargs=added, return_dict=False)


def _encode(vae: Any, batch: int, prior: Any, config: Config) -> None:
    """A VAE's encoder on the meta device, forward and back to the picture."""
    side, options = prior.image_size, config.prior
    if options.vae_checkpointing or options.vae_tiling:
        again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
        vae.enable_gradient_checkpointing(gradient_checkpointing_func=again)
    if options.vae_tiling:
        vae.enable_tiling()
        vae.tile_sample_min_size = side // 2
        vae.tile_latent_min_size = side // 2 // (side // prior.latent_size)
    dtype = next(vae.parameters()).dtype
    image = torch.empty(batch, 3, side, side, device="meta", dtype=dtype, requires_grad=True)
    mean = vae.encode(image, return_dict=False)[0].mean
    mean.sum().backward()
