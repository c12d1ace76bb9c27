"""Textures: the atlas, the points of its texels, tangents, and what is baked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from density_fields import Ball, SceneField
from node import run_js

from dfast.mesh.appearance import look_at, normals_at
from dfast.mesh.density_grid import density_grid
from dfast.mesh.export import export_mesh
from dfast.mesh.extract import extract_mesh
from dfast.mesh.mesh import Mesh
from dfast.mesh.tangents import tangents
from dfast.mesh.texels import fill_gaps, texel_points
from dfast.mesh.unwrap import PART, Atlas, unwrap

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
HALVES = np.array([[0, 1, 2], [0, 2, 3]])


def texels_of(atlas: Atlas, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `texel_points` finds for an atlas, as arrays."""
    found = texel_points(torch.from_numpy(atlas.uv[atlas.faces]), size)
    return found[0].numpy(), found[1].numpy(), found[2].numpy()


@pytest.fixture(scope="module")
def chair() -> Mesh:
    """A chair of more faces than xatlas is given at once, with a texture."""
    return export_mesh(SceneField("a red chair"), faces=int(1.2 * PART), texture=256)


def test_every_face_has_its_own_place_in_the_atlas(chair: Mesh) -> None:
    assert chair.texture is not None
    atlas = chair.texture.atlas
    assert (atlas.source[atlas.faces] == chair.faces).all()
    assert atlas.uv.min() >= 0 and atlas.uv.max() <= 1
    corner = atlas.uv[atlas.faces].astype(float) * 256
    d1, d2 = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    area = 0.5 * np.abs(d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0])
    assert (area > 0).all()
    assert area.sum() / 256**2 > 0.4  # of the texture is used
    texel, _, weight = texels_of(atlas, 256)
    inside = (weight > 1e-6).all(1).sum()
    assert len(np.unique(texel)) == len(texel)
    assert abs(inside - area.sum()) / area.sum() < 0.1  # no two faces lie on one another


def test_faces_without_area_get_corners_of_their_own() -> None:
    vertices = np.concatenate([SQUARE, [[0.5, 0.5, 0]]]).astype(np.float32)
    # The last face is a line along the diagonal of the square.
    faces = np.array([[0, 1, 2], [0, 4, 3], [4, 2, 3], [0, 2, 4]])
    atlas = unwrap(vertices, faces, 64)
    assert atlas.thin.tolist() == [3]
    assert (atlas.source[atlas.faces] == faces).all()
    corner = atlas.uv[atlas.faces].astype(float)
    d1, d2 = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    assert (np.abs(d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0]) > 0).all()


