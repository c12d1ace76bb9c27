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

from dfast.priors.embedded.model import CAMERA_FEATURES, IMAGE_SIZE, PAD, UNKNOWN
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


def words() -> dict[str, int]:
    """Return the token of every word of a caption."""
    return {word: i for i, word in enumerate((PAD, UNKNOWN, *sorted(vocabulary())))}


def build_unet(design: str) -> Any:
    """Build the untrained UNet: unshuffled RGB and ray map in, unshuffled v out.

    Args:
        design: a key of `DESIGNS`.
    """
    from diffusers import UNet2DConditionModel

    square = UNSHUFFLE**2
    return UNet2DConditionModel(
        sample_size=IMAGE_SIZE // UNSHUFFLE,
        in_channels=6 * square,
        out_channels=3 * square,
        block_out_channels=DESIGNS[design],
        layers_per_block=1,
        down_block_types=(
            "DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D",
        ),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=CAMERA_FEATURES,
    )  # fmt: skip


def build_text_encoder(tokens: int) -> Any:
    """Build an untrained CLIP text encoder.

    Args:
        tokens: of the vocabulary.
    """
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=tokens,
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=TEXT_LENGTH,
            pad_token_id=0,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


class Denoiser(nn.Module):
    """UNet and text encoder as one module."""

    def __init__(self, design: str) -> None:
        """Build both with untrained weights.

        Args:
            design: a key of `DESIGNS`.
        """
        super().__init__()
        self.unet = build_unet(design)
        self.text_encoder = build_text_encoder(len(words()))

    def forward(
        self, noisy: Tensor, t: Tensor, tokens: Tensor, camera: Tensor, rays: Tensor
    ) -> Tensor:
        """Predict v, [B, 3, H, W].

        Args:
            noisy: [B, 3, H, W].
            t: [B] int64 timesteps.
            tokens: [B, TEXT_LENGTH].
            camera: [B, CAMERA_FEATURES].
            rays: [B, 3, H, W].
        """
        text = self.text_encoder(tokens).last_hidden_state
        x = F.pixel_unshuffle(torch.cat([noisy, rays], 1), UNSHUFFLE)
        x = x.contiguous(memory_format=torch.channels_last)
        return F.pixel_shuffle(
            self.unet(x, t, text, class_labels=camera, return_dict=False)[0], UNSHUFFLE
        )
