"""Write meshes as GLB, PLY, OBJ and STL."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMATS = (".glb", ".ply", ".obj", ".stl")

# Constants of OpenGL that glTF 2.0 uses for component types and buffer targets.
UNSIGNED_SHORT, UNSIGNED_INT, FLOAT = 5123, 5125, 5126
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963


def glb_bytes(
    vertices: NDArray[np.float32],
    normals: NDArray[np.float32],
    colors: NDArray[np.float32],
    faces: NDArray[np.int64],
) -> bytes:
    """Return a binary glTF 2.0 file: y up, front +z, rough material, linear vertex colours.

    Args:
        vertices: [V, 3] in world axes.
        normals: [V, 3] unit normals in world axes.
        colors: [V, 3] display RGB (sRGB) in [0, 1].
        faces: [F, 3] indices, counterclockwise from outside.
    """
    turn = [1, 2, 0]  # glTF (x, y, z) = world (y, z, x), a rotation
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    rgba = np.full((len(vertices), 4), 65535, np.uint16)
    rgba[:, :3] = np.rint(np.clip(linear, 0, 1) * 65535)
    position = np.ascontiguousarray(vertices[:, turn], np.float32)
    arrays: list[tuple[NDArray[Any], int, str, int, dict[str, Any]]] = [
        (
            position,
            FLOAT,
            "VEC3",
            ARRAY_BUFFER,
            {"min": position.min(0).tolist(), "max": position.max(0).tolist()},
        ),
        (np.ascontiguousarray(normals[:, turn]), FLOAT, "VEC3", ARRAY_BUFFER, {}),
        (rgba, UNSIGNED_SHORT, "VEC4", ARRAY_BUFFER, {"normalized": True}),
        (faces.astype(np.uint32).ravel(), UNSIGNED_INT, "SCALAR", ELEMENT_ARRAY_BUFFER, {}),
    ]
    accessors, views, blob = [], [], b""
    for index, (array, component, shape, target, more) in enumerate(arrays):
        data = array.tobytes()
        views.append(
            {"buffer": 0, "byteOffset": len(blob), "byteLength": len(data), "target": target}
        )
        accessors.append(
            {
                "bufferView": index,
                "componentType": component,
                "count": len(array),
                "type": shape,
                **more,
            }
        )
        blob += data  # every array is a multiple of four bytes long
    scene = {
        "asset": {"version": "2.0", "generator": "dfast"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "object"}],
        "meshes": [
            {
                "primitives": [
                    {
                        "attributes": {"POSITION": 0, "NORMAL": 1, "COLOR_0": 2},
                        "indices": 3,
                        "material": 0,
                        "mode": 4,
                    }
                ]
            }
        ],
        "materials": [
            {
                "name": "matt",
                "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0},
            }
        ],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(blob)}],
    }
    text = json.dumps(scene, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    header = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(blob))
    return (
        header
        + struct.pack("<I4s", len(text), b"JSON")
        + text
        + struct.pack("<I4s", len(blob), b"BIN\0")
        + blob
    )
