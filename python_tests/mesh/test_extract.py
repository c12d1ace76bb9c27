"""Surfaces of density fields: closed, outward, of the right size, without specks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from density_fields import Ball
from torch import Tensor

from dfast.errors import ExportError
from dfast.mesh.extract import extract_mesh
from dfast.mesh.mesh import Mesh
from dfast.mesh.smoothing import smooth
from dfast.mesh.surface_nets import closed_surface


def edge_counts(faces: np.ndarray) -> np.ndarray:
    """Return by how many faces each edge is shared."""
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    return np.unique(edges, axis=0, return_counts=True)[1]


def volume(mesh: Mesh) -> float:
    """Return the volume that a closed mesh encloses."""
    corner = mesh.vertices[mesh.faces].astype(float)
    return float((np.cross(corner[:, 0], corner[:, 1]) * corner[:, 2]).sum() / 6)


def test_ball_is_closed_outward_and_of_the_right_size() -> None:
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
def test_noise_gives_closed_surfaces(seed: int) -> None:
    noise = torch.rand(12, 12, 12, generator=torch.Generator().manual_seed(seed)).numpy()
    vertices, faces = closed_surface(noise, 0.7)
    assert (edge_counts(faces) == 2).all()
    assert len(vertices) == len(np.unique(faces))


def test_specks_and_cavities_are_dropped() -> None:
    class Specked(Ball):
        def density(self, x: Tensor) -> Tensor:
            shell = (x.norm(dim=-1) < 0.6) & (x.norm(dim=-1) > 0.3)
            speck = (x - torch.tensor([0.0, 0.0, 0.8])).norm(dim=-1) < 0.06
            return 50 * (shell | speck).float()

    mesh = extract_mesh(Specked(), resolution=64)
    radius = np.linalg.norm(mesh.vertices, axis=1)
    assert radius.min() > 0.5 and radius.max() < 0.7


def test_two_objects_are_both_kept() -> None:
    class Pair(Ball):
        def density(self, x: Tensor) -> Tensor:
            y = torch.tensor([0.0, 0.5, 0.0])
            return 50 * (((x - y).norm(dim=-1) < 0.3) | ((x + y).norm(dim=-1) < 0.2)).float()

    mesh = extract_mesh(Pair(), resolution=48)
    assert mesh.vertices[:, 1].min() < -0.6 and mesh.vertices[:, 1].max() > 0.7


def test_empty_scene_and_bad_arguments_are_named_errors(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no surface"):
        extract_mesh(Ball(peak=0.0), resolution=16)
    with pytest.raises(ExportError, match=r"resolution must be in 8\.\.512, got 4"):
        extract_mesh(Ball(), resolution=4)
    with pytest.raises(ExportError, match="level must be"):
        extract_mesh(Ball(), resolution=16, level=-1.0)
    with pytest.raises(ExportError, match=r"\.glb"):
        extract_mesh(Ball(), resolution=16).save(tmp_path / "mesh.stp")


def test_smoothing_takes_the_pattern_of_the_grid_and_neither_size_nor_edges() -> None:
    generator = np.random.default_rng(0)
    ball = extract_mesh(Ball(0.5, (0.2, -0.1, 0.1)), resolution=64, level=30.0)
    center = np.array([0.2, -0.1, 0.1], np.float32)
    rough = ball.vertices + 0.003 * generator.standard_normal(ball.vertices.shape)
    errors = []
    for vertices in (rough.astype(np.float32), smooth(rough.astype(np.float32), ball.faces)):
        corner = vertices[ball.faces].astype(float)
        normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        out = corner.mean(1) - center
        cosine = (normal * out).sum(1) / np.linalg.norm(normal, axis=1)
        errors.append(np.degrees(np.arccos(np.clip(cosine / np.linalg.norm(out, axis=1), -1, 1))))
        radius = np.linalg.norm(vertices - center, axis=1).mean()
        assert radius == pytest.approx(np.linalg.norm(ball.vertices - center, axis=1).mean(), 2e-3)
    assert errors[1].mean() < 0.5 * errors[0].mean()


def test_a_solid_field_gives_a_ball_and_says_so() -> None:
    class Solid(Ball):
        def density(self, x: Tensor) -> Tensor:
            return torch.full((len(x),), 50.0)

    mesh = extract_mesh(Solid(), resolution=48)
    assert (edge_counts(mesh.faces) == 2).all()
    assert volume(mesh) == pytest.approx(4 / 3 * np.pi, rel=0.03)
    assert len(mesh.notes) == 1 and "bounding sphere" in mesh.notes[0]


def test_haze_beside_the_object_is_dropped_and_told() -> None:
    class Hazy(Ball):
        """A ball below a wide sheet that lets most light through."""

        def density(self, x: Tensor) -> Tensor:
            wide = x[:, :2].norm(dim=-1) < 0.6
            return super().density(x) + 6 * ((x[:, 2] - 0.75).abs() < 0.02) * wide

    mesh = extract_mesh(Hazy(0.4), resolution=64, level=3.0)
    assert mesh.vertices[:, 2].max() < 0.5
    (note,) = mesh.notes
    assert note.startswith("removed 1 piece that floats beside the object, ")
    assert 40 < float(note.split()[-4].rstrip("%")) < 70
    assert extract_mesh(Ball(0.4), resolution=32).notes == ()
