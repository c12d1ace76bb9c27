"""Write and read files atomically: bytes, and tensors as safetensors.

A tensor file holds a hash over its values and tensors, so that a flipped bit is noticed. Files of
versions before that have none; they are read, with a warning.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dfast._files import replacing
from dfast._numbers import shown
from dfast.errors import DfastWarning, RunFolderError
from dfast.io.present import check_file

HASH = "sha256"
"""Name of the hash among the values beside the tensors."""
MOST_TEXT = 2**24
"""Most characters of the values beside the tensors."""
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Types that dfast stores, by the names of safetensors."""


class Layout(NamedTuple):
    """Shape and type of a tensor that a file must hold."""

    shape: tuple[int, ...]
    """Its shape."""
    dtype: torch.dtype
    """Its type."""

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')} {list(self.shape)}"


def layout(tensors: Mapping[str, Tensor]) -> dict[str, Layout]:
    """Return the layout of tensors, by name.

    Args:
        tensors: by name, on any device.
    """
    return {name: Layout(tuple(t.shape), t.dtype) for name, t in tensors.items()}


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
    about = about | {HASH: _hash(plain, about)}
    # All metadata is under one key, because safetensors writes several keys in a random order.
    write_bytes(path, save(plain, {"dfast": json.dumps(about)}))


def read_tensors(
    path: Path,
    kind: str,
    expected: Callable[[dict[str, Any]], Mapping[str, Layout]] | None = None,
    ignore: str | None = None,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file that `write_tensors` wrote.

    Args:
        path: the file.
        kind: the value that about["format"] must have.
        expected: returns the layout of all tensors for the values beside them, and may raise
            RunFolderError; it is compared before any tensor is read. None takes every layout.
        ignore: beginning of the names of further tensors that are read whatever they are.

    Returns:
        The tensors by name (on the CPU), and the JSON values stored beside them.

    Raises:
        RunFolderError: if the file is missing, damaged or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    check_file(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            about = _read_values((file.metadata() or {}).get("dfast", "{}"))
            if about.get("format") != kind:
                other = shown(about["format"]) if "format" in about else "another format"
                raise RunFolderError(f"'{path}': expected a {kind!r} file, got {other}")
            if expected is not None:
                every = list(file.keys())
                names = [k for k in every if not (ignore and k.startswith(ignore))]
                slices = {name: file.get_slice(name) for name in names}
                found = {n: (s.get_shape(), s.get_dtype()) for n, s in slices.items()}
                _compare(path, found, expected(about))
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    except RunFolderError:
        raise
    except (SafetensorError, OSError, ValueError, TypeError, RecursionError) as error:
        raise damaged(path, error) from error
    recorded = about.pop(HASH, None)
    if recorded is None:
        warnings.warn(
            f"'{path}' was written by an earlier version, without a hash: damage to its numbers "
            "would not be noticed",
            DfastWarning,
            stacklevel=2,
        )
    elif recorded != _hash(tensors, about):
        raise damaged(path, "its content does not match the hash stored in it")
    return tensors, about


def format_of(path: Path) -> str | None:
    """Return which kind of file `write_tensors` wrote, None where it cannot be read.

    Args:
        path: the file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            kind = _read_values((file.metadata() or {}).get("dfast", "{}")).get("format")
    except (SafetensorError, OSError, ValueError, TypeError, RecursionError):
        return None
    return kind if isinstance(kind, str) else None


def damaged(path: Path, reason: object) -> RunFolderError:
    """Return the error for a damaged file.

    Args:
        path: the file.
        reason: what is wrong, in one line or as an exception.
    """
    text = " ".join(str(reason).split())[:300]
    return RunFolderError(
        f"'{path}': damaged or cut short ({text}); delete it, or restore it from a copy"
    )


def _read_values(text: str) -> dict[str, Any]:
    """Return the values stored beside the tensors; raise ValueError for anything but an object."""
    if len(text) > MOST_TEXT:
        raise ValueError(f"{len(text)} characters of metadata")
    about = json.loads(text)
    if not isinstance(about, dict):
        raise ValueError(f"its metadata is {shown(about)}")
    return about


def _compare(
    path: Path, found: Mapping[str, tuple[list[int], str]], expected: Mapping[str, Layout]
) -> None:
    """Raise RunFolderError where tensors are missing, unknown, or of another shape or type."""
    for name, want in expected.items():
        if name not in found:
            raise damaged(path, f"no tensor {name!r}")
        shape, kind = found[name]
        if tuple(shape) != want.shape or DTYPES.get(kind) != want.dtype:
            got = f"{DTYPES[kind]}" if kind in DTYPES else kind
            got = f"{got.removeprefix('torch.')} {shown(list(shape))}"
            raise damaged(path, f"{name}: expected {want} by its settings, got {got}")
    if unknown := sorted(found.keys() - expected.keys()):
        raise damaged(path, f"unknown tensor {shown(unknown[0])}")


def _hash(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    """Return a hash over names, shapes, types and bytes of CPU tensors, and over JSON values."""
    digest = hashlib.sha256(json.dumps(about).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{json.dumps(name)} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
