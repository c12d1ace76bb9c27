"""Export: closed meshes with known volumes, level choice, GLB axes and colours, pictures."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dfast.errors import ExportError
from dfast.io.images import contact_sheet
from dfast.io.video import turntable
from dfast.mesh.density_grid import density_grid, grid_points, projections, sample, silhouette_level
from dfast.mesh.extract import extract_mesh
from dfast.mesh.files import glb_bytes
from dfast.mesh.surface_nets import closed_surface


class Ball:
    """A soft-edged ball; red where x > 0, blue elsewhere."""

    def __init__(
        self,
        radius: float = 0.5,
        center: tuple[float, float, float] = (0, 0, 0),
        peak: float = 60.0,
    ):
        self.radius, self.center, self.peak = (
            radius,
            torch.tensor(center, dtype=torch.float32),
            peak,
        )

    def density(self, x: Tensor) -> Tensor:
        distance = (x - self.center).norm(dim=-1) - self.radius
        return self.peak * torch.sigmoid(-distance / 0.01)

    def albedo(self, x: Tensor) -> Tensor:
        red = (x[:, :1] > 0).float()
        return torch.cat([red, torch.zeros_like(red), 1 - red], -1)

    def render(self, **view: float) -> np.ndarray:
        size = int(view["resolution"])
        return np.full((size, size, 3), int(view["azimuth"]) % 256, np.uint8)


def edge_counts(faces: np.ndarray) -> np.ndarray:
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    return np.unique(edges, axis=0, return_counts=True)[1]


def volume(mesh) -> float:
    corner = mesh.vertices[mesh.faces].astype(float)
    return float((np.cross(corner[:, 0], corner[:, 1]) * corner[:, 2]).sum() / 6)


def test_ball_is_closed_outward_and_of_the_right_size():
    mesh = extract_mesh(Ball(0.5, (0.2, -0.1, 0.1)), resolution=64, level=30.0)
    assert (edge_counts(mesh.faces) == 2).all()
    radius = np.linalg.norm(mesh.vertices - [0.2, -0.1, 0.1], axis=1)
    # half a cell at most: surface nets average the crossings of a cell
    assert abs(radius - 0.5).max() < 1 / 64
    assert volume(mesh) == pytest.approx(4 / 3 * np.pi * 0.125, rel=0.05)
    outward = (mesh.normals() * (mesh.vertices - [0.2, -0.1, 0.1])).sum(1)
    assert (outward > 0.45).all()
    front = mesh.vertices[:, 0] > 0.02
    assert np.allclose(mesh.colors[front], [1, 0, 0])


@pytest.mark.parametrize("seed", range(4))
def test_noise_gives_closed_surfaces(seed):
    noise = torch.rand(12, 12, 12, generator=torch.Generator().manual_seed(seed)).numpy()
    vertices, faces = closed_surface(noise, 0.7)
    counts = edge_counts(faces)
    assert (counts % 2 == 0).all()  # closed even where sheets pinch
    assert (counts == 2).mean() > 0.97
    assert len(vertices) == len(np.unique(faces))


def test_level_is_the_one_of_the_silhouette():
    class Wide(Ball):
        def density(
            self, x: Tensor
        ) -> Tensor:  # dense core, faint wide halo that a picture hardly shows
            distance = x.norm(dim=-1)
            return 60 * (distance < 0.5).float() + 0.05 * (distance < 0.8).float()

    density = density_grid(Wide(), 48)
    assert 0.05 < silhouette_level(density) < 60
    assert silhouette_level(torch.zeros(16, 16, 16)) == 0.0


def test_projection_of_a_constant_ball_is_beers_law():
    density = density_grid(Ball(0.6, peak=3.0), 64)
    peak, opacity = projections(density)
    assert peak.shape == opacity.shape == (5, 64, 64)
    middle = opacity[:, 31:33, 31:33].mean((1, 2))
    assert torch.allclose(middle, torch.full((5,), 1 - np.exp(-3.0 * 1.2)), atol=0.01)


def test_sample_reads_axes_in_order():
    points = grid_points(8)
    grid = (points @ torch.tensor([1.0, 10.0, 100.0])).reshape(8, 8, 8)
    x = torch.tensor([[0.3, -0.2, 0.1], [-0.5, 0.6, 0.2]])
    assert torch.allclose(sample(grid, x), x @ torch.tensor([1.0, 10.0, 100.0]), atol=1e-4)


def test_specks_and_cavities_are_dropped():
    class Specked(Ball):
        def density(self, x: Tensor) -> Tensor:
            shell = (x.norm(dim=-1) < 0.6) & (x.norm(dim=-1) > 0.3)
            speck = (x - torch.tensor([0.0, 0.0, 0.8])).norm(dim=-1) < 0.06
            return 50 * (shell | speck).float()

    mesh = extract_mesh(Specked(), resolution=64)
    radius = np.linalg.norm(mesh.vertices, axis=1)
    assert radius.min() > 0.5 and radius.max() < 0.7


def test_two_objects_are_both_kept():
    class Pair(Ball):
        def density(self, x: Tensor) -> Tensor:
            y = torch.tensor([0.0, 0.5, 0.0])
            return 50 * (((x - y).norm(dim=-1) < 0.3) | ((x + y).norm(dim=-1) < 0.2)).float()

    mesh = extract_mesh(Pair(), resolution=48)
    assert mesh.vertices[:, 1].min() < -0.6 and mesh.vertices[:, 1].max() > 0.7


def test_empty_scene_and_bad_arguments_are_named_errors(tmp_path: Path):
    with pytest.raises(ExportError, match="no surface"):
        extract_mesh(Ball(peak=0.0), resolution=16)
    with pytest.raises(ExportError, match=r"resolution must be in 8\.\.512, got 4"):
        extract_mesh(Ball(), resolution=4)
    with pytest.raises(ExportError, match="level must be"):
        extract_mesh(Ball(), resolution=16, level=-1.0)
    with pytest.raises(ExportError, match=r"\.glb"):
        extract_mesh(Ball(), resolution=16).save(tmp_path / "mesh.stp")


def test_glb_stands_upright_and_faces_front(tmp_path: Path):
    trimesh = pytest.importorskip("trimesh")
    path = extract_mesh(Ball(0.3, (0.4, 0.0, 0.2)), resolution=32).save(tmp_path / "a" / "ball.glb")
    scene = trimesh.load(path)
    mesh = next(iter(scene.geometry.values()))
    assert mesh.is_watertight and mesh.volume > 0
    assert np.allclose(mesh.bounds.mean(0), [0.0, 0.2, 0.4], atol=0.02)  # y up, +z front


def test_glb_chunks_are_aligned_and_indices_in_range():
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
def test_other_formats_keep_world_axes(tmp_path: Path, ending: str):
    trimesh = pytest.importorskip("trimesh")
    path = extract_mesh(Ball(0.3, (0.4, 0.0, 0.2)), resolution=24).save(tmp_path / f"ball{ending}")
    assert np.allclose(trimesh.load(path).bounds.mean(0), [0.4, 0.0, 0.2], atol=0.03)


def test_turntable_and_contact_sheet(tmp_path: Path):
    from PIL import Image

    film = Image.open(turntable(Ball(), tmp_path / "turn.gif", frames=4, resolution=16))
    assert film.n_frames == 4 and film.size == (16, 16)
    sheet = contact_sheet(Ball(), tmp_path / "sheet.png", resolution=8)
    assert sheet.shape == (24, 40, 3)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "sheet.png")), sheet)
    with pytest.raises(ExportError, match=r"\.gif or \.mp4"):
        turntable(Ball(), tmp_path / "turn.avi")


def test_mp4(tmp_path: Path):
    av = pytest.importorskip("av")
    path = turntable(Ball(), tmp_path / "turn.mp4", frames=3, resolution=32)
    with av.open(str(path)) as film:
        assert len(list(film.decode(video=0))) == 3
