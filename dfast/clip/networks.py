"""The embedded CLIP as it is trained: transformers' CLIPModel, small, with a tokenizer of words.

The folder that `save_folder` writes is an ordinary CLIP folder of at most 12 MiB: it loads with
transformers alone, and with `dfast.clip.load_clip` like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

from dfast.priors.loading.quiet import quiet

IMAGE_SIZE, PATCH = 64, 8
"""Pixels a side of an image, and of a patch of it."""
WIDTH = 256
"""Numbers of an embedding."""
TEXT_LENGTH = 40
"""Tokens of the longest text, its two ends included."""
START, END = "<|startoftext|>", "<|endoftext|>"
VISION = {
    "hidden_size": 256,
    "intermediate_size": 640,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
}
TEXT = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
}
"""Sizes of the towers, which fill the 12 MiB."""


def build_tokenizer(words: Iterable[str]) -> Any:
    """Build a CLIPTokenizer for which each of the words is one token.

    A word is joined from its end: its last letter with the one before it, the pair with the next.
    All these pairs end a word, of which every word has one, so that no pair of one word disturbs
    another. Other words fall into an end that is known and letters, so all text can be read.

    Args:
        words: of lower-case letters or of one character.

    Returns:
        The tokenizer of transformers.
    """
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    ends = {word[i:] for word in words for i in range(len(word) - 1)}
    ordered = sorted(ends, key=lambda end: (len(end), end))
    pieces += [f"{end}</w>" for end in ordered]
    merges: Any = [(end[0], f"{end[1:]}</w>") for end in ordered]
    return CLIPTokenizer(
        vocab={piece: i for i, piece in enumerate([*pieces, START, END])},
        merges=merges,
        model_max_length=TEXT_LENGTH,
    )


def build_model(tokenizer: Any) -> Any:
    """Build an untrained CLIPModel.

    Args:
        tokenizer: whose tokens it reads.
    """
    from transformers import CLIPConfig, CLIPModel

    vision = VISION | {"image_size": IMAGE_SIZE, "patch_size": PATCH, "projection_dim": WIDTH}
    text = TEXT | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": TEXT_LENGTH,
        "projection_dim": WIDTH,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH))


def image_processor() -> Any:
    """Return what transformers does to an image: resize to 64 pixels, values in -1 to 1."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    return CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def save_folder(folder: Path, model: Any, tokenizer: Any) -> None:
    """Write a CLIP folder with half-precision weights.

    Args:
        folder: created if needed.
        model: saved as a half-precision copy.
        tokenizer: saved along.
    """
    with quiet():
        deepcopy(model).half().save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)
        image_processor().save_pretrained(folder)
