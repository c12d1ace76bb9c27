"""An optimised mesh as a field and as a file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from surfaces import cube
from tiny_methods import loop_scene

from dfast.errors import ExportError
from dfast.mesh.inside import DENSITY, MeshField, inside_grid
from dfast.mesh.optimised import export_optimised
from dfast.mesh.reading import read_glb
from dfast.scene.loop_scene import LoopScene

pytestmark = pytest.mark.usefixtures("needs_native")


def test_cells_inside_a_cube_are_counted_exactly() -> None:
    points, faces = cube()
    found = inside_grid(points * 0.5, faces.long(), 32)
    expected = torch.zeros(32, 32, 32, dtype=torch.bool)
    expected[8:24, 8:24, 8:24] = True
    assert torch.equal(found, expected)


def test_a_mesh_that_crosses_itself_has_no_holes() -> None:
    points, faces = cube()
    both = torch.cat([points * 0.5, points * 0.5 + 0.25])
    found = inside_grid(both, torch.cat([faces, faces + len(points)]).long(), 32)
    one = inside_grid(points * 0.5, faces.long(), 32)
    other = inside_grid(points * 0.5 + 0.25, faces.long(), 32)
    assert torch.equal(found, one | other)


def test_a_mesh_beyond_the_grid_is_cut_off() -> None:
    points, faces = cube()
    assert bool(inside_grid(points * 1.5, faces.long(), 8).all())
    assert not bool(inside_grid(points * 0.5 + 3.0, faces.long(), 8).any())


def test_a_mesh_is_a_field_with_its_volume_and_colours() -> None:
    scene = loop_scene(control=8, subdivisions=2)
    with torch.no_grad():
        scene.texture.copy_(torch.tensor([0.2, 0.5, 0.8]))
    field = MeshField.of(scene)
    points = 2 * torch.rand(40000, 3, generator=torch.Generator().manual_seed(0)) - 1
    density = field.density(points)
    radius = float(scene.positions().norm(dim=1).mean().detach())
    volume = 8 * float((density > 0.5 * DENSITY).float().mean())
    assert volume == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.05)
    assert float(density.max()) == pytest.approx(DENSITY) and float(density.min()) == 0.0
    torch.testing.assert_close(field.albedo(points[:7]), torch.tensor([[0.2, 0.5, 0.8]] * 7))


@pytest.fixture
def striped() -> LoopScene:
    """Return a mesh that is red where x > 0, and blue elsewhere."""
    scene = loop_scene(control=8, texels=64, smoothing=0.0)
    with torch.no_grad():
        scene.texture.zero_()
        line = torch.arange(64) - 31.5
        scene.texture[..., 0] = (line > 0).float()
        scene.texture[..., 2] = (line <= 0).float()
    return scene


def test_a_glb_holds_the_mesh_and_its_maps(striped: LoopScene, tmp_path: Path) -> None:
    mesh = export_optimised(MeshField.of(striped), striped, tmp_path / "a.glb")
    assert len(mesh.faces) == len(striped.topology.faces)
    (part,) = read_glb(tmp_path / "a.glb")
    assert part.texture is not None and part.texture.shape == (64, 64, 3)
    loaded = trimesh.load(tmp_path / "a.glb", force="mesh")
    assert loaded.volume == pytest.approx(mesh.to_trimesh().volume, rel=1e-5)
    assert mesh.to_trimesh().is_watertight and mesh.to_trimesh().volume > 0
    # The colours at the vertices are those of the texture: the right half of the square is x > 0
    # on the upper half of the sphere, and so is it on the lower.
    x = mesh.vertices[:, 0]
    red = mesh.colors[:, 0] > 0.5
    assert bool((red == (x > 0))[np.abs(x) > 0.1].all())


def test_other_formats_sizes_and_budgets(striped: LoopScene, tmp_path: Path) -> None:
    field = MeshField.of(striped)
    export_optimised(field, striped, tmp_path / "a.stl", size=0.1)
    assert trimesh.load(tmp_path / "a.stl").is_watertight
    plain = export_optimised(field, striped, tmp_path / "b.glb", vertex_colors=True)
    assert plain.texture is None
    large = export_optimised(field, striped, tmp_path / "c.glb", texture=128)
    assert large.texture is not None and large.texture.color.shape == (128, 128, 3)
    few = export_optimised(field, striped, faces=400, resolution=48)
    assert len(few.faces) <= 420 and few.to_trimesh().is_watertight
    with pytest.raises(ExportError, match=r"^path must end in one of"):
        export_optimised(field, striped, tmp_path / "a.png")
