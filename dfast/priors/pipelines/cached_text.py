"""Encode those sentences of a run that were never encoded, and remember them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from dfast.errors import PriorError
from dfast.priors.loading.embedding_cache import EmbeddingCache, EncodedSentence, fingerprint
from dfast.priors.loading.folder import Folder
from dfast.priors.loading.loader_errors import calls_of

FORMAT = 3
"""Changes whenever the values that encoders give are read in another way."""


def encode_cached(
    folder: Folder,
    parts: Sequence[str],
    device: torch.device,
    sentences: list[str],
    settings: Mapping[str, object],
    encode: Callable[[list[str]], list[EncodedSentence]],
) -> dict[str, EncodedSentence]:
    """Return sentences from the cache; `encode` encodes the others.

    Args:
        folder: the pipeline folder.
        parts: its text encoders and tokenizers, in pairs.
        device: of the prior.
        sentences: what to encode.
        settings: what the values depend on besides the sentence and the files.
        encode: encodes sentences by encoders that are freed before it returns.

    Raises:
        PriorError: if parts that are needed are missing, or their values are not finite.
    """
    encoders = fingerprint(folder, parts)
    cache = EmbeddingCache({"encoders": encoders, "format": FORMAT, **settings})
    found = {s: cache.get(s) if encoders else None for s in sentences}
    encoded = {s: row for s, row in found.items() if row is not None}
    missing = [s for s in sentences if s not in encoded]
    if missing:
        for part in parts:
            if not folder.has(part):
                raise folder.missing_error(part)
        with calls_of(folder, parts[0], device):
            rows = encode(missing)
        for sentence, row in zip(missing, rows, strict=True):
            encoded[sentence] = {k: v.detach().float().cpu() for k, v in row.items()}
            _check_finite(folder, sentence, encoded[sentence])
            cache.put(sentence, encoded[sentence])
        if device.type == "cuda":
            torch.cuda.empty_cache()  # the UNet will need the encoder's memory
    return encoded


def _check_finite(folder: Folder, sentence: str, row: EncodedSentence) -> None:
    """Raise PriorError for values that would be cached, and spoil every step of every run."""
    for name, tensor in row.items():
        if not bool(tensor.isfinite().all()):
            raise PriorError(
                f"prior {folder.name!r}: expected finite numbers from the text encoder, got "
                f"others in {name!r} of {sentence!r}; damaged weights, or half precision that "
                'overflowed: then prior.text_encoder = "cpu" or prior.precision = "fp32" helps'
            )
