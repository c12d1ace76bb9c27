"""The embedded prior's words: tokenizer, text encoder and noise schedule, as plain code.

They read the files of transformers and diffusers in the folder of the weights, whose libraries are
not imported.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Tokenizer:
    """One token a word; any other word is the unknown one.

    Attributes:
        vocabulary: index of each word.
    """

    def __init__(self, folder: Path, length: int) -> None:
        """Read `tokenizer.json`.

        Args:
            folder: of the tokenizer.
            length: tokens that a text is padded to.
        """
        settings = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        model = settings["model"]
        kinds = model["type"], settings["normalizer"]["type"], settings["pre_tokenizer"]["type"]
        if kinds != ("WordLevel", "Lowercase", "Whitespace"):
            raise ValueError(f"tokenizer.json: expected a tokenizer of words, got {kinds}")
        self.vocabulary: dict[str, int] = model["vocab"]
        self._unknown, self._length = self.vocabulary[model["unk_token"]], length

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the tokens of texts, int64 [len(texts), length], padded with 0."""
        rows = []
        for text in texts:
            words = re.findall(r"\w+|[^\w\s]+", text.lower())
            ids = [self.vocabulary.get(word, self._unknown) for word in words]
            rows.append(ids + [0] * (self._length - len(ids)))
        return torch.tensor(rows)


class TextEncoder(nn.Module):
    """CLIP's text encoder: transformer layers, each token of which sees the tokens before it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Build the network with untrained weights.

        Args:
            config: what `config.json` of a `CLIPTextModel` holds.
        """
        super().__init__()
        if config["hidden_act"] != "quick_gelu":
            raise ValueError(f"hidden_act: expected quick_gelu, got {config['hidden_act']!r}")
        width, eps = config["hidden_size"], config["layer_norm_eps"]
        self.token_embedding = nn.Embedding(config["vocab_size"], width)
        self.position_embedding = nn.Embedding(config["max_position_embeddings"], width)
        heads, inner = config["num_attention_heads"], config["intermediate_size"]
        self.layers = nn.ModuleList(
            _Layer(width, heads, inner, eps) for _ in range(config["num_hidden_layers"])
        )
        self.final_layer_norm = nn.LayerNorm(width, eps=eps)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the last hidden state [B, M, D] of tokens [B, M]."""
        x = self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.final_layer_norm(x)
        return out


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, inner: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.layer_norm1, self.layer_norm2 = (nn.LayerNorm(width, eps=eps) for _ in range(2))
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.out_proj = nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer_norm1(x)
        parts = (self.q_proj(h), self.k_proj(h), self.v_proj(h))
        q, k, v = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in parts)
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out_proj(h.transpose(1, 2).flatten(2))
        h = self.fc1(self.layer_norm2(x))
        return x + self.fc2(h * torch.sigmoid(1.702 * h))


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a `CLIPTextModel` under the names of `TextEncoder`.

    Args:
        state: by the names of transformers, with or without `text_model.` before them.
    """
    dropped = r"^text_model\.|^embeddings\.|^encoder\.|(?<=\.)self_attn\.|(?<=\.)mlp\."
    names = {name: re.sub(dropped, "", name.removeprefix("text_model.")) for name in state}
    return {ours: state[name] for name, ours in names.items() if ours != "position_ids"}


def signal_levels(folder: Path) -> Tensor:
    """Return the product of the alphas at each timestep, float32 [T], of a scheduler's folder.

    The squared-cosine schedule of Nichol and Dhariwal 2021 (arXiv 2102.09672).
    """
    config = json.loads((folder / "scheduler_config.json").read_text(encoding="utf-8"))
    kind = config["beta_schedule"]
    if kind != "squaredcos_cap_v2" or config["prediction_type"] != "v_prediction":
        raise ValueError(f"scheduler_config.json: expected squared cosines and v, got {kind!r}")

    def bar(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    count = config["num_train_timesteps"]
    betas = [min(1 - bar((i + 1) / count) / bar(i / count), 0.999) for i in range(count)]
    return torch.cumprod(1.0 - torch.tensor(betas, dtype=torch.float32), 0)
