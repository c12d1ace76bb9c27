"""The tokenizer of the embedded prior, in the format of transformers."""

from __future__ import annotations

from typing import Any

from dfast.priors.embedded.model import PAD, UNKNOWN
from dfast.priors.embedded.training.networks import TEXT_LENGTH, words


def build_tokenizer() -> Any:
    """Build the tokenizer: one token a word of a caption; any other word is UNKNOWN."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(words(), unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        model_max_length=TEXT_LENGTH,
        padding_side="right",
    )
