"""Encode a mesh as a binary glTF 2.0 file (GLB).

A GLB file is a header, a JSON chunk and a binary chunk. The binary chunk holds arrays and images
one after the other; the JSON chunk says with a buffer view for each where it lies, and with an
accessor what the elements of an array are. Source: Khronos Group, "glTF 2.0 Specification".
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfast.io.images import encode_png
from dfast.mesh.arrays import Floats
from dfast.mesh.placing import Placed
from dfast.mesh.texture import Texture

# Constants of OpenGL that glTF 2.0 uses: component types, buffer targets, modes, filters, wrapping.
UNSIGNED_INT, FLOAT = 5125, 5126
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
TRIANGLES = 4
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE = 9729, 9987, 33071


@dataclass
class _Binary:
    """The binary chunk as it grows, with what the JSON chunk says about it."""

    data: list[bytes] = field(default_factory=list)
    views: list[dict[str, Any]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Bytes so far."""
        return sum(map(len, self.data))

    def add(self, data: bytes, **properties: Any) -> int:
        """Append bytes, and zeros up to a multiple of four; return the number of their view."""
        view = {"buffer": 0, "byteOffset": self.length, "byteLength": len(data), **properties}
        self.data.append(data + b"\0" * (-len(data) % 4))
        self.views.append(view)
        return len(self.views) - 1

    def attribute(self, array: Floats, *, bounds: bool = False) -> int:
        """Append an array [N, C] of floats, one row a vertex; return the number of its accessor."""
        array = np.ascontiguousarray(array, np.float32)
        accessor = {"componentType": FLOAT, "count": len(array), "type": f"VEC{array.shape[1]}"}
        if bounds:
            accessor |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        return self._accessor(array, ARRAY_BUFFER, accessor)

    def indices(self, faces: NDArray[Any]) -> int:
        """Append the corners of faces [F, 3]; return the number of their accessor."""
        array = faces.astype(np.uint32).ravel()
        accessor = {"componentType": UNSIGNED_INT, "count": len(array), "type": "SCALAR"}
        return self._accessor(array, ELEMENT_ARRAY_BUFFER, accessor)

    def _accessor(self, array: NDArray[Any], target: int, accessor: dict[str, Any]) -> int:
        view = self.add(array.tobytes(), target=target)
        self.accessors.append({"bufferView": view, **accessor})
        return len(self.accessors) - 1


@dataclass(frozen=True)
class Node:
    """A mesh of a GLB file with a name and a place."""

    name: str
    """Of the node and of its mesh."""
    mesh: Placed
    """In the axes and unit of glTF, relative to the node."""
    translation: tuple[float, float, float] | None = None
    """Where the node is; None stands for the origin."""


def glb_bytes(mesh: Placed) -> bytes:
    """Return a binary glTF 2.0 file of one mesh.

    Args:
        mesh: in the axes and unit of glTF.

    Returns:
        The content of a .glb file.
    """
    return glb_of_nodes([Node("object", mesh)])


def glb_of_nodes(nodes: Sequence[Node]) -> bytes:
    """Return a binary glTF 2.0 file.

    A textured mesh has a PBR material with the textures that it has: base colour, normal map with
    tangents, so that every reader has those for which the map was baked, roughness and metalness.
    Without the last two it is rough and no metal. A mesh without has linear colours at its
    vertices and no material: many readers show the colours of vertices in its place only.

    Args:
        nodes: the meshes.

    Returns:
        The content of a .glb file.
    """
    binary = _Binary()
    surfaces: dict[str, list[Any]] = {}
    primitives = [_primitive(binary, node.mesh, surfaces) for node in nodes]
    return _file(binary, nodes, primitives, surfaces)


