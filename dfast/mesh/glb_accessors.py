"""Numbers of a GLB file, written such that a simple reader takes them as they are meant.

glTF 2.0 (sections 3.6.2.2 and 3.6.2.3) lets an accessor hold fractions as normalised integers,
which Blender does with painted vertices and compressors do with everything, and lets it be sparse:
some of its rows replaced by others. trimesh reads both as if that were not there.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAGIC, _JSON, _BINARY = 0x46546C67, 0x4E4F534A, 0x004E4942
_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_FLOAT = 5126


def plain_accessors(data: bytes) -> bytes:
    """Return a GLB file of the same meaning without normalised and sparse accessors.

    Args:
        data: the file.

    Raises:
        ValueError: the file is no GLB file, or its texture is placed in a way that is not read.
        LookupError: it refers to what is not there.
        TypeError: an entry is of another type than it must be.
    """
    header, binary = _chunks(data)
    _check_textures(header)
    accessors = header.get("accessors", [])
    changed = [a for a in accessors if a.get("normalized") or "sparse" in a]
    if not changed:
        return data
    for accessor in changed:
        values = _values(header, binary, accessor)
        if accessor.pop("normalized", False):
            values = _fractions(values)
            accessor["componentType"] = _FLOAT
        accessor.pop("sparse", None)
        binary += b"\0" * (-len(binary) % 4)
        views = header.setdefault("bufferViews", [])
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": values.nbytes})
        accessor |= {"bufferView": len(views) - 1, "byteOffset": 0}
        binary += values.tobytes()
    header.setdefault("buffers", [{}])[0]["byteLength"] = len(binary)
    return _file(header, binary)


def _chunks(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the buffer of a GLB file."""
    if len(data) < 20 or struct.unpack_from("<I", data)[0] != _MAGIC:
        raise ValueError("expected a file that begins with glTF")
    found: dict[int, bytes] = {}
    at = 12
    while at + 8 <= len(data):
        length, kind = struct.unpack_from("<II", data, at)
        found.setdefault(kind, data[at + 8 : at + 8 + length])
        at += 8 + length
    header = json.loads(found[_JSON])
    if not isinstance(header, dict):
        raise TypeError(f"expected an object as header, got {type(header).__name__}")
    return header, found.get(_BINARY, b"")


def _file(header: dict[str, Any], binary: bytes) -> bytes:
    """Return the GLB file of a header and a buffer."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    size = 12 + 8 + len(text) + 8 + len(binary)
    start = struct.pack("<IIIII", _MAGIC, 2, size, len(text), _JSON)
    return start + text + struct.pack("<II", len(binary), _BINARY) + binary


def _values(header: dict[str, Any], binary: bytes, accessor: dict[str, Any]) -> NDArray[Any]:
    """Return the rows of an accessor as they are stored, those of its sparse part replaced."""
    kind, count = np.dtype(_TYPES[accessor["componentType"]]), int(accessor["count"])
    width = _WIDTHS[accessor["type"]]
    values = np.zeros((count, width), kind)
    if "bufferView" in accessor:
        values = _rows(header, binary, accessor, kind, count, width).copy()
    if (sparse := accessor.get("sparse")) is not None:
        of, replaced = int(sparse["count"]), sparse["indices"]
        index = _rows(header, binary, replaced, np.dtype(_TYPES[replaced["componentType"]]), of, 1)
        values[index[:, 0]] = _rows(header, binary, sparse["values"], kind, of, width)
    return values


def _rows(
    header: dict[str, Any],
    binary: bytes,
    where: dict[str, Any],
    kind: np.dtype[Any],
    count: int,
    width: int,
) -> NDArray[Any]:
    """Return rows [count, width] of a view of the buffer."""
    view = header["bufferViews"][where["bufferView"]]
    if view["buffer"] != 0 or "uri" in header["buffers"][0]:
        raise ValueError("expected all numbers in the file's own buffer")
    stride = int(view.get("byteStride", width * kind.itemsize))
    start = int(view.get("byteOffset", 0)) + int(where.get("byteOffset", 0))
    shape, strides = (count, width), (stride, kind.itemsize)
    return np.ndarray(shape, kind, binary, start, strides)


def _fractions(values: NDArray[Any]) -> NDArray[Any]:
    """Return normalised integers as the fractions that they stand for."""
    if values.dtype.kind == "f":
        return values
    scaled = values.astype(np.float64) / np.iinfo(values.dtype).max
    return scaled.clip(-1.0, 1.0).astype("<f4")


def _check_textures(header: dict[str, Any]) -> None:
    """Raise ValueError for base colours whose place in the texture would be read wrongly."""
    for material in header.get("materials", []):
        texture = material.get("pbrMetallicRoughness", {}).get("baseColorTexture", {})
        if "KHR_texture_transform" in texture.get("extensions", {}):
            raise ValueError(
                "its texture coordinates are moved (KHR_texture_transform): save it without"
            )
        if texture.get("texCoord", 0) != 0:
            raise ValueError(
                f"its colours have texture coordinates {texture['texCoord']}, expected 0"
            )
