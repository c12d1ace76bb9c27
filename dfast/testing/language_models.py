"""Tiny language models of random weights and their tokenizers, as transformers read them."""

from __future__ import annotations

from importlib import import_module
from string import ascii_lowercase
from typing import Any

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)
"""A chat template like that of Qwen3."""


def language_model(kind: str, width: int) -> Any:
    """Return a tiny language model, with as many layers as are read.

    Args:
        kind: "gemma2", "t5gemma" (its encoder), "umt5" (its encoder), "qwen3", "qwen3-causal" or
            "qwen2.5-vl", which also sees.
        width: of the hidden states.
    """
    transformers: Any = import_module("transformers")
    if kind == "umt5":
        sizes = {"d_model": width, "d_kv": 16, "d_ff": 64, "num_heads": 2, "num_layers": 1}
        config = transformers.UMT5Config(
            vocab_size=1024, is_encoder_decoder=False, use_cache=False, **sizes
        )
        return transformers.UMT5EncoderModel(config)
    deep = kind == "qwen3-causal"
    shape: dict[str, Any] = {
        "vocab_size": 512,
        "hidden_size": width,
        "intermediate_size": 32,
        "num_hidden_layers": 28 if deep else 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 2048,
        "pad_token_id": 0,
    }
    if kind == "gemma2":
        return transformers.Gemma2Model(
            transformers.Gemma2Config(query_pre_attn_scalar=8, sliding_window=4096, **shape)
        )
    if kind == "t5gemma":
        module = import_module("transformers.models.t5gemma.modeling_t5gemma")
        own = transformers.T5GemmaModuleConfig(query_pre_attn_scalar=8, **shape)
        return module.T5GemmaEncoder(t5gemma_config(own).encoder)
    if kind == "qwen2.5-vl":
        positions = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6}
        eyes = {
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2,
            "out_hidden_size": width,
        }  # fmt: skip
        del shape["head_dim"]
        both = transformers.Qwen2_5_VLConfig(
            text_config={**shape, "rope_parameters": positions, "bos_token_id": 0,
                         "eos_token_id": 0},
            vision_config=eyes,
        )  # fmt: skip
        return transformers.Qwen2_5_VLForConditionalGeneration(both)
    config = transformers.Qwen3Config(tie_word_embeddings=True, **shape)
    return (transformers.Qwen3ForCausalLM if deep else transformers.Qwen3Model)(config)


def t5gemma_config(half: Any) -> Any:
    """Return the configuration of an encoder and a decoder of the same shape.

    Args:
        half: the configuration of one of them.
    """
    transformers: Any = import_module("transformers")
    return transformers.T5GemmaConfig(
        encoder=half.to_dict(), decoder=half.to_dict(), is_encoder_decoder=False
    )


_PAIRS = [(a, b) for a in ascii_lowercase for b in "aeinorst"]
"""Pairs of letters that are one token, so that long texts fit."""


def gemma_tokenizer() -> Any:
    """Return a tokenizer of characters and pairs of letters, which begins each text with <bos>."""
    transformers: Any = import_module("transformers")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    pieces = ["\u2581", "\n", *(chr(code) for code in range(33, 127))]
    words = [*special, *pieces, *(a + b for a, b in _PAIRS)]
    return transformers.GemmaTokenizer(
        vocab={word: i for i, word in enumerate(words)}, merges=_PAIRS, model_max_length=256
    )


def qwen_tokenizer() -> Any:
    """Return a tokenizer of bytes and pairs of letters, with a chat template."""
    transformers: Any = import_module("transformers")
    from tokenizers.pre_tokenizers import ByteLevel

    words = ["<|endoftext|>", *sorted(ByteLevel.alphabet()), *(a + b for a, b in _PAIRS)]
    return transformers.Qwen2Tokenizer(
        vocab={word: i for i, word in enumerate(words)},
        merges=_PAIRS,
        chat_template=CHAT,
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
