"""Small files read with suspicion: JSON, and the headers of safetensors.

Files come from strangers. Their sizes and numbers are compared with what a model can have before
anything is read or allocated by them.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

MAX_JSON = 64 * 2**20
"""Bytes; the largest vocabularies have a quarter."""
MAX_HEADER = 100_000_000
"""Bytes; the limit of safetensors itself."""
MAX_NUMBER = 2**24
"""Above every size in a configuration; the largest vocabularies have a sixtieth."""
MAX_COUNTS = {
    "num_hidden_layers": 256,
    "num_layers": 256,
    "num_decoder_layers": 256,
    "num_single_layers": 256,
    "num_refiner_layers": 256,
    "n_layers": 256,
    "n_refiner_layers": 256,
    "depth": 256,
    "layers_per_block": 64,
    "transformer_layers_per_block": 64,
    "reverse_transformer_layers_per_block": 64,
    "mid_block_layers": 64,
    "num_train_timesteps": 100_000,
    "sample_size": 8192,
    "pos_embed_max_size": 8192,
    "axes_lens": 100_000,
    "extra_ids": 10_000,
}
"""Largest values of keys that decide how much is built: above those of all published models."""
_UNLIMITED = ("model_max_length", "lambda_min_clipped")
"""Keys at which tokenizers write 10^30, and schedulers infinity, for "no limit"."""
MAX_BLOCKS = 16
"""Entries of a list of the blocks of a network."""


class TensorInfo(NamedTuple):
    """What a header says of one tensor."""

    dtype: str
    """as safetensors writes it, such as "F16" """
    shape: tuple[int, ...]


class Header(NamedTuple):
    """The header of a safetensors file."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, Any]
    bytes: int
    """of all tensors"""


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Args:
        path: of the file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no JSON object, or larger than any that a model needs.
    """
    with path.open("rb") as stream:
        if (size := os.fstat(stream.fileno()).st_size) > MAX_JSON:
            raise ValueError(f"expected at most {MAX_JSON} bytes, got {size}")
        value = _parse(stream.read(MAX_JSON))
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {type(value).__name__}")
    return value


def read_header(path: Path) -> Header:
    """Return the header of a safetensors file, after a check of the file's length.

    Args:
        path: of the file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no safetensors file, or has another length than its header says.
    """
    nothing = ValueError("no safetensors header")
    with path.open("rb") as stream:
        size, start = os.fstat(stream.fileno()).st_size, stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= min(size, MAX_HEADER):
            raise nothing
        try:
            header = _parse(stream.read(length))
        except ValueError as error:
            raise nothing from error
    if not isinstance(header, dict):
        raise nothing
    metadata = header.pop("__metadata__", None)
    tensors, total = dict[str, TensorInfo](), 0
    for key, value in header.items():
        info = value if isinstance(value, dict) else {}
        found: list[Any] = [info.get(k) for k in ("dtype", "shape", "data_offsets")]
        dtype, shape, at = found
        offsets_known = _are_sizes(at) and len(at) == 2 and at[0] <= at[1]
        if not (isinstance(dtype, str) and _are_sizes(shape) and offsets_known):
            raise nothing
        tensors[key], total = TensorInfo(dtype, tuple(shape)), max(total, at[1])
    if size != 8 + length + total:
        raise ValueError(f"{size} bytes where its header says {8 + length + total}")
    return Header(tensors, metadata if isinstance(metadata, dict) else {}, total)


def _parse(data: bytes) -> Any:
    """Return what JSON text stands for. Raises ValueError."""
    try:
        return json.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and v >= 0 for v in value)


def excessive(config: dict[str, Any]) -> tuple[str, str, object] | None:
    """Return (key, what is expected, value) of a number that no published model comes near.

    Such a number would be turned into that many layers, tokens or bytes.

    Args:
        config: the content of a configuration file.
    """
    for key, value in _entries(config):
        most = MAX_COUNTS.get(key, MAX_NUMBER)
        if isinstance(value, int | float) and abs(value) > most and key not in _UNLIMITED:
            return key, f"at most {most}", value
        of_blocks = ("block_types", "block_out_channels", "dim_mult")
        blocks = isinstance(value, list) and key.endswith(of_blocks)
        if blocks and len(value) > MAX_BLOCKS:
            return key, f"at most {MAX_BLOCKS} blocks", f"{len(value)} of them"
    return None


def _entries(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Iterate over (key, value) of all values; those in lists have the key of their list."""
    rest: list[tuple[str, Any]] = list(config.items())
    while rest:
        key, value = rest.pop()
        yield key, value
        if isinstance(value, dict):
            rest += value.items()
        elif isinstance(value, list):
            rest += [(key, inner) for inner in value]
