"""Materials of roughness and metalness: their reflectance, their light, and what leads to them."""

from __future__ import annotations

import math

import pytest
import torch
from surfaces import sphere
from torch import Tensor

from dfast.config import BackgroundConfig, Config
from dfast.config.stages import refine_settings
from dfast.guidance.base import Guidance, GuidanceBatch
from dfast.render import studio
from dfast.render.mesh_picture import mesh_pictures
from dfast.render.pbr import Material, lit, reflectance, surrounded
from dfast.render.surface import render_surface
from dfast.scene.background import Background
from dfast.scene.cameras import orbit
from dfast.scene.lighting import fixed_lighting
from dfast.scene.mesh_scene import MeshScene, MeshTensors
from dfast.training.generators import Generators
from dfast.training.refine import MeshTrainer

pytestmark = pytest.mark.usefixtures("needs_native")


def material(base: float, roughness: float, metalness: float) -> Material:
    """Return a grey material, float64."""
    values = torch.tensor([base, roughness, metalness], dtype=torch.float64)
    return Material(values[:1].expand(3), values[1:2], values[2:])


def hemisphere(count: int = 400) -> tuple[Tensor, Tensor]:
    """Return unit vectors [N, 3] with z > 0 and the solid angle of each, [N]."""
    polar = (torch.arange(count, dtype=torch.float64) + 0.5) / count * (math.pi / 2)
    around = (torch.arange(count, dtype=torch.float64) + 0.5) / count * (2 * math.pi)
    p, a = torch.meshgrid(polar, around, indexing="ij")
    points = torch.stack([p.sin() * a.cos(), p.sin() * a.sin(), p.cos()], -1).view(-1, 3)
    step = (math.pi / 2 / count) * (2 * math.pi / count)
    return points, (p.sin() * step).flatten()


def towards(cosine: float) -> Tensor:
    """Return the unit vector at this cosine from z."""
    return torch.tensor([math.sqrt(1 - cosine**2), 0.0, cosine], dtype=torch.float64)


UP = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


