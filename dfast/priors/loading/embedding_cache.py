"""Encoded sentences kept on disk, so that a text encoder is loaded once for each sentence.

A file is named by the hash of all that its numbers depend on, and holds one sentence. Under
DFAST_CACHE, else XDG_CACHE_HOME or ~/.cache, in `dfast/embeddings`; deleting any of it is safe.
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

Encoded = dict[str, Tensor]
"""Tensors of one sentence by name, float32 on the CPU."""


def cache_folder() -> Path:
    """Where the files are."""
    if own := os.environ.get("DFAST_CACHE"):
        return Path(own).expanduser() / "embeddings"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "dfast" / "embeddings"


def identity(folder: Folder, parts: Iterable[str]) -> str | None:
    """A hash of text encoders and tokenizers, of all their bytes.

    A note for each folder remembers it, so that it is known after the weights are deleted, and the
    hash of each weights file, so that it is read again only if it changed. None if weights are
    missing and were never seen.
    """
    parts = list(parts)
    where = f"{folder.path.resolve()} {parts}"
    note = cache_folder() / f"{hashlib.sha256(where.encode()).hexdigest()}.json"
    files = [p for part in parts for p in sorted((folder.path / part).glob("*")) if p.is_file()]
    weighty = {p.parent.name for p in files if p.suffix == ".safetensors"}
    known = _known(note)
    if any(part in STEMS and part not in weighty for part in parts):
        return known.get("identity")
    digest = hashlib.sha256()
    hashes: dict[str, str] = {}
    for file in files:
        digest.update(f"{file.parent.name}/{file.name} {file.stat().st_size}\n".encode())
        if file.suffix == ".safetensors":
            is_now = _stamp(file)
            hashes[is_now] = known.get(is_now) or _hash(file)
            digest.update(hashes[is_now].encode())
        elif file.suffix in (".json", ".txt", ".model"):
            digest.update(file.read_bytes())
    now = {"folder": where, "identity": digest.hexdigest(), **hashes}
    if now != known:
        with suppress(OSError), replacing(note) as temporary:
            temporary.write_text(json.dumps(now))
    return digest.hexdigest()


def _known(note: Path) -> dict[str, str]:
    """What a note says; {} if there is none, or none that can be read."""
    try:
        found = json.loads(note.read_text())
    except (OSError, ValueError):
        return {}
    texts = isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
    return found if texts else {}


def _stamp(file: Path) -> str:
    """Tells a file from what it was before it was written to; its bytes are not read."""
    at = file.stat()
    return f"{file.resolve()} {at.st_size} {at.st_mtime_ns} {at.st_ctime_ns} {at.st_ino}"


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class EmbeddingCache:
    """Sentences that one set of text encoders has read.

    key: everything but the sentence that the numbers depend on.
    """

    def __init__(self, key: Mapping[str, object], folder: Path | None = None) -> None:
        self.key = json.dumps(key, sort_keys=True)
        self.folder = cache_folder() if folder is None else folder

    def path(self, sentence: str) -> Path:
        """Where a sentence is, or would be."""
        digest = hashlib.sha256(f"{self.key}\n{sentence}".encode()).hexdigest()
        return self.folder / f"{digest}.safetensors"

    def get(self, sentence: str) -> Encoded | None:
        """What was kept; None if there is nothing, or nothing that can be read."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(self.path(sentence))
        except (OSError, SafetensorError):
            return None

    def put(self, sentence: str, encoded: Encoded) -> None:
        """Keep it, if the disk allows: a cache that cannot be written is only slow."""
        from safetensors.torch import save

        data = save({name: tensor.contiguous() for name, tensor in encoded.items()})
        with suppress(OSError), replacing(self.path(sentence)) as temporary:
            temporary.write_bytes(data)
