"""Mesh files: each format's axes, unit, colours and textures, as other libraries read them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from density_fields import Ball
from node import run_js

from dfast.errors import ExportError
from dfast.mesh.export import export_mesh
from dfast.mesh.gltf import linear
from dfast.mesh.mesh import Mesh

trimesh = pytest.importorskip("trimesh")

CENTER, RADIUS = (0.4, 0.0, 0.2), 0.3
"""Of a ball in front of the middle and above it; it is red in front of the middle, blue behind."""
SMALL: dict[str, Any] = {"resolution": 96, "level": 30.0, "faces": 2000}


def ball() -> Ball:
    """Return the ball, red where x > 0.4."""

    class Halves(Ball):
        def albedo(self, x: Any) -> Any:
            return super().albedo(x - x.new_tensor([CENTER[0], 0, 0]))

    return Halves(RADIUS, CENTER)


def write(path: Path, **options: Any) -> Path:
    """Write the ball."""
    export_mesh(ball(), path, **(SMALL | options))
    return path


def check_extent(points: Any, center: tuple[float, ...], radius: float) -> None:
    """Check that points [N, 3] are on the ball, as it lies in a format's axes and unit."""
    points = np.asarray(points, float)
    assert np.allclose((points.min(0) + points.max(0)) / 2, center, atol=0.03 * radius)
    assert np.allclose(np.linalg.norm(points - center, axis=1), radius, rtol=0.05)


def closed(points: Any, faces: Any) -> bool:
    """Return whether a mesh is watertight and winds outward, its seams joined."""
    mesh = trimesh.Trimesh(points, np.reshape(faces, (-1, 3)), process=False)
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    return bool(mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0)


GLTF = (0.0, 0.2, 0.4)
"""Where the ball's centre is in a file with y up and the front at +z."""


@pytest.mark.parametrize("options", [{"texture": 32}, {"vertex_colors": True}])
def test_a_glb_in_memory_is_the_file(tmp_path: Path, options: dict[str, Any]) -> None:
    mesh = export_mesh(ball(), tmp_path / "a.glb", **(SMALL | {"resolution": 16} | options))
    assert mesh.glb() == (tmp_path / "a.glb").read_bytes()


def test_glb_with_textures(tmp_path: Path) -> None:
    mesh = trimesh.load(write(tmp_path / "a.glb", texture=128), force="mesh", process=False)
    check_extent(mesh.vertices, GLTF, RADIUS)
    assert closed(mesh.vertices, mesh.faces)
    material = mesh.visual.material
    assert (material.roughnessFactor, material.metallicFactor) == (1, 0)
    assert material.baseColorTexture.size == material.normalTexture.size == (128, 128)
    seen = mesh.visual.to_color().vertex_colors[:, :3]
    front = mesh.vertices[:, 2] - GLTF[2]
    assert (seen[front > 0.05] == [255, 0, 0]).all() and (seen[front < -0.05] == [0, 0, 255]).all()


@pytest.mark.parametrize("options", [{"texture": 64}, {"vertex_colors": True}, {"faces": 150}])
def test_glb_in_javascript_and_by_the_validator(tmp_path: Path, options: dict[str, Any]) -> None:
    read = run_js("read_glb", write(tmp_path / "a.glb", **options))
    issues = read["issues"]
    assert issues["numErrors"] == issues["numWarnings"] == 0, issues["messages"]
    check_extent(read["positions"], GLTF, RADIUS)
    assert closed(read["positions"], read["faces"])
    if "vertex_colors" in options:
        colors = np.asarray(read["colors"])
        front = np.asarray(read["positions"])[:, 2] > GLTF[2] + 0.05
        assert np.allclose(colors[front], [1, 0, 0], atol=1e-6) and read["textures"] == []
    else:
        size = options.get("texture", 1024)
        assert read["textures"] == [["image/png", size, size]] * 2
        assert (read["roughness"], read["metallic"]) == (1, 0)
        tangent, normal = np.asarray(read["tangents"]), np.asarray(read["normals"])
        assert np.allclose((tangent[:, :3] * normal).sum(1), 0, atol=1e-5)
        corner = np.asarray(read["uv"])[np.reshape(read["faces"], (-1, 3))]
        d1, d2 = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
        assert (np.abs(d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0]) > 0).all()  # none degenerate


def test_vertex_colors_of_a_glb_in_three_readers(tmp_path: Path) -> None:
    class Grey(Ball):
        def albedo(self, x: Any) -> Any:
            return x.new_tensor([0.25, 0.5, 0.75]).expand(len(x), 3)

    path = tmp_path / "a.glb"
    export_mesh(Grey(), path, vertex_colors=True, **SMALL)
    expected = linear(np.array([[0.25, 0.5, 0.75]], np.float32))
    mesh = trimesh.load(path, force="mesh", process=False)
    assert mesh.visual.kind == "vertex"
    assert np.abs(mesh.visual.vertex_colors[:, :3] - expected * 255).max() <= 0.5
    file = pytest.importorskip("pygltflib").GLTF2().load(path)
    accessor = file.accessors[file.meshes[0].primitives[0].attributes.COLOR_0]
    view = file.bufferViews[accessor.bufferView]
    data = file.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    assert accessor.componentType == 5126 and accessor.count == len(mesh.vertices)
    assert np.allclose(np.frombuffer(data, np.float32).reshape(-1, 3), expected)
    assert np.allclose(run_js("read_glb", path)["colors"], expected)


