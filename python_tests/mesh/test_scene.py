"""Meshes as scenes and back: textures, their gaps, and materials as other programs read them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from density_fields import Ball
from PIL import Image
from torch import Tensor

from dfast.config import BackgroundConfig
from dfast.mesh.export import export_mesh
from dfast.mesh.mesh import Mesh
from dfast.mesh.scene import mesh_of_scene, nearest_covered, tensors_of_mesh
from dfast.scene.background import Background
from dfast.scene.mesh_scene import MeshScene

pytestmark = pytest.mark.usefixtures("needs_native")


@pytest.fixture(scope="module")
def ball() -> Mesh:
    """A textured ball, red in front and blue behind."""
    return export_mesh(Ball(), resolution=20, level=30.0, faces=400, texture=64)


def scene_of(mesh: Mesh, *, pbr: bool = False) -> MeshScene:
    """Return a mesh as a scene."""
    background = Background(BackgroundConfig(kind="solid", color=(1.0, 1.0, 1.0)))
    return MeshScene(tensors_of_mesh(mesh, pbr=pbr), background)


def painted(mesh: Mesh) -> MeshScene:
    """Return a scene whose roughness falls from left to right of the texture, half of it metal."""
    scene = scene_of(mesh, pbr=True)
    with torch.no_grad():
        scene.texture[..., 3] = torch.linspace(1.0, 0.2, 64)
        scene.texture[..., 4] = (torch.arange(64) >= 32).float()[:, None]
    return scene


def test_a_mesh_comes_back(ball: Mesh) -> None:
    again = mesh_of_scene(scene_of(ball))
    assert ball.texture is not None and again.texture is not None
    np.testing.assert_array_equal(again.vertices, ball.vertices)
    np.testing.assert_array_equal(again.faces, ball.faces)
    difference = again.texture.color.astype(int) - ball.texture.color
    assert np.abs(difference).max() <= 1  # gaps are filled anew, from rounded colours
    atlas, before = again.texture.atlas, ball.texture.atlas
    np.testing.assert_array_equal(atlas.source[atlas.faces], ball.faces)
    np.testing.assert_array_equal(atlas.uv[atlas.faces], before.uv[before.faces])
    assert again.texture.normal is None and again.texture.material is None
    front = ball.vertices[:, 0] > 0.1
    assert (again.colors[front] - (1.0, 0.0, 0.0)).max() < 0.1


def test_gaps_show_the_nearest_covered_texels() -> None:
    corners = torch.tensor([[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75]]])
    nearest = nearest_covered(corners, 64).view(64, 64).long()
    own = torch.arange(64 * 64).view(64, 64)
    covered = nearest == own
    assert covered[20, 20] and covered[40, 20] and not covered[10, 20]
    rows, columns = nearest // 64, nearest % 64
    assert int(columns[10, 25]) == 25 and int(rows[10, 25]) in (15, 14)
    led = ~covered  # a gap within reach
    assert int(led.sum()) > 500 and bool(covered[rows[led], columns[led]].all())
    moved = (rows - own // 64).abs() + (columns - own % 64).abs()
    assert int(moved.max()) <= 16 and int(moved[covered].max()) == 0


def test_texels_in_gaps_lead_to_their_charts(ball: Mesh) -> None:
    scene = scene_of(ball)
    (gradient,) = torch.autograd.grad(scene.shown_texture().sum(), scene.texture)
    counts = torch.bincount(scene.nearest, minlength=64 * 64).view(64, 64, 1)
    torch.testing.assert_close(gradient, counts.expand(-1, -1, 3).float())
    assert int((counts == 0).sum()) > 100  # gaps that no image shows


def material_images(mesh: Mesh, path: Path) -> tuple[Tensor, Tensor]:
    """Return roughness and metalness [T, T] of the material that was to be written."""
    mesh.save(path)
    assert mesh.texture is not None and mesh.texture.material is not None
    material = torch.from_numpy(mesh.texture.material)
    return material[..., 1], material[..., 2]


def test_trimesh_reads_roughness_and_metalness(ball: Mesh, tmp_path: Path) -> None:
    import trimesh

    mesh = mesh_of_scene(painted(ball))
    roughness, metalness = material_images(mesh, tmp_path / "ball.glb")
    read = trimesh.load_mesh(tmp_path / "ball.glb").visual.material
    assert read.metallicFactor == read.roughnessFactor == 1.0
    image = np.asarray(read.metallicRoughnessTexture.convert("RGB"))
    np.testing.assert_array_equal(image[..., 1], roughness)
    np.testing.assert_array_equal(image[..., 2], metalness)
    assert image[..., 0].min() == 255  # no occlusion
    assert mesh.texture is not None
    color = np.asarray(read.baseColorTexture.convert("RGB"))
    np.testing.assert_array_equal(color, mesh.texture.color)
    covered = painted(ball).nearest.view(64, 64) == torch.arange(64 * 64).view(64, 64)
    painted_roughness = (torch.linspace(1.0, 0.2, 64) * 255).round().byte().expand(64, 64)
    assert torch.equal(torch.from_numpy(image[..., 1].copy())[covered], painted_roughness[covered])
    assert set(np.unique(image[..., 2][covered.numpy()])) == {0, 255}


def test_pygltflib_reads_roughness_and_metalness(ball: Mesh, tmp_path: Path) -> None:
    pygltflib = pytest.importorskip("pygltflib")
    roughness, metalness = material_images(mesh_of_scene(painted(ball)), tmp_path / "ball.glb")
    file = pygltflib.GLTF2().load(str(tmp_path / "ball.glb"))
    (found,) = file.materials
    pbr = found.pbrMetallicRoughness
    assert pbr.metallicFactor == pbr.roughnessFactor == 1.0 and found.normalTexture is None
    image = file.images[file.textures[pbr.metallicRoughnessTexture.index].source]
    assert image.name == "material" and image.mimeType == "image/png"
    view = file.bufferViews[image.bufferView]
    data = file.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(pixels[..., 1], roughness)
    np.testing.assert_array_equal(pixels[..., 2], metalness)
    base = file.images[file.textures[pbr.baseColorTexture.index].source]
    assert base.name == "color"


def test_obj_and_usd_name_roughness_and_metalness(ball: Mesh, tmp_path: Path) -> None:
    mesh = mesh_of_scene(painted(ball))
    roughness, metalness = material_images(mesh, tmp_path / "ball.obj")
    text = (tmp_path / "ball.mtl").read_text()
    for key, name, image in (("map_Pr", "roughness", roughness), ("map_Pm", "metallic", metalness)):
        assert f"{key} ball_{name}.png" in text
        grey = np.asarray(Image.open(tmp_path / f"ball_{name}.png"))
        np.testing.assert_array_equal(grey, np.repeat(np.asarray(image)[..., None], 3, 2))
    assert "norm " not in text
    pytest.importorskip("pxr")
    from pxr import Usd, UsdShade

    mesh.save(tmp_path / "ball.usdz")
    stage = Usd.Stage.Open(str(tmp_path / "ball.usdz"))
    preview = UsdShade.Shader(stage.GetPrimAtPath("/object/surface/preview"))
    for name, channel in (("roughness", "g"), ("metallic", "b"), ("diffuseColor", "rgb")):
        source, output, _ = preview.GetInput(name).GetConnectedSource()
        assert output == channel
        assert source.GetPrim().GetName() == ("color" if channel == "rgb" else "material")


def test_a_rough_mesh_has_no_material_texture(ball: Mesh, tmp_path: Path) -> None:
    data = mesh_of_scene(scene_of(ball)).glb()
    length = int.from_bytes(data[12:16], "little")
    (material,) = json.loads(data[20 : 20 + length])["materials"]
    assert material["pbrMetallicRoughness"] == {
        "baseColorTexture": {"index": 0},
        "metallicFactor": 0.0,
        "roughnessFactor": 1.0,
    }
