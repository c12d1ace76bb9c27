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
    """Write a file atomically.

    Args:
        path: the file, replaced if it exists.
        data: its content.

    Raises:
        RunFolderError: if it cannot be written.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise RunFolderError(f"'{path}': cannot be written ({error.strerror or error})") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: dict[str, Any]) -> None:
    """Write a safetensors file atomically; equal content gives equal bytes.

    Args:
        path: the file, replaced if it exists.
        tensors: what to store by name, on any device.
        about: JSON values to store beside the tensors; "format" names the kind of file.

    Raises:
        RunFolderError: if it cannot be written.
    """
    from safetensors.torch import save

    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    # All metadata is under one key, because safetensors writes several keys in a random order.
    write_bytes(path, save(plain, {"dfast": json.dumps(about)}))


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file that `write_tensors` wrote.

    Args:
        path: the file.
        kind: the value that about["format"] must have.

    Returns:
        The tensors by name (on the CPU), and the JSON values stored beside them.

    Raises:
        RunFolderError: if the file is missing, damaged or of another kind.
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