def test_obj_with_textures(tmp_path: Path) -> None:
    path = write(tmp_path / "my ball.obj", texture=128)
    own = {p.name for p in tmp_path.iterdir()}
    (name,) = (p.stem for p in tmp_path.glob("*.mtl"))
    assert own == {"my ball.obj", f"{name}.mtl", f"{name}_color.png", f"{name}_normal.png"}
    assert re.fullmatch("my_ball-[0-9a-f]{6}", name)  # not that of another my_ball.obj
    write(tmp_path / "my_ball.obj", texture=128)
    assert {p.name for p in tmp_path.iterdir()} == own | {
        "my_ball.obj", "my_ball.mtl", "my_ball_color.png", "my_ball_normal.png"
    }  # fmt: skip
    mesh = trimesh.load(path, force="mesh", process=False)
    check_extent(mesh.vertices, GLTF, RADIUS)
    assert closed(mesh.vertices, mesh.faces)
    assert mesh.visual.material.image.size == (128, 128)
    seen = mesh.visual.to_color().vertex_colors[:, :3]
    front = mesh.vertices[:, 2] - GLTF[2]
    assert (seen[front > 0.05] == [255, 0, 0]).all() and (seen[front < -0.05] == [0, 0, 255]).all()
    text = path.read_text()
    corners = [line.split()[1:] for line in text.splitlines() if line.startswith("f ")]
    positions = [[int(c.split("/")[0]) - 1 for c in face] for face in corners]
    assert len(np.unique(positions)) == text.count("\nv ")  # seams are in vt alone
    assert f"norm {name}_normal.png" in (tmp_path / f"{name}.mtl").read_text()


def test_obj_with_vertex_colors(tmp_path: Path) -> None:
    mesh = trimesh.load(write(tmp_path / "a.obj", vertex_colors=True), process=False)
    check_extent(mesh.vertices, GLTF, RADIUS)
    front = mesh.vertices[:, 2] > GLTF[2] + 0.05
    assert (mesh.visual.vertex_colors[front, :3] == [255, 0, 0]).all()
    assert [p.name for p in tmp_path.iterdir()] == ["a.obj"]


def test_ply_keeps_world_axes(tmp_path: Path) -> None:
    plyfile = pytest.importorskip("plyfile")
    data = plyfile.PlyData.read(write(tmp_path / "a.ply"))
    vertex = data["vertex"]
    points = np.stack([vertex[k] for k in "xyz"], 1)
    check_extent(points, CENTER, RADIUS)
    assert closed(points, np.stack(data["face"]["vertex_indices"]))
    front = points[:, 0] > CENTER[0] + 0.05
    colors = np.stack([vertex[k] for k in ("red", "green", "blue")], 1)
    assert (colors[front] == [255, 0, 0]).all()


PLATE = (50.0, 50.0, 50.0)
"""The centre of the ball on the plate of a printer, in millimetres; it is 0.1 metres large."""


def test_stl_stands_on_the_plate_in_millimetres(tmp_path: Path) -> None:
    stl = pytest.importorskip("stl")
    solid = stl.mesh.Mesh.from_file(str(write(tmp_path / "a.stl")))
    check_extent(solid.vectors.reshape(-1, 3), PLATE, 50)
    assert solid.get_mass_properties()[0] == pytest.approx(4 / 3 * np.pi * 50**3, rel=0.03)
    assert closed(solid.vectors.reshape(-1, 3), np.arange(len(solid.vectors) * 3))


def test_3mf_has_colors_and_its_front_faces_minus_y(tmp_path: Path) -> None:
    lib3mf = pytest.importorskip("lib3mf")
    path = write(tmp_path / "a.3mf")
    model = lib3mf.get_wrapper().CreateModel()
    reader = model.QueryReader("3mf")
    reader.SetStrictModeActive(True)
    reader.ReadFromFile(str(path))
    assert reader.GetWarningCount() == 0
    assert model.GetUnit() == lib3mf.ModelUnit.MilliMeter
    meshes = model.GetMeshObjects()
    assert meshes.MoveNext()
    shape = meshes.GetCurrentMeshObject()
    assert shape.IsManifoldAndOriented()
    points = np.array([list(v.Coordinates) for v in shape.GetVertices()])
    check_extent(points, PLATE, 50)
    group = model.GetColorGroupByID(shape.GetTriangleProperties(0).ResourceID)
    triangles = shape.GetTriangleIndices()
    assert closed(points, [list(triangle.Indices) for triangle in triangles])
    for k, triangle in enumerate(triangles):
        properties = list(shape.GetTriangleProperties(k).PropertyIDs)
        for vertex, color in zip(triangle.Indices, properties, strict=True):
            if abs(points[vertex, 1] - 50) > 10:
                rgba = group.GetColor(color)
                front = points[vertex, 1] < 50
                assert (rgba.Red, rgba.Blue) == ((255, 0) if front else (0, 255))