def test_texels_know_their_points() -> None:
    uv = np.array([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]], np.float32)
    texel, face, weight = (t.numpy() for t in texel_points(torch.from_numpy(uv[HALVES]), 8))
    point = (weight[..., None] * uv[HALVES[face]]).sum(1)
    centre = (np.stack([texel % 8, texel // 8], 1) + 0.5) / 8
    covered = (np.abs(centre - 0.5) < 0.25).all(1)
    assert covered.sum() == 16
    assert np.allclose(point[covered], centre[covered], atol=1e-6)
    # Texels beside the chart show points of it that are near.
    beside = point[~covered]
    assert len(beside) == 20 and (np.abs(beside - 0.5) < 0.2501).all()
    assert np.linalg.norm(beside - centre[~covered], axis=1).max() < 1.0 / 8


def test_gaps_take_the_mean_of_what_is_near() -> None:
    image = torch.zeros(1, 8, 8)
    known = torch.zeros(8, 8, dtype=torch.bool)
    image[0, 0, 0], known[0, 0] = 1.0, True
    image[0, 7, 7], known[7, 7] = 3.0, True
    filled = fill_gaps(image, known)[0]
    assert filled[0, 0] == filled[1, 1] == filled[3, 3] == 1.0
    assert filled[7, 7] == filled[4, 4] == 3.0
    assert filled[0, 7] == 2.0  # no known texel in its quarter
    odd = fill_gaps(torch.ones(2, 3, 5), torch.eye(3, 5, dtype=torch.bool))
    assert odd.shape == (2, 3, 5) and (odd == 1).all()


@pytest.mark.parametrize("mirrored", [False, True])
def test_tangents_of_a_square(mirrored: bool) -> None:
    uv = SQUARE[:, :2] * (1, -1) + (0, 1)  # v from above, as in glTF
    if mirrored:
        uv[:, 0] = 1 - uv[:, 0]
    atlas = Atlas(np.arange(4), HALVES, uv.astype(np.float32), np.array([], int))
    up = np.tile(np.array([[0, 0, 1]], np.float32), (4, 1))
    _, found = tangents(SQUARE, up, atlas)
    # The bitangent w (n x t) is +y, the direction in which v falls, both times.
    assert np.allclose(found, [-1, 0, 0, -1] if mirrored else [1, 0, 0, 1])


def test_tangents_are_those_of_mikktspace(chair: Mesh, tmp_path: Path) -> None:
    import json

    assert chair.texture is not None
    atlas, own = chair.texture.atlas, chair.texture.tangents
    corners = atlas.faces.ravel()
    mesh = {
        "positions": chair.vertices[atlas.source[corners]].ravel().tolist(),
        "normals": chair.normals()[atlas.source[corners]].ravel().tolist(),
        "uv": (atlas.uv[corners] * (1, -1) + (0, 1)).ravel().tolist(),
    }
    (tmp_path / "mesh.json").write_text(json.dumps(mesh))
    theirs = np.reshape(run_js("mikktspace", tmp_path / "mesh.json"), (-1, 4))
    cosine = (theirs[:, :3] * own[corners, :3]).sum(1)
    assert (np.degrees(np.arccos(np.clip(cosine, -1, 1))) < 1).mean() > 0.99
    assert (theirs[:, 3] == own[corners, 3]).mean() > 0.99


def test_a_short_ray_composites_as_a_renderer_does(generator: torch.Generator) -> None:
    class Skin(Ball):
        """A grey ball whose outer 0.02 are thin and green."""

        def density(self, x: Any) -> Any:
            depth = 0.5 - x.norm(dim=-1)
            return torch.where(depth > 0.02, 1000.0, torch.where(depth > 0.0, 30.0, 0.0))

        def albedo(self, x: Any) -> Any:
            outer = (x.norm(dim=-1) > 0.48)[:, None]
            return torch.where(outer, x.new_tensor([0, 1, 0]), x.new_tensor([0.5, 0.5, 0.5]))

    points = torch.nn.functional.normalize(torch.randn(64, 3, generator=generator), dim=1)
    albedo, moved = look_at(Skin(), points * 0.49, points, 15.0)
    green = 1 - np.exp(-30 * 0.02)  # of the light is kept by the skin
    expected = torch.tensor([(1 - green) / 2, green + (1 - green) / 2, (1 - green) / 2])
    assert torch.allclose(albedo, expected.float(), atol=0.02)
    assert (moved.norm(dim=1) - 0.5).abs().max() < 0.011  # half the way between two samples


def test_normals_fall_with_the_density(generator: torch.Generator) -> None:
    points = torch.nn.functional.normalize(torch.randn(64, 3, generator=generator), dim=1)
    grid = density_grid(Ball(0.5), 128)
    found = normals_at(points * 0.5, grid, 30.0)
    miss = torch.rad2deg((found * points).sum(1).clamp(max=1).acos())
    assert miss.mean() < 0.8 and miss.max() < 2.5  # a grid's slope jumps at its nodes
    assert normals_at(torch.zeros(1, 3), grid, 30.0).norm() == 0  # even there


def test_the_normal_map_makes_a_coarse_ball_round() -> None:
    mesh = export_mesh(Ball(0.5), faces=400, texture=128)
    assert mesh.texture is not None
    texture, atlas = mesh.texture, mesh.texture.atlas
    texel, face, weight = texels_of(atlas, 128)
    inside = (weight > 0.01).all(1)
    texel, face, weight = texel[inside], face[inside], weight[inside]
    corner = atlas.faces[face]

    def between(values: Any) -> Any:
        return np.einsum("nk,nkc->nc", weight, values[corner])

    point = between(mesh.vertices[atlas.source])
    normal = between(mesh.normals()[atlas.source])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    frame = between(texture.tangents)
    tangent = frame[:, :3] - (frame[:, :3] * normal).sum(1, keepdims=True) * normal
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    bitangent = np.cross(normal, tangent) * np.sign(frame[:, 3:])
    local = texture.normal.reshape(-1, 3)[texel] / 127.5 - 1
    shown = local[:, :1] * tangent + local[:, 1:2] * bitangent + local[:, 2:] * normal
    shown /= np.linalg.norm(shown, axis=1, keepdims=True)
    out = point / np.linalg.norm(point, axis=1, keepdims=True)
    flat = mesh.vertices[mesh.faces[face]]
    flat = np.cross(flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0])
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    errors = [np.degrees(np.arccos(np.clip((n * out).sum(1), -1, 1))).mean() for n in (shown, flat)]
    assert errors[0] < 1.0 < 3.0 < errors[1], errors


def test_the_same_texture_every_time() -> None:
    mesh = extract_mesh(SceneField("a red chair"), faces=PART + 2000)
    one, two = (unwrap(mesh.vertices, mesh.faces, 128) for _ in range(2))
    assert (one.uv == two.uv).all() and (one.faces == two.faces).all()


def test_textures_are_baked_on_the_device_of_the_field(device: torch.device) -> None:
    here, there = Ball(0.5, (0.1, 0.0, 0.0)), Ball(0.5, (0.1, 0.0, 0.0))
    there.center = there.center.to(device)
    there.device = device  # type: ignore[attr-defined]
    one, two = (export_mesh(field, faces=500, texture=64).texture for field in (here, there))
    assert one is not None and two is not None
    for name in ("color", "normal"):
        miss = np.abs(getattr(one, name).astype(int) - getattr(two, name).astype(int))
        assert (miss <= 1).mean() > 0.98, name
