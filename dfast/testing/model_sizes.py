"""The networks of the diffusion models people use, as configurations: at full size and tiny.

A full UNet has as many parameters as the published one, see `PARAMETERS`; the text encoders keep
only their width, because no time goes into them. The tiny ones are alike in every feature that the
code tells apart, and small enough for tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from dfast.errors import ConfigError

Size = Literal["full", "tiny"]
Config = dict[str, Any]

FAMILIES = ("sd15", "sd21", "sdxl", "if-m", "if-l", "if-xl")
PARAMETERS = {
    "sd15": 859_520_964,
    "sd21": 865_910_724,
    "sdxl": 2_567_463_684,
    "if-m": 371_605_830,
    "if-l": 935_365_830,
    "if-xl": 4_304_695_110,
}
"""Of the full UNets."""


@dataclass(frozen=True)
class Networks:
    """What to build for one family."""

    unet: Config
    """of `diffusers.UNet2DConditionModel`"""
    vae: Config | None
    """of `diffusers.AutoencoderKL`; None for a model of pixels"""
    text_widths: tuple[int, ...]
    """of each text encoder"""
    text_kinds: tuple[str, ...]
    """"clip", "clip-projected" or "t5" each"""
    text_activations: tuple[str, ...]
    """of each encoder's feed-forward layers"""

    @property
    def image_size(self) -> int:
        """Pixels a side of its pictures."""
        return int((self.vae or self.unet)["sample_size"])


def networks(family: str, size: Size = "full") -> Networks:
    """The networks of a family. Raises ConfigError."""
    if family not in FAMILIES:
        raise ConfigError(f"family: expected one of {', '.join(FAMILIES)}, got {family!r}")
    if size not in ("full", "tiny"):
        raise ConfigError(f"size: expected 'full' or 'tiny', got {size!r}")
    full = size == "full"
    if family == "sdxl":
        return _sdxl(full)
    return _stable_diffusion(family, full) if family.startswith("sd") else _deepfloyd(family, full)


def _stable_diffusion(family: str, full: bool) -> Networks:
    second = family == "sd21"
    width = (1024 if second else 768) if full else 32
    unet: Config = {"cross_attention_dim": width, "use_linear_projection": second}
    if full:
        heads = (5, 10, 20, 20) if second else 8
        unet |= {
            "sample_size": 64, "block_out_channels": (320, 640, 1280, 1280),
            "attention_head_dim": heads,
        }  # fmt: skip
    else:
        unet |= _tiny("CrossAttnDownBlock2D", "DownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D")
    kinds = (("clip",), ("gelu" if second else "quick_gelu",))
    return Networks(unet, _vae(full, 8 * unet["sample_size"], 0.18215), (width,), *kinds)


def _sdxl(full: bool) -> Networks:
    widths = (768, 1280) if full else (32, 64)
    ids = 256 if full else 8  # channels of each of the six added numbers
    unet: Config = {
        "cross_attention_dim": sum(widths), "use_linear_projection": True,
        "addition_embed_type": "text_time", "addition_time_embed_dim": ids,
        "projection_class_embeddings_input_dim": widths[1] + 6 * ids,
    }  # fmt: skip
    if full:
        unet |= {
            "sample_size": 128, "block_out_channels": (320, 640, 1280),
            "attention_head_dim": (5, 10, 20), "transformer_layers_per_block": (1, 2, 10),
            "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 2),
            "up_block_types": (*("CrossAttnUpBlock2D",) * 2, "UpBlock2D"),
        }  # fmt: skip
    else:
        unet |= _tiny("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")
        unet |= {"transformer_layers_per_block": (1, 2)}
    vae = _vae(full, 8 * unet["sample_size"], 0.13025) | {"force_upcast": True}
    kinds = (("clip", "clip-projected"), ("quick_gelu", "gelu"))
    return Networks(unet, vae, widths, *kinds)


def _deepfloyd(family: str, full: bool) -> Networks:
    """Stage I: six output channels, of which three are the variance."""
    base = {"if-m": 192, "if-l": 320, "if-xl": 704}[family] if full else 32
    levels, text = (4, 4096) if full else (2, 32)
    unet: Config = {
        "sample_size": 64 if full else 16, "in_channels": 3, "out_channels": 6, "act_fn": "gelu",
        "block_out_channels": tuple(base * (i + 1) for i in range(levels)),
        "layers_per_block": 3 if full else 1, "attention_head_dim": 64 if full else 8,
        "cross_attention_dim": base * levels, "cross_attention_norm": "group_norm",
        "encoder_hid_dim": text, "encoder_hid_dim_type": "text_proj",
        "addition_embed_type": "text", "addition_embed_type_num_heads": 64 if full else 2,
        "resnet_time_scale_shift": "scale_shift",
        "down_block_types": (
            "ResnetDownsampleBlock2D", *("SimpleCrossAttnDownBlock2D",) * (levels - 1),
        ),
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "up_block_types": (
            *("SimpleCrossAttnUpBlock2D",) * (levels - 1), "ResnetUpsampleBlock2D",
        ),
    }  # fmt: skip
    return Networks(unet, None, (text,), ("t5",), ("gated-gelu",))


def _tiny(*blocks: str) -> Config:
    return {
        "sample_size": 8, "block_out_channels": (16, 32), "layers_per_block": 1,
        "attention_head_dim": (2, 4), "norm_num_groups": 8,
        "down_block_types": blocks[:2], "up_block_types": blocks[2:],
    }  # fmt: skip


def _vae(full: bool, pixels: int, scaling: float) -> Config:
    return {
        "sample_size": pixels, "latent_channels": 4, "scaling_factor": scaling,
        "block_out_channels": (128, 256, 512, 512) if full else (8, 8, 16, 16),
        "layers_per_block": 2 if full else 1, "norm_num_groups": 32 if full else 4,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }  # fmt: skip
