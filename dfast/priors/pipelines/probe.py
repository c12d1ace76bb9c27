"""Calls whose cost is estimated on the meta device."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dfast.config import Config
from dfast.priors.base import Prior
from dfast.priors.loading.networks import encode_images
from dfast.priors.pipelines.conventions import CONVENTIONS, Conventions


@torch.no_grad()
def call_unet(unet: Any, batch: int, side: int) -> None:
    """Call a UNet or transformer on the meta device, without gradients.

    Args:
        unet: a `UNet2DConditionModel` or a transformer of `CONVENTIONS` there.
        batch: rows of the call.
        side: cells a side of what it diffuses.
    """
    _call(unet, batch, side)


@torch.enable_grad()
def train_unet(unet: Any, batch: int, side: int) -> None:
    """Call a UNet or transformer on the meta device, and go back through it to its input.

    That keeps about what the training of small changes of its attention keeps.

    Args:
        unet: as of `call_unet`; its own parameters get no gradients from here on.
        batch: rows of the call.
        side: cells a side of what it diffuses.
    """
    _call(unet.requires_grad_(False), batch, side).sum().backward()


def _call(unet: Any, batch: int, side: int) -> Tensor:
    """Return the output of a UNet or transformer on the meta device."""
    wanted = torch.is_grad_enabled()
    c, dtype = unet.config, next(unet.parameters()).dtype
    for made in CONVENTIONS.values():
        if type(unet).__name__ == made.transformer:
            return _call_transformer(unet, made, batch, side)
    with torch.device("meta"):
        hidden = torch.empty(batch, 77, c.encoder_hid_dim or c.cross_attention_dim, dtype=dtype)
        added = None
        if c.addition_embed_type == "text_time":
            pooled = c.projection_class_embeddings_input_dim - 6 * c.addition_time_embed_dim
            added = {
                "text_embeds": torch.empty(batch, pooled, dtype=dtype),
                "time_ids": torch.empty(batch, 6, dtype=dtype),
            }
        noisy = torch.empty(batch, c.in_channels, side, side, dtype=dtype, requires_grad=wanted)
        t = torch.empty(batch, dtype=torch.int64)
        cameras = None
        if c.class_embed_type == "projection":
            cameras = torch.empty(batch, c.projection_class_embeddings_input_dim, dtype=dtype)
    out: Tensor = unet(
        noisy, t, hidden, class_labels=cameras, added_cond_kwargs=added, return_dict=False
    )[0]
    return out


def _call_transformer(network: Any, made: Conventions, batch: int, side: int) -> Tensor:
    """Return the output of a transformer on the meta device; see `_call`."""
    c, dtype = network.config, next(network.parameters()).dtype
    length = made.text_length
    with torch.device("meta"):
        texts = {
            "hidden": torch.empty(batch, length, getattr(c, made.text[-1].width), dtype=dtype),
            "mask": torch.empty(batch, length, dtype=torch.bool),
            "pooled": torch.empty(batch, getattr(c, "pooled_projection_dim", 0), dtype=dtype),
        }
        wanted = torch.is_grad_enabled()
        noisy = torch.empty(batch, c.in_channels, side, side, dtype=dtype, requires_grad=wanted)
        time = torch.empty(batch)
    given = {name: texts[key] for key, name in made.arguments.items()}
    out: Tensor = made.call(network, noisy, time, {**given, **made.constants})
    return out


def call_vae_encoder(vae: Any, batch: int, prior: Prior, config: Config) -> None:
    """Call a VAE's encoder on the meta device, forward and back to the images.

    Args:
        vae: one of `VAES` there, whose decoder is not needed.
        batch: images of the call.
        prior: whose VAE it is; for its sizes.
        config: of the run; its memory options change the call.
    """
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
    encode_images(vae, image).sum().backward()
