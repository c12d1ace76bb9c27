"""Write a CLIP folder with random weights, in the layout of the published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dfast.priors.loading.quiet import quiet
from dfast.testing.random_models import WORDS, clip_tokenizer, materialize


def write_clip(
    folder: str | Path,
    *,
    image_size: int = 32,
    patch_size: int = 8,
    width: int = 32,
    length: int = WORDS,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    **preprocessing: Any,
) -> Path:
    """Write a folder of transformers' CLIPModel with random weights.

    Args:
        folder: where to write.
        image_size: pixels a side that it sees.
        patch_size: pixels a side of a patch.
        width: of both towers and of an embedding.
        length: tokens of the longest text.
        dtype: of the weights.
        seed: of the weights.
        **preprocessing: keys of preprocessor_config.json that differ from the published ones.

    Returns:
        The folder.
    """
    from transformers import CLIPConfig, CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = clip_tokenizer()
    shape = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "projection_dim": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    text = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {"image_size": image_size, "patch_size": patch_size}
    config = CLIPConfig(
        text_config=shape | text, vision_config=shape | vision, projection_dim=width
    )
    images: dict[str, Any] = {
        "size": {"shortest_edge": image_size},
        "crop_size": {"height": image_size, "width": image_size},
    }
    folder = Path(folder)
    with quiet():
        model = materialize(lambda: CLIPModel(config), torch.device("cpu"), dtype, seed)
        model.save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)
        CLIPImageProcessorPil(**images | preprocessing).save_pretrained(folder)
    return folder
