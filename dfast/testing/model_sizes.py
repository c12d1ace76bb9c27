"""Configurations of the networks of published diffusion models, at full size and tiny.

A full UNet has as many parameters as the published one, see `PARAMETERS`. Text encoders keep only
their width, because they take no time in training. Tiny networks have every feature on which the
code depends, and are small enough for tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from dfast.errors import ConfigError

Size = Literal["full", "tiny"]
NetworkConfig = dict[str, Any]
"""Keyword arguments of a network's class."""

FAMILIES = ("sd15", "sd21", "sdxl", "if-m", "if-l", "if-xl")
"""Stable Diffusion 1.5, 2.1 and XL, and the first stages of DeepFloyd IF."""
PARAMETERS = {
    "sd15": 859_520_964,
    "sd21": 865_910_724,
    "sdxl": 2_567_463_684,
    "if-m": 371_605_830,
    "if-l": 935_365_830,
    "if-xl": 4_304_695_110,
}
"""Number of parameters of each full UNet."""
CLIP_L, CLIP_H, CLIP_G, T5_XXL = 123_060_480, 340_387_840, 694_659_840, 4_762_310_656
"""Number of parameters of the published text encoders."""
TEXT_BYTES = {
    "sd15": 2 * CLIP_L,
    "sd21": 2 * CLIP_H,
    "sdxl": 2 * (CLIP_L + CLIP_G),
    "if-m": 2 * T5_XXL,
    "if-l": 2 * T5_XXL,
    "if-xl": 2 * T5_XXL,
}
"""Bytes of each family's text encoders in half precision."""


@dataclass(frozen=True)
class Networks:
    """The networks of one family."""

    unet: NetworkConfig
    """Arguments of `diffusers.UNet2DConditionModel`."""
    vae: NetworkConfig | None
    """Arguments of `diffusers.AutoencoderKL`; None for a model of pixels."""
    text_widths: tuple[int, ...]
    """Width of each text encoder."""
    text_kinds: tuple[str, ...]
    """Kind of each text encoder: "clip", "clip-projected" or "t5"."""
    text_activations: tuple[str, ...]
    """Activation of each text encoder's feed-forward layers."""

    @property
    def image_size(self) -> int:
        """Return the pixels a side of the images."""
        return int((self.vae or self.unet)["sample_size"])


def networks(family: str, size: Size = "full") -> Networks:
    """Return the networks of a family.

    Args:
        family: one of `FAMILIES`.
        size: "full" or "tiny".

    Raises:
        ConfigError: if there is no such family or size.
    """
    if family not in FAMILIES:
        raise ConfigError(f"family: expected one of {', '.join(FAMILIES)}, got {family!r}")
    if size not in ("full", "tiny"):
        raise ConfigError(f"size: expected 'full' or 'tiny', got {size!r}")
    full = size == "full"
    if family == "sdxl":
        return _sdxl(full)
    return _stable_diffusion(family, full) if family.startswith("sd") else _deepfloyd(family, full)


def _stable_diffusion(family: str, full: bool) -> Networks:
    """Return the networks of Stable Diffusion 1.5 or 2.1."""
    second = family == "sd21"
    width = (1024 if second else 768) if full else 32
    unet: NetworkConfig = {"cross_attention_dim": width, "use_linear_projection": second}
    if full:
        heads = (5, 10, 20, 20) if second else 8
        unet |= {
            "sample_size": 64,
            "block_out_channels": (320, 640, 1280, 1280),
            "attention_head_dim": heads,
        }
    else:
        unet |= _tiny("CrossAttnDownBlock2D", "DownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D")
    kinds = (("clip",), ("gelu" if second else "quick_gelu",))
    return Networks(unet, _vae(full, 8 * unet["sample_size"], 0.18215), (width,), *kinds)


def _sdxl(full: bool) -> Networks:
    """Return the networks of Stable Diffusion XL."""
    widths = (768, 1280) if full else (32, 64)
    ids = 256 if full else 8  # channels of each of the six size and crop conditions
    unet: NetworkConfig = {
        "cross_attention_dim": sum(widths),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": ids,
        "projection_class_embeddings_input_dim": widths[1] + 6 * ids,
    }
    if full:
        unet |= {
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "attention_head_dim": (5, 10, 20),
            "transformer_layers_per_block": (1, 2, 10),
            "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 2),
            "up_block_types": (*("CrossAttnUpBlock2D",) * 2, "UpBlock2D"),
        }
    else:
        unet |= _tiny("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")
        unet |= {"transformer_layers_per_block": (1, 2)}
    vae = _vae(full, 8 * unet["sample_size"], 0.13025) | {"force_upcast": True}
    kinds = (("clip", "clip-projected"), ("quick_gelu", "gelu"))
    return Networks(unet, vae, widths, *kinds)


def _deepfloyd(family: str, full: bool) -> Networks:
    """Return the networks of DeepFloyd IF's first stage; three of six outputs are the variance."""
    base = {"if-m": 192, "if-l": 320, "if-xl": 704}[family] if full else 32
    levels, text = (4, 4096) if full else (2, 32)
    unet: NetworkConfig = {
        "sample_size": 64 if full else 16,
        "in_channels": 3,
        "out_channels": 6,
        "act_fn": "gelu",
        "block_out_channels": tuple(base * (i + 1) for i in range(levels)),
        "layers_per_block": 3 if full else 1,
        "attention_head_dim": 64 if full else 8,
        "cross_attention_dim": base * levels,
        "cross_attention_norm": "group_norm",
        "encoder_hid_dim": text,
        "encoder_hid_dim_type": "text_proj",
        "addition_embed_type": "text",
        "addition_embed_type_num_heads": 64 if full else 2,
        "resnet_time_scale_shift": "scale_shift",
        "down_block_types": (
            "ResnetDownsampleBlock2D",
            *("SimpleCrossAttnDownBlock2D",) * (levels - 1),
        ),
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "up_block_types": (
            *("SimpleCrossAttnUpBlock2D",) * (levels - 1),
            "ResnetUpsampleBlock2D",
        ),
    }
    return Networks(unet, None, (text,), ("t5",), ("gated-gelu",))


def _tiny(*blocks: str) -> NetworkConfig:
    """Return a UNet of two levels; blocks: two on the way down, two on the way up."""
    return {
        "sample_size": 8,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "attention_head_dim": (2, 4),
        "norm_num_groups": 8,
        "down_block_types": blocks[:2],
        "up_block_types": blocks[2:],
    }


def _vae(full: bool, pixels: int, scaling: float) -> NetworkConfig:
    """Return an autoencoder for images of `pixels` a side."""
    return {
        "sample_size": pixels,
        "latent_channels": 4,
        "scaling_factor": scaling,
        "block_out_channels": (128, 256, 512, 512) if full else (8, 8, 16, 16),
        "layers_per_block": 2 if full else 1,
        "norm_num_groups": 32 if full else 4,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
