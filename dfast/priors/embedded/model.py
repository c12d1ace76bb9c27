"""The embedded prior as it is trained: a small UNet, a small text encoder, a tokenizer of words.

Here they are classes of diffusers and transformers, saved as a pipeline folder (unet, text_encoder,
tokenizer, scheduler) that loads with those libraries alone. A run reads the same folder into the
plain modules of `dfast.priors.embedded.unet` and `text`, which import in no time.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfast.ops.rays import pixel_rays
from dfast.scene.cameras import CameraBatch

IMAGE_SIZE = 64
CAMERA_FEATURES = 14
"""Length of the camera vector, see `camera_features`."""
SCALE_FEATURES = 4
"""Length of the vector of a guidance scale, see `scale_features`."""
LARGEST_SCALE = 20.0
"""Guidance scale up to which a network is distilled."""
PAD = "<pad>"
UNKNOWN = "<unk>"


def camera_features(azimuth: Tensor, elevation: Tensor, distance: Tensor, fov: Tensor) -> Tensor:
    """Return the camera vector that is added to the time embedding, [B, CAMERA_FEATURES].

    Harmonics of the azimuth up to the fourth make neighbouring views distinct; the last feature is
    the apparent size. A vector of zeros stands for no view conditioning.

    Args:
        azimuth: [B] degrees.
        elevation: [B] degrees.
        distance: [B] scene radii.
        fov: [B] degrees.
    """
    a, e, half_fov = torch.deg2rad(torch.stack([azimuth, elevation, fov / 2]))
    angles = torch.stack([a, 2 * a, 3 * a, 4 * a, e, 2 * e], -1)
    waves = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
    size = 1 / (distance * half_fov.tan())
    return torch.cat([torch.ones_like(size)[:, None], waves, 4 * (size[:, None] - 0.9)], -1)


def scale_features(scale: Tensor) -> Tensor:
    """Return the vector by which a distilled network is told a guidance scale w.

    It is 0 for w = 0, which asks for the prediction without guidance.

    Args:
        scale: [B] w in (1 + w) eps_c - w eps_u, at least 0.

    Returns:
        [B, SCALE_FEATURES].
    """
    parts = [scale.log1p() / 3, *(scale / (scale + k) for k in (1.0, 4.0, 16.0))]
    return torch.stack(parts, dim=-1)


def ray_map(cameras: CameraBatch, resolution: int = IMAGE_SIZE) -> Tensor:
    """Return the point nearest to the origin on each pixel's ray, [B, 3, resolution, resolution].

    The map is three more input channels of the UNet. It tells every pixel which side of the object
    it sees: from the camera vector alone the UNet learns silhouettes, but does not distinguish left
    from right, because a convolution does not know positions. Zeros stand for no view
    conditioning.

    Args:
        cameras: B cameras.
        resolution: pixels a side.
    """
    origins, directions = pixel_rays(
        cameras.origin, cameras.rotation, cameras.fov, resolution=resolution
    )
    closest = origins - (origins * directions).sum(-1, keepdim=True) * directions
    return closest.view(-1, resolution, resolution, 3).permute(0, 3, 1, 2)


def build_unet(
    channels: tuple[int, ...],
    text_width: int,
    unshuffle: int = 1,
    scale_width: int | None = None,
) -> Any:
    """Build the untrained UNet: RGB and ray map in, v out.

    Text enters by cross-attention, the camera vector through the time embedding.

    Args:
        channels: of the four levels.
        text_width: of the encoded text.
        unshuffle: pixels a side that are made channels before it, and pixels again after it.
        scale_width: length of the vector by which it is told a guidance scale, None for no
            such input. Zeros change nothing, not even before training.
    """
    from diffusers import UNet2DConditionModel

    unet: Any = UNet2DConditionModel(
        sample_size=IMAGE_SIZE // unshuffle,
        in_channels=6 * unshuffle**2,
        out_channels=3 * unshuffle**2,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=(
            "DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D",
        ),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=8,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=CAMERA_FEATURES,
        time_cond_proj_dim=scale_width,
    )  # fmt: skip
    if scale_width is not None:
        torch.nn.init.zeros_(unet.time_embedding.cond_proj.weight)
    return unet


def build_text_encoder(vocabulary: int, width: int, length: int) -> Any:
    """Build an untrained CLIP text encoder.

    Args:
        vocabulary: number of tokens.
        width: of the encoded text.
        length: tokens that a caption is padded to.
    """
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=2 * width,
            projection_dim=width,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=length,
            pad_token_id=0,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def token_of_words(vocabulary: Iterable[str]) -> dict[str, int]:
    """Return the token of every word, after those of padding and of unknown words."""
    return {word: i for i, word in enumerate((PAD, UNKNOWN, *sorted(vocabulary)))}


def build_tokenizer(vocabulary: Iterable[str], length: int) -> Any:
    """Build the tokenizer: one token a word of the vocabulary; any other word is UNKNOWN.

    Args:
        vocabulary: words.
        length: tokens that a caption is padded to.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(token_of_words(vocabulary), unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        model_max_length=length,
        padding_side="right",
    )


def build_scheduler() -> Any:
    """Build the noise schedule of training and sampling."""
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
    """Load (unet, text encoder, tokenizer, scheduler), in float32 on the CPU.

    Only safetensors are read. diffusers and transformers raise errors of many types for missing or
    damaged files.

    Args:
        folder: one that `save_folder` wrote.
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
    """Write a pipeline folder with half-precision safetensors weights.

    Args:
        folder: where to.
        unet: saved as a half-precision copy.
        text_encoder: saved as a half-precision copy.
        tokenizer: saved as it is.
        scheduler: saved as it is.
    """
    from copy import deepcopy

    for name, module in (("unet", unet), ("text_encoder", text_encoder)):
        deepcopy(module).half().save_pretrained(folder / name, safe_serialization=True)
    tokenizer.save_pretrained(folder / "tokenizer")
    scheduler.save_pretrained(folder / "scheduler")
