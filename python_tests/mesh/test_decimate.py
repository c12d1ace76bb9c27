"""Decimated meshes: within the budget, closed, and true to the surface."""

from __future__ import annotations

import numpy as np
import pytest
from density_fields import Ball, SceneField

from dfast.mesh.decimate import decimate
from dfast.mesh.extract import extract_mesh
from dfast.mesh.manifold import is_closed
from dfast.mesh.mesh import Mesh

CENTER = np.array([0.2, -0.1, 0.1])


def normal_error(mesh: Mesh) -> float:
    """Return the mean angle, by area, between a ball's faces and its true normals, in degrees."""
    corner = mesh.vertices[mesh.faces].astype(float)
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    area = np.linalg.norm(normal, axis=1)
    out = corner.mean(1) - CENTER
    cosine = (normal * out).sum(1) / (area * np.linalg.norm(out, axis=1))
    return float(np.average(np.degrees(np.arccos(np.clip(cosine, -1, 1))), weights=area))


@pytest.mark.parametrize("budget", [None, 20_000, 5_000])
def test_extraction_and_decimation_add_little_to_the_normals(budget: int | None) -> None:
    mesh = extract_mesh(Ball(0.5, tuple(CENTER)), faces=budget)
    assert is_closed(mesh.faces)
    assert budget is None or 0.9 * budget < len(mesh.faces) <= budget
    assert normal_error(mesh) < (1.0 if budget != 5_000 else 1.5)


@pytest.mark.parametrize("caption", ["a red chair", "a red cube next to a blue sphere"])
def test_objects_stay_closed_and_of_one_volume(caption: str) -> None:
    whole = extract_mesh(SceneField(caption))
    mesh = extract_mesh(SceneField(caption), faces=2_000)
    assert is_closed(mesh.faces) and len(mesh.faces) <= 2_000
    assert len(mesh.vertices) == len(np.unique(mesh.faces))
    volumes = [m.to_trimesh().volume for m in (whole, mesh)]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.01)
    assert len(mesh.to_trimesh().split()) == len(whole.to_trimesh().split())


def test_a_small_mesh_stays_as_it_is() -> None:
    mesh = extract_mesh(Ball(), resolution=16)
    vertices, faces = decimate(mesh.vertices, mesh.faces, 10**6)
    assert vertices is mesh.vertices and faces is mesh.faces


def test_without_a_closed_attempt_the_mesh_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    import fast_simplification

    mesh = extract_mesh(Ball(), resolution=16)
    torn = (mesh.vertices, mesh.faces[1:])
    monkeypatch.setattr(fast_simplification, "simplify", lambda *_, **__: torn)
    assert decimate(mesh.vertices, mesh.faces, 100)[1] is mesh.faces
    assert "kept" in " ".join(extract_mesh(Ball(), resolution=16, faces=100).notes)
