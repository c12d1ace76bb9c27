"""Encoded sentences kept on disk, so that each sentence needs its text encoder once.

A file holds one sentence, and is named by the hash of everything that its values depend on. The
files are in `embeddings` under DFAST_CACHE, else in `dfast/embeddings` under XDG_CACHE_HOME or
~/.cache; any of them can be deleted. A process without a home folder has no cache.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from dfast._files import replacing
from dfast.priors.loading.folder import STEMS, Folder

EncodedSentence = dict[str, Tensor]
"""Tensors of one sentence by name, float32 on the CPU."""


def cache_folder() -> Path | None:
    """Return the folder of the files; None if there is no home folder to put it in."""
    own = os.environ.get("DFAST_CACHE")
    base = own or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        folder = Path(base).expanduser()
    except RuntimeError:
        return None
    return folder / "embeddings" if own else folder / "dfast" / "embeddings"


def fingerprint(folder: Folder, parts: Iterable[str]) -> str | None:
    """Return a hash of all bytes of text encoders and tokenizers.

    A note for each folder keeps the result, so that it is known after the weights are deleted, and
    the hash of each weights file, so that a file is read again only if it changed.

    Args:
        folder: the pipeline folder.
        parts: its text encoders and tokenizers.

    Returns:
        The hash, or None if weights are missing and were never seen.
    """
    parts = list(parts)
    where = f"{os.path.realpath(folder.path)} {parts}"
    cache = cache_folder()
    note = cache and cache / f"{hashlib.sha256(where.encode()).hexdigest()}.json"
    files = [p for part in parts for p in sorted((folder.path / part).glob("*")) if p.is_file()]
    with_weights = {p.parent.name for p in files if p.suffix == ".safetensors"}
    known = _read_note(note)
    if any(part in STEMS and part not in with_weights for part in parts):
        return known.get("identity")
    digest = hashlib.sha256()
    hashes: dict[str, str] = {}
    for file in files:
        digest.update(f"{file.parent.name}/{file.name} {file.stat().st_size}\n".encode())
        if file.suffix == ".safetensors":
            stamp = _stamp(file)
            hashes[stamp] = known.get(stamp) or hash_file(file)
            digest.update(hashes[stamp].encode())
        elif file.suffix in (".json", ".txt", ".model", ".jinja"):
            digest.update(file.read_bytes())
    now = {"folder": where, "identity": digest.hexdigest(), **hashes}
    if note is not None and now != known:
        with suppress(OSError), replacing(note) as temporary:
            temporary.write_text(json.dumps(now))
    return digest.hexdigest()


def _read_note(note: Path | None) -> dict[str, str]:
    """Return the content of a note; {} if it is missing or unreadable."""
    if note is None:
        return {}
    try:
        found = json.loads(note.read_text())
    except (OSError, ValueError):
        return {}
    texts = isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
    return found if texts else {}


def _stamp(file: Path) -> str:
    """Return a text that changes whenever the file is written, without reading its bytes."""
    at = file.stat()
    return f"{os.path.realpath(file)} {at.st_size} {at.st_mtime_ns} {at.st_ctime_ns} {at.st_ino}"


def hash_file(file: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class EmbeddingCache:
    """Sentences that one set of text encoders has encoded."""

    def __init__(self, key: Mapping[str, object], folder: Path | None = None) -> None:
        """Open the cache; nothing is read or written.

        Args:
            key: everything but the sentence that the values depend on.
            folder: of the files; None is `cache_folder()`, without which nothing is kept.
        """
        self.key = json.dumps(key, sort_keys=True)
        self.folder = cache_folder() if folder is None else folder

    def path(self, sentence: str) -> Path | None:
        """Return the file of a sentence, whether it exists or not; None without a cache."""
        if self.folder is None:
            return None
        digest = hashlib.sha256(f"{self.key}\n{sentence}".encode()).hexdigest()
        return self.folder / f"{digest}.safetensors"

    def get(self, sentence: str) -> EncodedSentence | None:
        """Return the stored sentence; None if it is missing or unreadable."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if (path := self.path(sentence)) is None:
            return None
        try:
            return load_file(path)
        except (OSError, SafetensorError):
            return None

    def put(self, sentence: str, encoded: EncodedSentence) -> None:
        """Store a sentence if the disk allows it; without a cache, runs are only slower.

        Args:
            sentence: the key.
            encoded: its tensors.
        """
        from safetensors.torch import save

        if (path := self.path(sentence)) is None:
            return
        data = save({name: tensor.contiguous() for name, tensor in encoded.items()})
        with suppress(OSError), replacing(path) as temporary:
            temporary.write_bytes(data)
