"""Meshes of layouts: pieces in their places, files with named nodes, one texture for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from density_fields import Ball
from node import run_js

from dfast.config import Layout
from dfast.errors import ExportError
from dfast.mesh.layout import LayoutMesh, export_layout
from dfast.mesh.mesh import Mesh
from dfast.mesh.reading import read_glb

trimesh = pytest.importorskip("trimesh")

SMALL: dict[str, Any] = {"resolution": 32, "level": 30.0, "faces": 1200}
CUBE = {"name": "big", "prompt": "a", "position": [0.0, -0.5, 0.0], "size": 0.45}
BALL = {"name": "small one", "prompt": "b", "position": [0.1, 0.5, 0.2], "size": 0.3,
        "heading": 90.0}  # fmt: skip
LAYOUT = Layout.from_dict({"prompt": "two", "parts": [CUBE, BALL]})
FIELDS = {"big": Ball(0.6), "small one": Ball(0.4, (0.3, 0.0, 0.0))}
"""In their own frames; the second ball is in front of the middle of its frame."""
PLACES = {"big": ((0.0, -0.5, 0.0), 0.45 * 0.6), "small one": ((0.1, 0.5 + 0.3 * 0.3, 0.2), 0.12)}
"""Centres and radii in the scene; by its heading, the front of the second frame is towards +y."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LayoutMesh]:
    """A GLB file of the layout, and its mesh."""
    path = tmp_path_factory.mktemp("layout") / "a.glb"
    return path, export_layout(FIELDS, LAYOUT, path, texture=64, **SMALL)


def check_ball(points: Any, center: tuple[float, ...], radius: float) -> None:
    """Check that points [N, 3] are on a ball."""
    assert np.allclose(np.linalg.norm(np.asarray(points) - center, axis=1), radius, rtol=0.06)
    assert np.allclose(np.ptp(points, axis=0), 2 * radius, rtol=0.06)


def in_gltf(center: tuple[float, float, float], scale: float = 1.0) -> tuple[float, ...]:
    """Return a point of the scene in the axes of glTF: y up, the front at +z."""
    x, y, z = center
    return scale * y, scale * z, scale * x


def test_pieces_are_where_the_layout_says(made: tuple[Path, LayoutMesh]) -> None:
    mesh = made[1]
    assert [piece.name for piece in mesh.pieces] == list(PLACES)
    for piece in mesh.pieces:
        check_ball(piece.mesh.vertices, *PLACES[piece.name])
    assert len(mesh.faces) == sum(len(piece.mesh.faces) for piece in mesh.pieces) <= 1200
    whole = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert whole.is_watertight and whole.euler_number == 4 and whole.volume > 0  # two balls
    outward = mesh.vertices - np.repeat(
        [PLACES[piece.name][0] for piece in mesh.pieces],
        [len(piece.mesh.vertices) for piece in mesh.pieces], axis=0,
    )  # fmt: skip
    assert ((mesh.normals() * outward).sum(1) > 0).all()


@pytest.mark.parametrize("size", [None, 0.1])
def test_a_glb_file_has_a_node_for_each_part(
    made: tuple[Path, LayoutMesh], tmp_path: Path, size: float | None
) -> None:
    mesh, path = made[1], tmp_path / "a.glb"
    assert mesh.save(path, size) == path
    assert (made[0].read_bytes() == path.read_bytes() == mesh.glb()) is (size is None)
    whole = np.ptp(mesh.vertices, axis=0).max()
    scale = (size or whole) / whole
    scene = trimesh.load_scene(path, process=False)
    assert set(scene.graph.nodes_geometry) == set(PLACES)
    for part in LAYOUT.parts:
        transform, name = scene.graph[part.name]
        points = trimesh.transform_points(scene.geometry[name].vertices, transform)
        center, radius = PLACES[part.name]
        check_ball(points, in_gltf(center, scale), scale * radius)
        assert np.allclose(transform[:3, 3], in_gltf(part.position, scale))
        assert np.allclose(transform[:3, :3], np.eye(3))
    read = np.concatenate([piece.vertices for piece in read_glb(path)])  # as dfast reads it back
    assert np.allclose(read.min(0), scale * mesh.vertices.min(0), atol=1e-6)
    assert np.allclose(read.max(0), scale * mesh.vertices.max(0), atol=1e-6)


