"""Configurations of published transformers and their VAEs, for estimates and random weights.

Text encoders take no time in training: of them only the bytes and the widths are here. The
shapes are those that diffusers' conversion scripts and the models' own repositories name; a test
compares their bytes with the sizes of the published files.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dfast.testing.model_sizes import CLIP_G, CLIP_L, T5_XXL, NetworkConfig

GEMMA2_2B, QWEN3_4B, UMT5_XXL = 2_614_341_888, 4_022_468_096, 5_680_910_336
"""Number of parameters of the published text encoders; the encoder of T5Gemma is a Gemma 2."""
CLIP_L_PROJECTED = CLIP_L + 768 * 768

_BLOCKS: NetworkConfig = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
_SDXL_VAE: NetworkConfig = {**_BLOCKS, "latent_channels": 4, "scaling_factor": 0.13025}
_SD3_VAE: NetworkConfig = {
    **_BLOCKS,
    "latent_channels": 16,
    "scaling_factor": 1.5305,
    "shift_factor": 0.0609,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
_FLUX_VAE: NetworkConfig = {**_SD3_VAE, "scaling_factor": 0.3611, "shift_factor": 0.1159}
_SANA_VAE: NetworkConfig = {
    "encoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
    "decoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
    "downsample_block_type": "conv",
    "upsample_block_type": "interpolate",
    "scaling_factor": 0.41407,
}
_SD3: NetworkConfig = {
    "sample_size": 128,
    "num_layers": 24,
    "num_attention_heads": 24,
    "caption_projection_dim": 1536,
    "pos_embed_max_size": 192,
}
_SD3_TEXT_WIDTHS = (768, 1280, 4096)


@dataclass(frozen=True)
class Published:
    """The networks of a published pipeline with a transformer."""

    transformer: NetworkConfig
    """Arguments of its class that are no defaults of diffusers."""
    vae: NetworkConfig
    """The same of its VAE."""
    text: int
    """Number of parameters of its text encoders."""
    text_widths: tuple[int, ...]
    """Width of each text encoder."""
    index: dict[str, int] = field(default_factory=dict)
    """Other entries of its `model_index.json`."""


PUBLISHED = {
    "pixart-sigma": Published(
        {"caption_channels": 4096, "interpolation_scale": 2, "use_additional_conditions": False},
        _SDXL_VAE,
        T5_XXL,
        (4096,),
    ),
    "sd3-medium": Published(_SD3, _SD3_VAE, CLIP_L_PROJECTED + CLIP_G + T5_XXL, _SD3_TEXT_WIDTHS),
    "sd35-medium": Published(
        {
            **_SD3,
            "pos_embed_max_size": 384,
            "dual_attention_layers": tuple(range(13)),
            "qk_norm": "rms_norm",
        },
        _SD3_VAE,
        CLIP_L_PROJECTED + CLIP_G + T5_XXL,
        _SD3_TEXT_WIDTHS,
    ),
    "sana-600m": Published(
        {
            "num_layers": 28,
            "num_attention_heads": 36,
            "num_cross_attention_heads": 16,
            "cross_attention_head_dim": 72,
            "cross_attention_dim": 1152,
            "sample_size": 16,
        },
        _SANA_VAE,
        GEMMA2_2B,
        (2304,),
    ),
    "lumina2": Published({"cap_feat_dim": 2304}, _FLUX_VAE, GEMMA2_2B, (2304,)),
    "z-image": Published({}, _FLUX_VAE, QWEN3_4B, (2560,)),
    "flux2-klein": Published(
        {
            "num_layers": 5,
            "num_single_layers": 20,
            "num_attention_heads": 24,
            "joint_attention_dim": 7680,
            "guidance_embeds": False,
        },
        {},
        QWEN3_4B,
        (2560,),
    ),
    "prx-512": Published(
        {"axes_dim": [32, 32]}, _FLUX_VAE, GEMMA2_2B, (2304,), {"default_sample_size": 512}
    ),
    "wan-1.3b": Published(
        {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30}, {}, UMT5_XXL, (4096,)
    ),
}
"""By the short name of the model."""
