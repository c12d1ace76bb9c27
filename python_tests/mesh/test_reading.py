"""GLB files of another program, written by trimesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from dfast.errors import ConfigError
from dfast.mesh.mesh import Mesh
from dfast.mesh.reading import MeshPart, read_glb
from dfast.render.studio import encode


def _box(**visual: Any) -> Any:
    mesh = trimesh.creation.box(extents=(1, 2, 3))
    if visual:
        material = trimesh.visual.material.PBRMaterial(**visual)
        uv = np.linspace(0, 1, 2 * len(mesh.vertices)).reshape(-1, 2)
        mesh.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    return mesh


def _written(tmp_path: Path, *meshes: Any) -> list[MeshPart]:
    path = tmp_path / "mesh.glb"
    trimesh.Scene(list(meshes)).export(path)
    return read_glb(path)


def test_axes_are_turned_to_those_of_the_world(tmp_path: Path) -> None:
    (part,) = _written(tmp_path, _box())  # x to the right, y up, z to the front
    assert np.ptp(part.vertices, axis=0).tolist() == [3, 1, 2]
    assert len(part.faces) == 12 and part.texture is None
    assert (part.colors == 1).all()


def test_colours_of_vertices_materials_and_textures(tmp_path: Path) -> None:
    painted = _box()
    painted.visual.vertex_colors = [51, 102, 255, 255]
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    textured = _box(baseColorTexture=image, baseColorFactor=[255, 0, 51, 255])
    found = {part.texture is None: part for part in _written(tmp_path, painted, textured)}
    np.testing.assert_allclose(found[True].colors[0], [0.2, 0.4, 1.0], atol=1e-6)
    part = found[False]
    np.testing.assert_array_equal(part.texture, np.asarray(image))
    np.testing.assert_allclose(part.colors[0], [1.0, 0.0, 0.2], atol=1e-6)
    np.testing.assert_allclose(part.uv, textured.visual.uv, atol=1e-6)


def test_parts_are_where_the_scene_puts_them(tmp_path: Path) -> None:
    scene = trimesh.Scene(_box())
    scene.add_geometry(_box(), transform=trimesh.transformations.translation_matrix([0, 0, 9]))
    path = tmp_path / "two.glb"
    scene.export(path)
    assert sorted(part.vertices[:, 0].mean() for part in read_glb(path)) == [0, 9]


def test_a_mirrored_part_keeps_its_outside(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    scene.add_geometry(_box(), transform=np.diag([-1.0, 1.0, 1.0, 1.0]))
    scene.export(tmp_path / "mirror.glb")
    (part,) = read_glb(tmp_path / "mirror.glb")
    assert trimesh.Trimesh(part.vertices, part.faces, process=False).volume == pytest.approx(6.0)


def test_a_mesh_of_dfast_comes_back_as_it_was(tmp_path: Path) -> None:
    box = _box()
    colors = np.linspace(0, 1, 3 * len(box.vertices), dtype=np.float32).reshape(-1, 3)
    mesh = Mesh(box.vertices.astype(np.float32), box.faces, colors, 1.0)
    (part,) = read_glb(mesh.save(tmp_path / "own.glb"))
    np.testing.assert_allclose(part.vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(part.faces, mesh.faces)
    shown = encode(torch.from_numpy(part.colors)).numpy()
    np.testing.assert_allclose(shown, colors, atol=0.03)  # 8 bits of linear light


@pytest.mark.parametrize("content", [b"", b"glTF", b"no mesh" * 100])
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.glb"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read as a GLB file") as found:
        read_glb(path)
    assert "\n" not in str(found.value)


def test_meshes_without_size(tmp_path: Path) -> None:
    flat = _box()
    flat.vertices[:] = 1.0
    with pytest.raises(ConfigError, match="expected corners that are apart"):
        _written(tmp_path, flat)
    points = tmp_path / "points.glb"
    trimesh.Scene(trimesh.PointCloud(np.eye(3))).export(points)
    with pytest.raises(ConfigError, match="expected 1 to 20000000 triangles, got 0"):
        read_glb(points)
