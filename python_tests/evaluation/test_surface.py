"""Surface scores of meshes whose errors are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from density_fields import SceneField, score_of_truth

from dfast.evaluation.score import score
from dfast.evaluation.surface import SurfaceScore, surface_score
from dfast.evaluation.truths import ground_truth
from dfast.mesh.extract import extract_mesh
from dfast.mesh.mesh import Mesh

TRUTH = ground_truth("a yellow sphere")
RADIUS = float(TRUTH.surface.points.norm(dim=-1).mean())


def _sphere(count: int = 96) -> Mesh:
    """Return the world's sphere as a fine mesh of two poles and rings between them."""
    theta = np.linspace(0, math.pi, count)[1:-1]
    phi = np.linspace(0, 2 * math.pi, 2 * count, endpoint=False)
    ring = np.stack([np.cos(phi), np.sin(phi), np.zeros_like(phi)], 1)
    up = np.array([0.0, 0.0, 1.0])
    rows = np.sin(theta)[:, None, None] * ring + np.cos(theta)[:, None, None] * up
    vertices = np.concatenate([rows.reshape(-1, 3), [up, -up]]) * RADIUS
    n, faces = 2 * count, []
    for i in range(len(theta) - 1):
        for j in range(n):
            a, b = i * n + j, i * n + (j + 1) % n
            faces += [(a, a + n, b), (b, a + n, b + n)]
    last = len(vertices) - 2
    for j in range(n):
        k = (j + 1) % n
        faces += [(last, j, k), (last + 1, last - n + k, last - n + j)]
    colors = np.ones((len(vertices), 3), np.float32)
    return Mesh(vertices.astype(np.float32), np.array(faces), colors, 1.0)


def _score(mesh: Mesh, pose: torch.Tensor | None = None) -> SurfaceScore:
    pose = torch.zeros(5) if pose is None else pose
    return surface_score(mesh, TRUTH, pose, TRUTH.solid.centroid)


def test_a_perfect_sphere() -> None:
    found = _score(_sphere())
    assert found.normals < 1.5 and found.steep == 0.0 and found.edges is None
    assert found.chamfer < 0.1 and found.f_score > 0.99 and found.far == 0.0


def test_lumps_of_a_known_height() -> None:
    mesh = _sphere()
    unit = mesh.vertices / RADIUS
    azimuth = np.arctan2(unit[:, 1], unit[:, 0])
    # The slope of h sin(12 azimuth) along a circle of radius r is 12 h / r cos(12 azimuth).
    height = 0.01 * np.sin(12 * azimuth) * (1 - unit[:, 2] ** 2)
    bumpy = Mesh(mesh.vertices + height[:, None] * unit, mesh.faces, mesh.colors, 1.0)
    slope = 0.12 / RADIUS * np.sqrt((1 - unit[:, 2] ** 2).clip(0))
    angle = np.degrees(np.arctan(slope[None] * np.abs(np.cos(np.linspace(0, 6, 500)))[:, None]))
    expected = np.average(angle.mean(0), weights=np.sqrt((1 - unit[:, 2] ** 2).clip(0)))
    found = _score(bumpy)
    assert found.normals == pytest.approx(expected, rel=0.15)
    assert 0.2 < found.chamfer < 0.8


def test_a_floater_is_far_area() -> None:
    mesh = _sphere()
    small = mesh.vertices * 0.15 + np.array([0.0, 0.0, 0.95 - 0.15 * RADIUS], np.float32)
    both = Mesh(
        np.concatenate([mesh.vertices, small]).astype(np.float32),
        np.concatenate([mesh.faces, mesh.faces + len(mesh.vertices)]),
        np.concatenate([mesh.colors, mesh.colors]),
        1.0,
    )
    found = _score(both)
    assert found.far == pytest.approx(0.0225 / 1.0225, rel=0.2) and found.normals < 2.0


def test_turned_and_scaled_results_are_brought_back() -> None:
    moved = SceneField("a red chair", yaw=40, scale=0.9, shift=(0.03, 0.02, -0.04), peak=60.0)
    found, home = score(moved).surface, score_of_truth("a red chair").surface
    assert found is not None and home is not None and home.chamfer < 3.5
    assert found.normals == pytest.approx(home.normals, abs=2.0)
    assert found.chamfer == pytest.approx(home.chamfer, rel=0.25) and found.far < 0.01


def test_the_wrong_shape_is_far() -> None:
    truth = ground_truth("a red chair")
    found = surface_score(_sphere(), truth, torch.zeros(5), truth.solid.centroid)
    assert found.far > 0.2 and found.chamfer > 4.0 and found.f_score < 0.3


def test_the_same_mesh_scores_the_same() -> None:
    field = SceneField("a red cube")
    assert score(field).surface == score_of_truth("a red cube").surface
    assert extract_mesh(field).faces.shape[1] == 3
