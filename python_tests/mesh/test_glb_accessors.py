"""GLB files with normalised integers, sparse rows and places of textures that are not read."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfast.errors import ConfigError
from dfast.mesh.glb_accessors import plain_accessors
from dfast.mesh.reading import read_glb

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4")
FLOAT, SHORT, USHORT, BYTE, UBYTE = 5126, 5122, 5123, 5120, 5121


class Glb:
    """A file of one triangle, built accessor by accessor."""

    def __init__(self) -> None:
        self.binary = b""
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self.attributes = {"POSITION": self.add(CORNERS, FLOAT, "VEC3")}
        self.material: dict[str, Any] = {}

    def view(self, data: bytes, **more: int) -> int:
        """Append bytes, aligned, and return the number of their view."""
        self.binary += b"\0" * (-len(self.binary) % 4)
        self.views.append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)})
        self.views[-1] |= more
        self.binary += data
        return len(self.views) - 1

    def add(self, values: np.ndarray, kind: int, shape: str, **more: Any) -> int:
        """Append an accessor, and return its number."""
        entry = {"componentType": kind, "count": len(values), "type": shape} | more
        self.accessors.append({"bufferView": self.view(values.tobytes())} | entry)
        return len(self.accessors) - 1

    def bytes(self) -> bytes:
        """Return the file."""
        primitive = {"attributes": self.attributes, "material": 0}
        header = {
            "asset": {"version": "2.0"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": [primitive]}],
            "materials": [{"pbrMetallicRoughness": self.material}],
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": len(self.binary)}],
        }
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 4)
        binary = self.binary + b"\0" * (-len(self.binary) % 4)
        chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
        chunks += struct.pack("<II", len(binary), 0x004E4942) + binary
        return struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks

    def read(self, folder: Path) -> Any:
        """Write the file, and return its only part."""
        path = folder / "made.glb"
        path.write_bytes(self.bytes())
        (part,) = read_glb(path)
        return part


@pytest.mark.parametrize(
    ("kind", "dtype", "most"), [(UBYTE, "<u1", 255), (USHORT, "<u2", 65535)], ids=["8", "16"]
)
def test_painted_vertices(kind: int, dtype: str, most: int, tmp_path: Path) -> None:
    glb, wanted = Glb(), np.array([[1.0, 0.5, 0.25, 1.0]] * 3)
    stored = (wanted * most).round().astype(dtype)
    glb.attributes["COLOR_0"] = glb.add(stored, kind, "VEC4", normalized=True)
    np.testing.assert_allclose(glb.read(tmp_path).colors, wanted[:, :3], atol=0.003)


def test_positions_and_texture_coordinates_of_compressors(tmp_path: Path) -> None:
    glb = Glb()
    corners = np.array([[0, 0, 0, 9], [32767, 0, 0, 9], [0, -32768, 0, 9]], "<i2")
    view = glb.view(corners.tobytes(), byteStride=8)
    glb.accessors[0] = {
        "bufferView": view, "componentType": SHORT, "count": 3, "type": "VEC3", "normalized": True,
    }  # fmt: skip
    uv = np.array([[0, 0], [65535, 0], [0, 13107]], "<u2")
    glb.attributes["TEXCOORD_0"] = glb.add(uv, USHORT, "VEC2", normalized=True)
    plain = plain_accessors(glb.bytes())
    assert b"normalized" not in plain and plain_accessors(plain) == plain
    part = glb.read(tmp_path)
    assert np.ptp(part.vertices, axis=0).tolist() == [0.0, 1.0, 1.0]  # y is up, x to the right


def test_sparse_rows_replace_those_of_the_view_or_zeros(tmp_path: Path) -> None:
    glb = Glb()
    sparse = {
        "count": 1,
        "indices": {"bufferView": glb.view(np.array([1], "<u1").tobytes()), "componentType": UBYTE},
        "values": {"bufferView": glb.view(np.array([[3, 0, 0]], "<f4").tobytes())},
    }
    glb.accessors[0]["sparse"] = sparse
    assert np.ptp(glb.read(tmp_path).vertices, axis=0).tolist() == [0.0, 3.0, 1.0]
    del glb.accessors[0]["bufferView"]
    assert np.ptp(glb.read(tmp_path).vertices, axis=0).tolist() == [0.0, 3.0, 0.0]


def test_files_without_either_are_left_alone() -> None:
    data = Glb().bytes()
    assert plain_accessors(data) is data


@pytest.mark.parametrize(
    ("texture", "said"),
    [
        ({"extensions": {"KHR_texture_transform": {"scale": [2, 2]}}}, "KHR_texture_transform"),
        ({"texCoord": 1}, "texture coordinates 1, expected 0"),
    ],
)
def test_textures_in_other_places_are_refused(
    texture: dict[str, Any], said: str, tmp_path: Path
) -> None:
    glb = Glb()
    glb.material["baseColorTexture"] = {"index": 0} | texture
    with pytest.raises(ConfigError, match=said) as found:
        glb.read(tmp_path)
    assert "\n" not in str(found.value)


def test_rows_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    glb = Glb()
    short = np.zeros((2, 4), "<u2")
    glb.attributes["COLOR_0"] = glb.add(short, USHORT, "VEC4", normalized=True)
    glb.accessors[-1]["count"] = 3_000
    with pytest.raises(ConfigError, match="cannot be read as a GLB file") as found:
        glb.read(tmp_path)
    assert "\n" not in str(found.value)
