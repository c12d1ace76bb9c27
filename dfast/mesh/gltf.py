"""Encode a mesh as a binary glTF 2.0 file (GLB).

A GLB file is a header, a JSON chunk and a binary chunk. The binary chunk holds the arrays one after
the other; the JSON chunk says with an accessor and a buffer view for each where it lies and what
its elements are. Source: Khronos Group, "glTF 2.0 Specification".
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfast.mesh.arrays import Floats, Indices

# Constants of OpenGL that glTF 2.0 uses for component types, buffer targets and primitive modes.
UNSIGNED_SHORT, UNSIGNED_INT, FLOAT = 5123, 5125, 5126
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
TRIANGLES = 4

TO_GLTF_AXES = [1, 2, 0]
"""Columns of world coordinates in the order of glTF: its (x, y, z) are the world's (y, z, x)."""


@dataclass(frozen=True)
class _Accessor:
    """An array of the binary chunk, with what glTF states about it."""

    array: NDArray[Any]  # a multiple of four bytes long
    component: int
    """Type of one number."""
    element: str
    """Shape of one element: "SCALAR", "VEC3" or "VEC4"."""
    target: int
    """Use of the buffer: vertex attributes or indices."""
    extra: dict[str, Any]
    """Further properties."""


def glb_bytes(vertices: Floats, normals: Floats, colors: Floats, faces: Indices) -> bytes:
    """Return a binary glTF 2.0 file: y up, front +z, rough material, linear vertex colours.

    Args:
        vertices: [V, 3] in world axes.
        normals: [V, 3] unit normals in world axes.
        colors: [V, 3] display RGB (sRGB) in [0, 1].
        faces: [F, 3] indices, counterclockwise as seen from outside.

    Returns:
        The content of a .glb file.
    """
    accessors = _accessors(vertices, normals, colors, faces)
    binary = b"".join(a.array.tobytes() for a in accessors)
    text = json.dumps(_scene(accessors), separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)  # chunks are multiples of four bytes long
    chunks = _chunk(b"JSON", text) + _chunk(b"BIN\0", binary)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _accessors(
    vertices: Floats, normals: Floats, colors: Floats, faces: Indices
) -> list[_Accessor]:
    """Return the arrays of the file: positions, normals, colours, indices."""
    position = np.ascontiguousarray(vertices[:, TO_GLTF_AXES], np.float32)
    normal = np.ascontiguousarray(normals[:, TO_GLTF_AXES])
    bounds = {"min": position.min(0).tolist(), "max": position.max(0).tolist()}
    index = faces.astype(np.uint32).ravel()
    return [
        _Accessor(position, FLOAT, "VEC3", ARRAY_BUFFER, bounds),
        _Accessor(normal, FLOAT, "VEC3", ARRAY_BUFFER, {}),
        _Accessor(_rgba(colors), UNSIGNED_SHORT, "VEC4", ARRAY_BUFFER, {"normalized": True}),
        _Accessor(index, UNSIGNED_INT, "SCALAR", ELEMENT_ARRAY_BUFFER, {}),
    ]


def _rgba(colors: Floats) -> NDArray[np.uint16]:
    """Return sRGB colours [V, 3] as linear, opaque ones of 16 bits, [V, 4]."""
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    rgba = np.full((len(colors), 4), 65535, np.uint16)
    rgba[:, :3] = np.rint(np.clip(linear, 0, 1) * 65535)
    return rgba


def _scene(accessors: list[_Accessor]) -> dict[str, Any]:
    """Return the JSON chunk: one scene of one node with one mesh of one primitive."""
    views, offset = [], 0
    for a in accessors:
        size = a.array.nbytes
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": size, "target": a.target})
        offset += size
    primitive = {
        "attributes": {"POSITION": 0, "NORMAL": 1, "COLOR_0": 2},
        "indices": 3,
        "material": 0,
        "mode": TRIANGLES,
    }
    rough = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    return {
        "asset": {"version": "2.0", "generator": "dfast"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "object"}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [{"name": "matt", "pbrMetallicRoughness": rough}],
        "accessors": [
            {
                "bufferView": index,
                "componentType": a.component,
                "count": len(a.array),
                "type": a.element,
                **a.extra,
            }
            for index, a in enumerate(accessors)
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": offset}],
    }


def _chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a GLB file: its length, its kind and its data."""
    return struct.pack("<I4s", len(data), kind) + data