def test_usdz_in_three_js(tmp_path: Path) -> None:
    pytest.importorskip("pxr")
    read = run_js("read_usdz", write(tmp_path / "a.usdz", texture=64))
    assert read["world"] == np.eye(4).ravel().tolist()
    check_extent(read["positions"], GLTF, RADIUS)
    assert closed(read["positions"], np.arange(len(read["positions"])))
    assert {"position", "normal", "uv"} <= set(read["attributes"])
    assert (read["roughness"], read["metalness"]) == (1, 0)
    assert read["map"] == "srgb" and read["normalMap"]


@pytest.mark.parametrize("options", [{"texture": 64}, {"vertex_colors": True}])
def test_usdz_is_valid_and_complete(tmp_path: Path, options: dict[str, Any]) -> None:
    pytest.importorskip("pxr")
    from pxr import Usd, UsdGeom, UsdValidation

    stage = Usd.Stage.Open(str(write(tmp_path / "a.usdz", **options)))
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    context = UsdValidation.ValidationContext(
        UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    )
    assert [error.GetMessage() for error in context.Validate(stage)] == []


@pytest.mark.parametrize("size", [-1, 0, float("nan"), True, 1e-12, 1e12, "x"])
def test_a_mesh_refuses_sizes_that_no_file_can_have(size: object, tmp_path: Path) -> None:
    path, mesh = tmp_path / "ball.glb", export_mesh(ball(), tmp_path / "a.glb", **SMALL)
    with pytest.raises(ExportError, match="size must be a length in metres"):
        mesh.save(path, size=size)  # type: ignore[arg-type]
    assert not path.exists()


def test_size_is_the_largest_extent_in_metres(tmp_path: Path) -> None:
    for ending, unit in ((".glb", 1), (".obj", 1), (".ply", 1), (".stl", 1000)):
        path = write(tmp_path / f"a{ending}", size=0.25, faces=200, vertex_colors=True)
        mesh = trimesh.load(path, force="mesh")
        assert mesh.extents.max() == pytest.approx(0.25 * unit, rel=1e-4), ending


@pytest.mark.parametrize("ending", [".glb", ".obj", ".ply", ".stl"])
def test_size_counts_what_faces_show(ending: str, tmp_path: Path) -> None:
    box = trimesh.creation.box()
    vertices = np.concatenate([box.vertices, [[9, 9, 9]]]).astype(np.float32)
    mesh = Mesh(vertices, box.faces, np.ones_like(vertices))
    read = trimesh.load(mesh.save(tmp_path / f"a{ending}", size=0.5), force="mesh")
    shown = read.vertices[np.unique(read.faces)]
    assert np.ptp(shown, axis=0) * (0.001 if ending == ".stl" else 1) == pytest.approx(0.5)


def test_normals_of_a_mesh_of_any_size() -> None:
    ball = trimesh.creation.icosphere(subdivisions=2)
    for radius in (1e-15, 1.0, 1e12):
        vertices = (radius * ball.vertices).astype(np.float32)
        normals = Mesh(vertices, ball.faces, np.ones_like(vertices)).normals()
        np.testing.assert_allclose(normals, ball.vertices, atol=0.03)


def test_usdz_without_usd_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pxr", None)
    monkeypatch.setattr("dfast.mesh.export.extract_with_grid", None)  # nothing is computed before
    with pytest.raises(ExportError, match=r"pip install 'dfast\[usd\]'"):
        export_mesh(ball(), tmp_path / "a.usdz")


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("a.fbx", {}, "path must end in one of .glb, .usdz, .obj, .ply, .stl, .3mf, got 'a.fbx'"),
        ("a.stl", {"texture": 64}, "texture: .stl files hold none"),
        ("a.glb", {"texture": 8}, r"texture must be in 16..4096, got 8"),
        ("a.glb", {"texture": 64, "vertex_colors": True}, "expected one of them"),
        ("a.glb", {"vertex_colors": 1}, "vertex_colors must be True or False, got 1"),
        ("a.glb", {"faces": 3.5}, r"faces must be in 100..10000000, got 3.5"),
        ("a.glb", {"size": 0}, "size must be a length in metres"),
        (None, {"size": 1.0}, "size: expected a path of a file beside it"),
    ],
)
def test_options_that_cannot_be_are_one_line(
    name: str | None, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ExportError, match=says) as error:
        export_mesh(ball(), name, **options)
    assert "\n" not in str(error.value)


def test_equal_meshes_are_equal_files(tmp_path: Path) -> None:
    for ending in (".glb", ".obj", ".ply", ".stl", ".3mf"):
        more = {"texture": 64} if ending in (".glb", ".obj") else {}
        one, two = (write(tmp_path / f"{k}/a{ending}", faces=500, **more) for k in (1, 2))
        assert one.read_bytes() == two.read_bytes(), ending
