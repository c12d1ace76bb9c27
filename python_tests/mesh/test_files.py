"""Mesh files: GLB axes and layout, other formats."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from density_fields import Ball

from dfast.mesh.extract import extract_mesh
from dfast.mesh.gltf import glb_bytes


def test_glb_stands_upright_and_faces_front(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    path = extract_mesh(Ball(0.3, (0.4, 0.0, 0.2)), resolution=32).save(tmp_path / "a" / "ball.glb")
    scene = trimesh.load(path)
    mesh = next(iter(scene.geometry.values()))
    assert mesh.is_watertight and mesh.volume > 0
    assert np.allclose(mesh.bounds.mean(0), [0.0, 0.2, 0.4], atol=0.02)  # y up, +z front


def test_glb_chunks_are_aligned_and_indices_in_range() -> None:
    mesh = extract_mesh(Ball(), resolution=16)
    data = glb_bytes(mesh.vertices, mesh.normals(), mesh.colors, mesh.faces)
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data)) and length % 4 == 0
    size, kind = struct.unpack_from("<I4s", data, 12)
    scene = json.loads(data[20 : 20 + size])
    assert kind == b"JSON" and size % 4 == 0
    assert scene["accessors"][3]["count"] == mesh.faces.size
    assert scene["buffers"][0]["byteLength"] == len(data) - 28 - size


@pytest.mark.parametrize("ending", [".ply", ".obj", ".stl"])
def test_other_formats_keep_world_axes(tmp_path: Path, ending: str) -> None:
    trimesh = pytest.importorskip("trimesh")
    path = extract_mesh(Ball(0.3, (0.4, 0.0, 0.2)), resolution=24).save(tmp_path / f"ball{ending}")
    assert np.allclose(trimesh.load(path).bounds.mean(0), [0.4, 0.0, 0.2], atol=0.03)
