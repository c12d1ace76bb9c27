"""The embedded prior's networks: a small UNet, a small text encoder, a word-level tokenizer.

They are ordinary diffusers / transformers classes saved as an ordinary pipeline folder (unet,
text_encoder, tokenizer, scheduler), so the folder also loads with those libraries alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfast.scene.cameras import CameraBatch
from dfast.world.grammar import VOCABULARY

IMAGE_SIZE = 64
TEXT_LENGTH = 16
"""Tokens a caption is padded to."""
CAMERA_FEATURES = 14
PAD = "<pad>"
UNKNOWN = "<unk>"


def camera_features(azimuth: Tensor, elevation: Tensor, distance: Tensor, fov: Tensor) -> Tensor:
    """What the UNet is told of the camera, [B, CAMERA_FEATURES]; all zero means "not told".

    azimuth, elevation, fov [B] in degrees, distance [B] in scene radii. Harmonics of the heading up
    to the fourth make neighbouring views distinct; the last feature is the apparent size.
    """
    a, e = torch.deg2rad(azimuth), torch.deg2rad(elevation)
    waves = [f(k * a) for k in (1, 2, 3, 4) for f in (torch.sin, torch.cos)]
    waves += [torch.sin(e), torch.cos(e), torch.sin(2 * e), torch.cos(2 * e)]
    size = 1 / (distance * torch.tan(torch.deg2rad(fov) / 2))
    return torch.stack([torch.ones_like(a), *waves, 4 * (size - 0.9)], dim=-1)


def ray_map(cameras: CameraBatch, resolution: int = IMAGE_SIZE) -> Tensor:
    """Where each pixel's ray passes the origin: world points [B, 3, resolution, resolution].

    Given beside the noisy image, this tells the UNet at every pixel which side of the object it
    looks at. From the camera vector alone it learns silhouettes but not left from right, since
    nothing in a convolution knows where it is; all zero means "not told".
    """
    origins, directions = cameras.rays(resolution)
    closest = origins - (origins * directions).sum(-1, keepdim=True) * directions
    return closest.view(-1, resolution, resolution, 3).permute(0, 3, 1, 2)


def build_unet() -> Any:
    """64x64 RGB and ray map in, v out; text by cross-attention, the camera added to the time."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=IMAGE_SIZE,
        in_channels=6,
        out_channels=3,
        block_out_channels=(32, 64, 128, 128),
        layers_per_block=1,
        down_block_types=(
            "DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D",
        ),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        cross_attention_dim=128,
        attention_head_dim=4,
        norm_num_groups=8,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=CAMERA_FEATURES,
    )  # fmt: skip


def build_text_encoder(vocabulary: int) -> Any:
    """An untrained CLIP text encoder for that many words."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=128,
            intermediate_size=256,
            projection_dim=128,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=TEXT_LENGTH,
            pad_token_id=0,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def build_tokenizer() -> Any:
    """One token a word of the grammar; anything else is UNKNOWN."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = (PAD, UNKNOWN, *sorted(VOCABULARY))
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        model_max_length=TEXT_LENGTH,
        padding_side="right",
    )


def build_scheduler() -> Any:
    """The noise schedule of training and sampling."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=True,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )


def load_folder(folder: Path) -> tuple[Any, Any, Any, Any]:
    """(unet, text encoder, tokenizer, scheduler) that `save_folder` wrote, in float32 on the CPU.

    Reads safetensors only; raises whatever diffusers and transformers do on missing or bad files.
    """
    from diffusers import DDIMScheduler, UNet2DConditionModel
    from transformers import AutoTokenizer, CLIPTextModel

    return (
        UNet2DConditionModel.from_pretrained(folder / "unet", use_safetensors=True).float(),
        CLIPTextModel.from_pretrained(folder / "text_encoder", use_safetensors=True).float(),
        AutoTokenizer.from_pretrained(folder / "tokenizer"),
        DDIMScheduler.from_pretrained(folder / "scheduler"),
    )


def save_folder(folder: Path, unet: Any, text_encoder: Any, tokenizer: Any, scheduler: Any) -> None:
    """Write the pipeline folder with half-precision safetensors weights."""
    from copy import deepcopy

    for name, module in (("unet", unet), ("text_encoder", text_encoder)):
        deepcopy(module).half().save_pretrained(folder / name, safe_serialization=True)
    tokenizer.save_pretrained(folder / "tokenizer")
    scheduler.save_pretrained(folder / "scheduler")