def test_the_file_is_valid(made: tuple[Path, LayoutMesh]) -> None:
    pygltflib = pytest.importorskip("pygltflib")
    found = pygltflib.GLTF2().load(made[0])
    assert [node.name for node in found.nodes] == list(PLACES)
    assert found.scenes[0].nodes == [0, 1] and len(found.materials) == 2
    for node in found.nodes:
        primitive = found.meshes[node.mesh].primitives[0]
        material = found.materials[primitive.material]
        pbr = material.pbrMetallicRoughness
        images = {
            found.textures[t.index].source for t in (pbr.baseColorTexture, material.normalTexture)
        }
        assert images == {2 * node.mesh, 2 * node.mesh + 1}
        corners = {found.accessors[getattr(primitive.attributes, name)].count
                   for name in ("POSITION", "NORMAL", "TANGENT", "TEXCOORD_0")}  # fmt: skip
        assert len(corners) == 1 and found.accessors[primitive.indices].count % 3 == 0
    assert len(found.images) == len(found.textures) == 4 and len(found.samplers) == 1


def test_the_validator_has_nothing_to_say(made: tuple[Path, LayoutMesh], tmp_path: Path) -> None:
    plain = tmp_path / "plain.glb"
    export_layout(FIELDS, LAYOUT, plain, vertex_colors=True, **SMALL)
    for path in (made[0], plain):
        issues = run_js("read_glb", path)["issues"]
        assert issues["numErrors"] == issues["numWarnings"] == 0, issues["messages"]


@pytest.mark.parametrize("ending", ["obj", "ply", "stl"])
def test_other_formats_hold_one_mesh(
    made: tuple[Path, LayoutMesh], tmp_path: Path, ending: str
) -> None:
    mesh = made[1]
    read = trimesh.load(mesh.save(tmp_path / f"a.{ending}"), force="mesh", process=False)
    assert len(read.faces) == len(mesh.faces)
    if ending == "ply":
        assert np.allclose(read.bounds, [mesh.vertices.min(0), mesh.vertices.max(0)], atol=1e-5)


def test_textures_become_the_tiles_of_one(made: tuple[Path, LayoutMesh]) -> None:
    mesh = made[1]
    assert mesh.texture is not None and mesh.texture.normal is not None
    assert mesh.texture.color.shape == mesh.texture.normal.shape == (64, 64, 3)
    atlas = mesh.texture.atlas
    corner = atlas.uv[atlas.faces]  # [F, 3, 2]
    big = mesh.vertices[mesh.faces][:, :, 1].mean(1) < 0
    assert corner[big][..., 0].max() <= 0.5 <= corner[~big][..., 0].min()
    assert corner[..., 1].max() <= 0.5  # the upper row; the lower one is left over
    assert np.array_equal(atlas.source[atlas.faces], mesh.faces)
    texel = (corner.mean(1) * 64).astype(int)
    seen = mesh.texture.color[texel[:, 1], texel[:, 0]]
    front = mesh.vertices[mesh.faces].mean(1)[:, 0]  # the big ball is red in front, blue behind
    assert (seen[big & (front > 0.05)] == [255, 0, 0]).all()
    assert (seen[big & (front < -0.05)] == [0, 0, 255]).all()
    tangent = mesh.texture.tangents[:, :3]
    assert np.allclose((tangent * mesh.normals()[atlas.source]).sum(1), 0, atol=1e-2)


def test_faces_and_notes_are_those_of_all() -> None:
    fields = {"big": Ball(1.2), "small one": FIELDS["small one"]}
    mesh = export_layout(fields, LAYOUT, **SMALL)
    assert mesh.notes == ("big: 100% of the faces lie on the bounding sphere: the object fills it, "
                          "or is cut off there",)  # fmt: skip
    assert isinstance(mesh, Mesh) and mesh.texture is None
    assert max(len(piece.mesh.faces) for piece in mesh.pieces) <= 600


def test_a_thing_without_a_surface_is_named() -> None:
    with pytest.raises(ExportError, match=r"^part 'small one': no surface to export"):
        export_layout({"big": Ball(0.6), "small one": Ball(0.5, peak=0.0)}, LAYOUT, resolution=16)
