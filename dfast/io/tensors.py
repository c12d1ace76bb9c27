"""Write and read files atomically: bytes, and tensors as safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dfast._files import replacing
from dfast.errors import RunFolderError


def write_bytes(path: Path, data: bytes) -> None:
    """Write `path` atomically. Raises RunFolderError."""
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise RunFolderError(f"'{path}': cannot be written ({error.strerror or error})") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: dict[str, Any]) -> None:
    """A safetensors file, atomically; equal content gives equal bytes. `about`: JSON values."""
    from safetensors.torch import save

    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    # One metadata key: safetensors writes several in a random order.
    write_bytes(path, save(plain, {"dfast": json.dumps(about)}))


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, about) of a file that `write_tensors` wrote with about["format"] = kind.

    Raises RunFolderError when it is missing, damaged or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise RunFolderError(f"'{path}': no such file")
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
            about = json.loads((file.metadata() or {}).get("dfast", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise RunFolderError(
            f"'{path}': damaged or cut short ({error}); delete it, or restore it from a copy"
        ) from error
    if about.get("format") != kind:
        raise RunFolderError(
            f"'{path}': expected a {kind!r} file, got {about.get('format', 'another format')!r}"
        )
    return tensors, about
