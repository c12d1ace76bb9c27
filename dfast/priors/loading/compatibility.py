"""Whether the parts of a folder belong together: told by their small files, before any weights.

People put folders together: a fine-tuned UNet, another VAE, the text encoder of a sibling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dfast.priors.loading.folder import Folder


class Text(NamedTuple):
    """What the text encoders of a family are."""

    types: tuple[str, ...]
    """model_type in the configuration"""
    width: str
    """the key of the width"""
    tokenizer: str
    """its class in transformers"""
    model: str
    """of tokenizer.json"""
    files: tuple[str, ...]
    """of a tokenizer without tokenizer.json"""


CLIP = Text(
    ("clip_text_model", "clip"), "hidden_size", "CLIPTokenizer", "BPE", ("vocab.json", "merges.txt")
)  # fmt: skip
T5 = Text(("t5",), "d_model", "T5Tokenizer", "Unigram", ("spiece.model",))


def check_text(folder: Folder, kind: Text, parts: Sequence[str], length: int) -> None:
    """Text encoders against their tokenizers, and the sum of their widths against the UNet.

    parts: encoder, tokenizer, and perhaps two more; those that are not there are not looked at,
    since sentences may be cached. length: tokens of a sentence. Raises PriorError.
    """
    encoders, widths = parts[::2], {}
    for part, tokenizer in zip(encoders, parts[1::2], strict=True):
        words = _words(folder, kind, tokenizer)
        if not (config := folder.config(part)):
            continue
        if (got := config.get("model_type", kind.types[0])) not in kind.types:
            raise folder.unlike(part, "model_type", repr(kind.types[0]), repr(got), like="UNet")
        for key, least, like in (
            ("vocab_size", words, tokenizer),
            ("max_position_embeddings", length, "length of sentences"),
        ):
            if (number := folder.number(part, key, max(least, 1))) < least:
                raise folder.unlike(part, key, f"of at least {least}", number, like=like)
        if kind.width in config:
            widths[part] = folder.number(part, kind.width, None)
    through = folder.config("unet").get("encoder_hid_dim") is not None
    wanted = folder.numbers("unet", "encoder_hid_dim" if through else "cross_attention_dim", 1280)
    if len(widths) == len(encoders) and set(wanted) != {sum(widths.values())}:
        total = wanted[0] if len(set(wanted)) == 1 else wanted
        got = " + ".join(map(str, widths.values()))
        raise folder.unlike(" + ".join(widths), kind.width, total, got, like="UNet")


def _words(folder: Folder, kind: Text, part: str) -> int:
    """One more than the largest token of a tokenizer; 0 if its small files do not tell.

    Raises PriorError for a tokenizer of another kind.
    """
    ids: list[Any] = []
    names = {p.name for p in (folder.path / part).glob("*")}
    if "tokenizer.json" in names:
        read = folder.read(part, "tokenizer.json")
        model, added = read.get("model"), read.get("added_tokens")
        vocabulary = model.get("vocab") if isinstance(model, dict) else None
        if isinstance(model, dict) and (got := model.get("type", kind.model)) != kind.model:
            raise folder.unlike(part, "model", repr(kind.model), repr(got), like="text encoder")
        if isinstance(vocabulary, list):
            ids += range(len(vocabulary))
        elif isinstance(vocabulary, dict):
            ids += vocabulary.values()
        if isinstance(added, list):
            ids += [token.get("id") for token in added if isinstance(token, dict)]
    elif foreign := names & ({*CLIP.files, *T5.files} - {*kind.files}):
        wanted, got = " and ".join(kind.files), min(foreign)
        raise folder.unlike(part, "files", wanted, got, like="text encoder")
    for name in ("vocab.json", "added_tokens.json"):
        if name in names and "tokenizer.json" not in names:
            ids += folder.read(part, name).values()
    return max((i for i in ids if type(i) is int), default=-1) + 1