def _primitive(binary: _Binary, mesh: Placed, surfaces: dict[str, list[Any]]) -> dict[str, Any]:
    """Append the arrays and images of a mesh; return what the JSON chunk says about its triangles.

    Args:
        binary: the binary chunk so far.
        mesh: in the axes and unit of glTF.
        surfaces: materials, textures, images and samplers so far; those of the mesh are added.
    """
    texture = mesh.texture
    if texture is None:
        attributes = {
            "POSITION": binary.attribute(mesh.vertices, bounds=True),
            "NORMAL": binary.attribute(mesh.normals),
            "COLOR_0": binary.attribute(linear(mesh.colors)),
        }
        primitive = {"attributes": attributes, "indices": binary.indices(mesh.faces)}
    else:
        atlas = texture.atlas
        attributes = {
            "POSITION": binary.attribute(mesh.vertices[atlas.source], bounds=True),
            "NORMAL": binary.attribute(mesh.normals[atlas.source]),
            "TANGENT": binary.attribute(texture.tangents),
            "TEXCOORD_0": binary.attribute(atlas.uv),
        }
        primitive = {"attributes": attributes, "indices": binary.indices(atlas.faces)}
        primitive["material"] = len(surfaces.get("materials", ()))
        _add_material(binary, texture, surfaces)
    return {**primitive, "mode": TRIANGLES}


def linear(colors: Floats) -> Floats:
    """Return linear colours of sRGB ones, both in [0, 1]."""
    colors = np.clip(colors, 0, 1)
    return np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


def _add_material(binary: _Binary, texture: Texture, surfaces: dict[str, list[Any]]) -> None:
    """Append the images; add what the JSON chunk says about them and their material."""
    found = texture.images()
    first = len(surfaces.get("images", ()))
    images = [
        {"bufferView": binary.add(encode_png(image)), "mimeType": "image/png", "name": name}
        for name, image in found.items()
    ]
    index = {name: {"index": first + number} for number, name in enumerate(found)}
    sampler = {
        "magFilter": LINEAR,
        "minFilter": LINEAR_MIPMAP_LINEAR,
        "wrapS": CLAMP_TO_EDGE,
        "wrapT": CLAMP_TO_EDGE,
    }
    # Factors multiply the textures.
    pbr: dict[str, Any] = {
        "baseColorTexture": index["color"],
        "metallicFactor": 1.0 if "material" in found else 0.0,
        "roughnessFactor": 1.0,
    }
    if "material" in found:
        pbr["metallicRoughnessTexture"] = index["material"]
    material = {"name": "surface", "pbrMetallicRoughness": pbr}
    if "normal" in found:
        material["normalTexture"] = index["normal"]
    textures = [{"sampler": 0, "source": first + number} for number in range(len(found))]
    for name, more in (("materials", [material]), ("textures", textures), ("images", images)):
        surfaces.setdefault(name, []).extend(more)
    surfaces.setdefault("samplers", [sampler])


def _file(
    binary: _Binary,
    nodes: Sequence[Node],
    primitives: Sequence[dict[str, Any]],
    surfaces: dict[str, list[Any]],
) -> bytes:
    """Return the file of one scene, whose nodes have one mesh of one primitive each."""
    described: list[dict[str, Any]] = []
    for number, node in enumerate(nodes):
        described.append({"mesh": number, "name": node.name})
        if node.translation is not None:
            described[-1]["translation"] = [float(value) for value in node.translation]
    description = {
        "asset": {"version": "2.0", "generator": "dfast"},
        "scene": 0,
        "scenes": [{"nodes": list(range(len(nodes)))}],
        "nodes": described,
        "meshes": [
            {"name": node.name, "primitives": [primitive]}
            for node, primitive in zip(nodes, primitives, strict=True)
        ],
        **surfaces,
        "accessors": binary.accessors,
        "bufferViews": binary.views,
        "buffers": [{"byteLength": binary.length}],
    }
    text = json.dumps(description, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)  # chunks are multiples of four bytes long
    chunks = _chunk(b"JSON", text) + _chunk(b"BIN\0", b"".join(binary.data))
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a GLB file: its length, its kind and its data."""
    return struct.pack("<I4s", len(data), kind) + data
