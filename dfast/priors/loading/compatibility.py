"""Whether the parts of a folder belong together, decided from their small files.

People assemble folders: a fine-tuned UNet, another VAE, the text encoder of a sibling. A mismatch
is found before any weights are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dfast.priors.loading.folder import Folder


class TextEncoderKind(NamedTuple):
    """What the text encoders of a family look like in their configuration files."""

    types: tuple[str, ...]
    """accepted values of model_type"""
    width: str
    """the key of the embedding's width"""
    tokenizer: str
    """class of the tokenizer in transformers"""
    model: str
    """model type in tokenizer.json"""
    files: tuple[str, ...]
    """files of a tokenizer without tokenizer.json"""
    inside: str = ""
    """the key of the settings of the language model, in newer files of a model of more"""


CLIP = TextEncoderKind(
    types=("clip_text_model", "clip"),
    width="hidden_size",
    tokenizer="CLIPTokenizer",
    model="BPE",
    files=("vocab.json", "merges.txt"),
)
T5 = TextEncoderKind(
    types=("t5",),
    width="d_model",
    tokenizer="T5Tokenizer",
    model="Unigram",
    files=("spiece.model",),
)
UMT5 = T5._replace(types=("umt5",))
GEMMA2 = TextEncoderKind(
    types=("gemma2",),
    width="hidden_size",
    tokenizer="GemmaTokenizer",
    model="BPE",
    files=("tokenizer.json",),
)
T5GEMMA = TextEncoderKind(
    types=("t5gemma", "t5_gemma_module"),
    width="hidden_size",
    tokenizer="GemmaTokenizer",
    model="BPE",
    files=("tokenizer.json",),
)
QWEN3 = TextEncoderKind(
    types=("qwen3",),
    width="hidden_size",
    tokenizer="Qwen2Tokenizer",
    model="BPE",
    files=("vocab.json", "merges.txt"),
)

QWEN25_VL = QWEN3._replace(types=("qwen2_5_vl", "qwen2_5_vl_text"), inside="text_config")


def check_text(
    folder: Folder,
    kind: TextEncoderKind,
    parts: Sequence[str],
    length: int,
    width: str = "cross_attention_dim",
) -> None:
    """Check text encoders against their tokenizers, and their widths against the UNet.

    Parts that are missing are not checked, since their embeddings may be cached.

    Args:
        folder: the pipeline folder.
        kind: of its text encoders.
        parts: an encoder and its tokenizer, and perhaps a second pair.
        length: tokens of a sentence.
        width: key of the UNet's configuration: the width of the text that it reads.

    Raises:
        PriorError: for the first mismatch.
    """
    encoders, widths = parts[::2], {}
    for part, tokenizer in zip(encoders, parts[1::2], strict=True):
        own = check_encoder(folder, kind, part, tokenizer, length)
        if own is not None:
            widths[part] = own
    projected = folder.config("unet").get("encoder_hid_dim") is not None
    wanted = folder.numbers("unet", "encoder_hid_dim" if projected else width, 1280)
    if len(widths) == len(encoders) and set(wanted) != {sum(widths.values())}:
        total = wanted[0] if len(set(wanted)) == 1 else wanted
        sum_of_widths = " + ".join(map(str, widths.values()))
        raise folder.mismatch_error(
            " + ".join(widths), kind.width, total, sum_of_widths, other="UNet"
        )


def check_encoder(
    folder: Folder,
    kind: TextEncoderKind,
    part: str,
    tokenizer: str,
    length: int,
    *,
    other: str = "UNet",
) -> float | None:
    """Check a text encoder against its tokenizer, and return its width if it is there.

    Args:
        folder: the pipeline folder.
        kind: of the text encoder.
        part: of the encoder.
        tokenizer: its part.
        length: tokens of a sentence.
        other: what the encoder serves, for messages.

    Raises:
        PriorError: for the first mismatch.
    """
    vocabulary = _vocabulary_size(folder, kind, tokenizer)
    if not (config := folder.config(part)):
        return None
    if (got := config.get("model_type", kind.types[0])) not in kind.types:
        raise folder.mismatch_error(part, "model_type", repr(kind.types[0]), repr(got), other=other)
    at = f"{kind.inside}." if isinstance(config.get(kind.inside), dict) else ""
    for key, least, beside in (
        ("vocab_size", vocabulary, tokenizer),
        ("max_position_embeddings", length, "length of sentences"),
    ):
        if (number := folder.number(part, at + key, max(least, 1))) < least:
            raise folder.mismatch_error(part, key, f"of at least {least}", number, other=beside)
    known = kind.width in (config[kind.inside] if at else config)
    return folder.number(part, at + kind.width, None) if known else None


def _vocabulary_size(folder: Folder, kind: TextEncoderKind, part: str) -> int:
    """Return one more than the largest token of a tokenizer; 0 if its small files do not tell.

    Raises PriorError for a tokenizer of another kind.
    """
    ids: list[Any] = []
    names = {p.name for p in (folder.path / part).glob("*")}
    if "tokenizer.json" in names:
        read = folder.read(part, "tokenizer.json")
        model, added = read.get("model"), read.get("added_tokens")
        vocabulary = model.get("vocab") if isinstance(model, dict) else None
        if isinstance(model, dict) and (got := model.get("type", kind.model)) != kind.model:
            raise folder.mismatch_error(
                part, "model", repr(kind.model), repr(got), other="text encoder"
            )
        if isinstance(vocabulary, list):
            ids += range(len(vocabulary))
        elif isinstance(vocabulary, dict):
            ids += vocabulary.values()
        if isinstance(added, list):
            ids += [token.get("id") for token in added if isinstance(token, dict)]
    elif foreign := names & ({*CLIP.files, *T5.files} - {*kind.files}):
        wanted = " and ".join(kind.files)
        raise folder.mismatch_error(part, "files", wanted, min(foreign), other="text encoder")
    for name in ("vocab.json", "added_tokens.json"):
        if name in names and "tokenizer.json" not in names:
            ids += folder.read(part, name).values()
    return max((i for i in ids if type(i) is int), default=-1) + 1
