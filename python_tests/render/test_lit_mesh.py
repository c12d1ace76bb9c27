"""Images of a mesh with a normal map: known light, gradients, and the same pictures as fields."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_methods import loop_scene

from dfast.config import MarchConfig
from dfast.config.views import SHADING
from dfast.render.lit_mesh import bent, render_lit_mesh, tangents
from dfast.render.picture import picture
from dfast.scene.cameras import orbit
from dfast.scene.lighting import Lighting, fixed_lighting

pytestmark = pytest.mark.usefixtures("needs_native")


def light(ambient: float, textureless: float = 0.0, n: int = 1) -> Lighting:
    """Return a light from the front (+x)."""
    full = torch.ones(n)
    position = torch.tensor([[100.0, 0.0, 0.0]]).expand(n, 3)
    return Lighting(position, ambient * full, (1 - ambient) * full, textureless * full, True)


def test_a_sphere_has_its_size_and_a_flat_map_leaves_its_normals() -> None:
    scene = loop_scene(control=8, subdivisions=2)
    radius = float(scene.positions().norm(dim=1).mean().detach())
    assert 0.45 < radius < 0.5  # the limit surface is inside the control mesh
    cameras = orbit(3, elevation=10.0, distance=3.0, fov=40.0)
    seen = render_lit_mesh(scene, cameras, light(1.0, n=3), resolution=64, colors=torch.zeros(3, 3))
    half = math.tan(math.asin(radius / 3.0)) / math.tan(math.radians(20.0))
    torch.testing.assert_close(
        seen.opacity.mean((1, 2, 3)), torch.full((3,), math.pi / 4 * half**2), atol=0.01, rtol=0
    )
    whole = (seen.opacity > 0.999)[:, 0]
    origins, directions = cameras.rays(64)
    points = origins + seen.depth.detach().reshape(-1, 1) * directions
    normal = seen.normal.detach().permute(0, 2, 3, 1).reshape(-1, 3)[whole.flatten()]
    outward = torch.nn.functional.normalize(points[whole.flatten()], dim=1)
    assert float((normal * outward).sum(1).min()) > 0.98


def test_the_light_is_that_of_fields() -> None:
    scene = loop_scene(control=8, subdivisions=2)
    with torch.no_grad():
        scene.texture.fill_(0.6)
    colors = torch.tensor([[0.1, 0.2, 0.3]])
    front = orbit(1, elevation=0.0)
    lit = render_lit_mesh(scene, front, light(0.2), resolution=33, colors=colors).image[0]
    torch.testing.assert_close(lit[:, 16, 16], torch.full((3,), 0.6), atol=0.01, rtol=0)
    torch.testing.assert_close(lit[:, 0, 0], colors[0])
    back = orbit(1, elevation=0.0, azimuth=180.0)
    dark = render_lit_mesh(scene, back, light(0.2), resolution=33, colors=colors).image[0]
    torch.testing.assert_close(dark[:, 16, 16], torch.full((3,), 0.12), atol=0.01, rtol=0)
    grey = render_lit_mesh(scene, front, light(1.0, 1.0), resolution=33, colors=colors).image[0]
    torch.testing.assert_close(grey[:, 16, 16], torch.full((3,), 0.5), atol=0.01, rtol=0)


def test_a_normal_of_the_map_bends_that_of_the_mesh() -> None:
    scene = loop_scene()
    up, along = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[2.0, 0.0, 1.0]])
    torch.testing.assert_close(bent(up, along, torch.tensor([[0.0, 0.0, 1.0]])), up)
    torch.testing.assert_close(
        bent(up, along, torch.tensor([[0.6, 0.0, 0.8]])), torch.tensor([[0.6, 0.0, 0.8]])
    )
    torch.testing.assert_close(
        bent(up, along, torch.tensor([[0.0, 0.6, 0.8]])), torch.tensor([[0.0, 0.6, 0.8]])
    )
    # In the middle of the square, the top of the sphere, u grows along +x.
    middle = (scene.topology.uv == 0.5).all(1)
    found = tangents(scene.positions(), scene.topology)[middle][0]
    torch.testing.assert_close(found / found.norm(), torch.tensor([1.0, 0, 0]), atol=1e-4, rtol=0)


def test_gradients_reach_the_vertices_and_both_maps() -> None:
    scene = loop_scene()
    cameras = orbit(6, elevation=20.0)
    seen = render_lit_mesh(scene, cameras, light(0.3, n=6), resolution=32, colors=torch.zeros(6, 3))
    seen.image.square().mean().backward()
    for name, parameter in scene.named_parameters():
        assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all()), name
        assert float((parameter.grad != 0).float().mean()) > 0.5, name


def test_following_the_gradient_of_the_opacity_shrinks_the_mesh() -> None:
    scene = loop_scene()
    cameras, colors = orbit(4), torch.zeros(4, 3)
    adam = torch.optim.Adam([scene.control], lr=0.01)
    found = []
    for _ in range(8):
        seen = render_lit_mesh(scene, cameras, light(1.0, n=4), resolution=32, colors=colors)
        loss = seen.opacity.mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        found.append(float(loss.detach()))
    assert found[-1] < 0.9 * found[0]


@pytest.mark.parametrize("shading", SHADING)
def test_pictures_of_meshes_in_every_shading(shading: str) -> None:
    scene, cameras = loop_scene(control=8, subdivisions=2), orbit(2)
    background = torch.tensor([0.9, 0.1, 0.1])
    found = picture(
        scene, cameras, MarchConfig(), resolution=24, shading=shading, background=background
    )
    assert found.shape == (2, 24, 24, 3)
    assert float(found.min()) >= 0.0 and float(found.max()) <= 1.0
    torch.testing.assert_close(found[:, 0, 0], background.expand(2, 3), atol=1e-3, rtol=0)
    assert float((found[:, 12, 12] - background).abs().max()) > 0.1


def test_the_studio_shows_the_mode_that_training_does_not() -> None:
    scene, cameras = loop_scene(), orbit(1)
    lighting = fixed_lighting("textureless", cameras)
    background = torch.zeros(3)
    white = picture(
        scene, cameras, MarchConfig(), resolution=16, shading="textureless", background=background
    )
    grey = render_lit_mesh(scene, cameras, lighting, resolution=16, colors=torch.zeros(1, 3))
    torch.testing.assert_close(white[0].permute(2, 0, 1), 2 * grey.image[0].detach())
