"""The networks that are trained: a UNet on unshuffled pixels, and a text encoder.

Images and ray maps of 64 x 64 are unshuffled to 32 x 32 with four times the channels, which costs
a quarter of the arithmetic in the widest layers (Shi et al. 2016, arXiv 1609.05158). Both networks
are classes of diffusers and transformers, so that the folder loads with those libraries alone.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfast.priors.embedded.model import (
    SCALE_FEATURES,
    build_text_encoder,
    build_tokenizer,
    build_unet,
    token_of_words,
)
from dfast.world.sentence import vocabulary

TEXT_LENGTH = 24
"""Tokens that a caption is padded to."""
UNSHUFFLE = 2
"""Pixels a side that become channels."""
DESIGNS: dict[str, tuple[int, ...]] = {
    "small": (32, 64, 128, 128),
    "middle": (48, 96, 192, 256),
    "large": (64, 128, 256, 256),
}
"""Channels of the levels, from 32 x 32 pixels to 4 x 4."""
TEXT_WIDTH = 192
"""Numbers that a token is encoded as."""


def words() -> dict[str, int]:
    """Return the token of every word of a caption."""
    return token_of_words(vocabulary())


def build_world_tokenizer() -> Any:
    """Build the tokenizer of the world."""
    return build_tokenizer(vocabulary(), TEXT_LENGTH)


class Networks(nn.Module):
    """UNet and text encoder as one module."""

    def __init__(self, unet: Any, text_encoder: Any, unshuffle: int = UNSHUFFLE) -> None:
        """Bind both.

        Args:
            unet: of diffusers.
            text_encoder: of transformers.
            unshuffle: pixels a side that are made channels before the UNet.
        """
        super().__init__()
        self.unet, self.text_encoder, self.unshuffle = unet, text_encoder, unshuffle

    def forward(
        self,
        noisy: Tensor,
        t: Tensor,
        tokens: Tensor,
        camera: Tensor,
        rays: Tensor,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Predict v, [B, 3, H, W].

        Args:
            noisy: [B, 3, H, W].
            t: [B] int64 timesteps.
            tokens: [B, TEXT_LENGTH].
            camera: [B, CAMERA_FEATURES].
            rays: [B, 3, H, W].
            scale: guidance scales as [B, SCALE_FEATURES]; None stands for zeros.
        """
        text = self.text_encoder(tokens).last_hidden_state
        x = F.pixel_unshuffle(torch.cat([noisy, rays], 1), self.unshuffle)
        x = x.contiguous(memory_format=torch.channels_last)
        v = self.unet(x, t, text, class_labels=camera, timestep_cond=scale, return_dict=False)[0]
        return F.pixel_shuffle(v, self.unshuffle)

    def predict_both(
        self, noisy: Tensor, t: Tensor, tokens: Tensor, camera: Tensor, rays: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predict v for the captions and for empty ones in one call, float32 [B, 3, H, W] each.

        Args:
            noisy: [B, 3, H, W].
            t: [B] int64 timesteps.
            tokens: [B, TEXT_LENGTH].
            camera: [B, CAMERA_FEATURES].
            rays: [B, 3, H, W].
        """
        twice = noisy.repeat(2, 1, 1, 1), t.repeat(2)
        captions = torch.cat([tokens, torch.zeros_like(tokens)])
        both = self(*twice, captions, camera.repeat(2, 1), rays.repeat(2, 1, 1, 1))
        text, empty = both.float().chunk(2)
        return text, empty


class Denoiser(Networks):
    """The networks with untrained weights."""

    def __init__(
        self, channels: tuple[int, ...], unshuffle: int = UNSHUFFLE, *, guided: bool = False
    ) -> None:
        """Build both.

        Args:
            channels: of the levels of the UNet, such as one of `DESIGNS`.
            unshuffle: pixels a side that are made channels before the UNet.
            guided: the UNet is told a guidance scale.
        """
        features = SCALE_FEATURES if guided else None
        unet = build_unet(channels, TEXT_WIDTH, unshuffle, features)
        text_encoder = build_text_encoder(len(words()), TEXT_WIDTH, TEXT_LENGTH)
        super().__init__(unet, text_encoder, unshuffle)