@pytest.mark.parametrize("cosine", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("roughness", [0.3, 0.6, 1.0])
@pytest.mark.parametrize(("metalness", "error"), [(0.0, 0.04), (1.0, 0.16)])
def test_reflectance_is_the_integral_of_the_highlight(
    metalness: float, error: float, roughness: float, cosine: float
) -> None:
    lights, angle = hemisphere()
    alone = material(metalness, roughness, metalness)  # a white metal, or a black dielectric
    leaving = lit(alone, UP.expand_as(lights), towards(cosine).expand_as(lights), lights)
    integral = float((leaving[:, 0] * angle).sum() / math.pi)
    assert integral <= 1.001  # there is no more light than that
    fitted = float(reflectance(alone, torch.tensor([cosine], dtype=torch.float64))[0])
    assert fitted == pytest.approx(integral, abs=error)


def test_a_smooth_metal_loses_no_light() -> None:
    lights, angle = hemisphere()
    metal = material(1.0, 0.25, 1.0)
    leaving = lit(metal, UP.expand_as(lights), UP.expand_as(lights), lights)
    assert float((leaving[:, 0] * angle).sum() / math.pi) == pytest.approx(1.0, abs=0.01)


def test_a_rough_dielectric_is_nearly_lambertian_and_reciprocal() -> None:
    rough = material(0.5, 1.0, 0.0)
    value = lit(rough, UP, towards(0.8), towards(0.6))[0]
    assert float(value) == pytest.approx(0.5 * 0.6, rel=0.06)
    back = lit(rough, UP, towards(0.6), towards(0.8))[0]
    assert float(back / 0.8) == pytest.approx(float(value / 0.6), rel=1e-9)
    assert float(lit(rough, UP, towards(0.8), -UP).abs().max()) == 0


def test_smoother_highlights_are_narrower_and_brighter() -> None:
    seen = []
    for roughness in (0.2, 0.5, 1.0):
        metal = material(1.0, roughness, 1.0)
        mirror = lit(metal, UP, towards(0.8), towards(0.8) * torch.tensor([-1.0, 1.0, 1.0]))
        beside = lit(metal, UP, towards(0.8), towards(0.8))
        seen.append((float(mirror[0]), float(beside[0])))
    assert seen[0][0] > seen[1][0] > seen[2][0]
    assert seen[0][1] < seen[1][1] < seen[2][1]


def test_even_surroundings_leave_what_is_reflected_or_scattered() -> None:
    white = material(1.0, 0.5, 0.0)
    leaving = surrounded(white, UP, towards(0.7), 1.0, 0.0)
    torch.testing.assert_close(leaving, torch.ones(3, dtype=torch.float64))
    black = surrounded(material(0.0, 0.5, 0.0), UP, towards(0.7), 1.0, 0.0)
    assert 0.02 < float(black[0]) < 0.12


def test_light_has_right_derivatives() -> None:
    normal = torch.nn.functional.normalize(torch.tensor([[0.2, -0.1, 0.9]]).double(), dim=1)
    values = torch.tensor([[0.3, 0.6, 0.5, 0.4, 0.3]], dtype=torch.float64, requires_grad=True)

    def leaving(color: Tensor, n: Tensor) -> Tensor:
        own, view, light = Material.of(color), towards(0.9)[None], towards(0.5)[None]
        return lit(own, n, view, light) + surrounded(own, n, view, 0.5, 0.2)

    assert torch.autograd.gradcheck(leaving, (values, normal.requires_grad_()))


def ball(color: tuple[float, ...]) -> MeshScene:
    """Return a ball of one material: albedo, roughness, metalness."""
    vertices, faces = sphere(24, 36)
    texture = torch.tensor(color).expand(8, 8, 5)
    uv = torch.stack([torch.atan2(vertices[:, 1], vertices[:, 0]) / math.tau + 0.5, vertices[:, 2]])
    mesh = MeshTensors(0.6 * vertices.float(), texture, faces, uv.T.float().contiguous(), faces)
    return MeshScene(mesh, Background(BackgroundConfig(kind="solid", color=(0.5, 0.5, 0.5))))


def test_albedo_and_textureless_images_are_those_of_a_rough_surface() -> None:
    scene, cameras = ball((0.8, 0.4, 0.2, 0.2, 1.0)), orbit(1)
    albedo = render_surface(scene, cameras, fixed_lighting("albedo", cameras), resolution=9)
    torch.testing.assert_close(albedo.image[0, :, 4, 4], torch.tensor([0.8, 0.4, 0.2]))
    lighting = fixed_lighting("textureless", cameras)
    white = render_surface(scene, cameras, lighting, resolution=9).image[0, :, 4, 4].detach()
    assert float(white.max() - white.min()) < 1e-6 < float(white.min())


def test_the_studio_shows_the_material() -> None:
    cameras, grey = orbit(1, azimuth=20.0), torch.full((3,), 0.5)

    def picture(roughness: float, metalness: float) -> Tensor:
        scene = ball((0.8, 0.4, 0.2, roughness, metalness))
        pictures = mesh_pictures(
            scene, cameras, resolution=65, backgrounds={"studio": grey, "clay": grey}
        )
        torch.testing.assert_close(pictures["studio"][0, 0, 0], grey)
        return pictures["studio"][0, 20:45, 20:45]

    rough, glossy, metal = picture(1.0, 0.0), picture(0.2, 0.0), picture(0.2, 1.0)
    assert float(glossy.max()) > float(rough.max()) + 0.05
    assert float(metal.median()) < float(rough.median()) - 0.1


class Truth(Guidance):
    """Pulls images to those of a mesh in the same light, on grey."""

    def __init__(self, scene: MeshScene, size: int) -> None:
        self.scene, self.size = scene, size

    def encode_images(self, images: Tensor, *, approximate: bool = False) -> Tensor:
        return images

    def gradient(self, encoded: Tensor, batch: GuidanceBatch, generator: torch.Generator) -> Tensor:
        with torch.no_grad():
            true = render_surface(self.scene, batch.cameras, batch.lighting, resolution=self.size)
        return encoded.detach() - true.image


@pytest.mark.parametrize("true", [(0.7, 0.4, 0.3, 0.25, 0.0), (0.7, 0.4, 0.3, 0.35, 1.0)])
def test_the_material_of_a_ball_is_found(true: tuple[float, ...]) -> None:
    config = Config().replace(
        background={"kind": "solid", "color": [0.5, 0.5, 0.5]},
        shading={"albedo": 0.0, "diffuse": 1.0, "textureless": 0.0},
        light={"ambient": [0.2, 0.2]},
        train={"average_from": 1.0},
        refine={"resolution": 40, "steps": 60, "lr_vertices": 0.0, "lr_texture": 0.03},
        regularizer={"darkness": [0.0, 0.0]},
    )
    scene = ball((0.5, 0.5, 0.5, 0.6, 0.5))
    generators = Generators.seeded(0, torch.device("cpu"))
    trainer = MeshTrainer(refine_settings(config), scene, Truth(ball(true), 40), generators)
    for _ in range(60):
        trainer.train_step()
    # Each texel was seen a few times; their middle is near the ball's one material.
    found = scene.texture.detach().flatten(0, 1).median(0).values
    torch.testing.assert_close(found[:3], torch.tensor(true[:3]), atol=0.09, rtol=0)
    assert abs(float(found[3]) - true[3]) < 0.5 * abs(0.6 - true[3])
    assert abs(float(found[4]) - true[4]) < 0.5 * abs(0.5 - true[4])


def test_decoded_colours_come_back() -> None:
    color = torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(studio.encode(studio.decode(color)), color)
