"""Refining meshes: losses of known values, light, and a coarse field led to the truth."""

from __future__ import annotations

import math

import pytest
import torch
from oracle import OraclePrior
from procedural import scene_of, views
from surfaces import cube, sphere
from torch import Tensor

from dfast.config import BackgroundConfig, Config
from dfast.config.stages import refine_settings
from dfast.mesh.export import export_mesh
from dfast.mesh.scene import tensors_of_mesh
from dfast.ops.antialias import half_edge_twins
from dfast.render.mesh import vertex_normals
from dfast.render.surface import render_surface
from dfast.runs.train import train
from dfast.scene.background import Background
from dfast.scene.cameras import CameraBatch, orbit
from dfast.scene.lighting import fixed_lighting
from dfast.scene.mesh_scene import MeshScene, MeshTensors
from dfast.training.mesh_losses import laplacian, neighbours, normal_consistency
from dfast.training.refine import build_mesh_trainer
from dfast.world.tracer import render_scene

pytestmark = pytest.mark.usefixtures("needs_native")


def ball(radius: float = 0.6, color: tuple[float, ...] = (0.8, 0.4, 0.2)) -> MeshScene:
    """Return a ball of one colour."""
    vertices, faces = sphere(40, 60)
    texture = torch.tensor(color).expand(4, 4, len(color))
    uv = torch.rand(len(vertices), 2, generator=torch.Generator().manual_seed(0))
    mesh = MeshTensors((radius * vertices).float(), texture, faces, uv, faces)
    return MeshScene(mesh, Background(BackgroundConfig(kind="solid", color=(0.0, 0.0, 1.0))))


def test_edges_and_neighbours_of_a_cube() -> None:
    _, faces = cube()
    edges, pairs = neighbours(faces, half_edge_twins(faces))
    assert len(edges) == len(pairs) == 18  # 12 of the cube and 6 diagonals
    assert len({tuple(sorted(edge)) for edge in edges.tolist()}) == 18
    for edge, pair in zip(edges.tolist(), pairs.tolist(), strict=True):
        assert all(set(edge) <= set(faces[face].tolist()) for face in pair)


def test_normal_consistency_of_a_cube() -> None:
    vertices, faces = cube()
    _, pairs = neighbours(faces, half_edge_twins(faces))
    # 12 of the 18 pairs meet at a right angle, the others are flat.
    value = normal_consistency(vertices, faces.long(), pairs)
    torch.testing.assert_close(value, torch.tensor(12 / 18, dtype=torch.float64))


def test_laplacian_sees_what_bends() -> None:
    vertices, faces = sphere(8, 12)
    edges, _ = neighbours(faces, half_edge_twins(faces))
    assert float(laplacian(vertices, vertices, edges)) == 0
    shift = torch.tensor([0.3, -0.1, 0.2], dtype=torch.float64)
    assert float(laplacian(vertices + shift, vertices, edges)) < 1e-20
    spike = torch.zeros_like(vertices)
    spike[0, 2] = 1.0
    # delta of the vertex itself changes by 1, that of a neighbour of n by 1 / n of its own.
    count = torch.bincount(edges.flatten(), minlength=len(vertices)).double()
    ends = torch.cat([edges, edges.flip(1)])
    beside = ends[ends[:, 0] == 0][:, 1]
    lengths = (vertices[edges[:, 0]] - vertices[edges[:, 1]]).square().sum(1)
    expected = (1 + (1 / count[beside]).square().sum()) / len(vertices) / lengths.mean()
    torch.testing.assert_close(laplacian(vertices + spike, vertices, edges), expected)


def test_shape_losses_have_right_derivatives() -> None:
    vertices, faces = sphere(5, 6)
    edges, pairs = neighbours(faces, half_edge_twins(faces))
    start = vertices * torch.tensor([1.0, 1.1, 0.9])
    moved = vertices.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: laplacian(v, start, edges), (moved,))
    assert torch.autograd.gradcheck(
        lambda v: normal_consistency(v, faces.long(), pairs), (moved,), atol=1e-4
    )


@pytest.mark.parametrize("mode", ["albedo", "diffuse", "textureless"])
def test_a_ball_is_lit_as_a_field_is(mode: str) -> None:
    scene, cameras = ball(), orbit(2, elevation=20.0)
    lighting = fixed_lighting(mode, cameras)
    seen = render_surface(scene, cameras, lighting, resolution=33, want_normal=True)
    middle = seen.image[:, :, 16, 16]
    towards = torch.nn.functional.normalize(cameras.origin, dim=1)
    light = torch.nn.functional.normalize(lighting.light_position - 0.6 * towards, dim=1)
    cosine = (towards * light).sum(1, keepdim=True)
    albedo = torch.ones(3) if mode == "textureless" else torch.tensor([0.8, 0.4, 0.2])
    expected = albedo * (lighting.diffuse[:, None] * cosine + lighting.ambient[:, None])
    torch.testing.assert_close(middle, expected, atol=4e-3, rtol=0)
    assert seen.normal is not None
    torch.testing.assert_close(seen.normal[:, :, 16, 16], towards, atol=3e-3, rtol=0)
    torch.testing.assert_close(seen.image[:, :, 0, 0], torch.tensor([[0.0, 0.0, 1.0]]).expand(2, 3))
    torch.testing.assert_close(seen.depth[:, 0, 16, 16], torch.full((2,), 2.4), atol=1e-2, rtol=0)
    # The disc of the ball, over that of the bounding sphere, as far as the image shows it.
    share = math.tan(math.asin(0.6 / 3)) ** 2 / math.tan(math.asin(1 / 3)) ** 2
    assert float(seen.fill) == pytest.approx(share, rel=0.05)
    assert int(seen.num_samples) == 0


def test_a_step_keeps_vertices_in_the_sphere_and_colours_in_their_range() -> None:
    scene = ball()
    with torch.no_grad():
        scene.vertices.mul_(3.0)
        scene.texture.add_(torch.linspace(-1, 1, 4)[:, None, None])
    scene.constrain()
    assert float(scene.vertices.detach().norm(dim=1).max()) <= 1 + 1e-6
    assert float(scene.texture.detach().min()) == 0 and float(scene.texture.detach().max()) == 1
    scene.reset()
    torch.testing.assert_close(scene.vertices.detach(), scene.start)


def test_gradients_of_normals_are_summed_in_one_order() -> None:
    vertices, faces = sphere(80, 80)
    moved, threads = vertices.float().requires_grad_(), torch.get_num_threads()
    weight = torch.randn(len(moved), 3, generator=torch.Generator().manual_seed(0))
    torch.set_num_threads(2)
    try:
        found = {
            torch.autograd.grad((vertex_normals(moved, faces) * weight).sum(), moved)[0]
            .numpy()
            .tobytes()
            for _ in range(20)
        }
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1


TRUTH = "a red and blue striped mug"
COARSE = Config.default("cpu").replace(
    background={"kind": "solid", "color": [1.0, 1.0, 1.0]},
    shading={"albedo": 1.0, "diffuse": 0.0, "textureless": 0.0},
    field={"grid": {"levels": 6, "log2_entries": 14}, "hidden": 16},
    camera={"views": 4, "resolution": [[0.0, 20]]},
    march={"step_size": 0.08},
    regularizer={"darkness": [0.0, 0.0]},
    train={"steps": 60, "average_from": 1.0},
    refine={"steps": 40, "resolution": 80, "grid": 40, "faces": 3000, "texture": 128},
)


def truth(cameras: CameraBatch, resolution: int) -> Tensor:
    """Return the true images [B, 3, N, N] of the sentence, on white."""
    return render_scene(scene_of(TRUTH), cameras, resolution)


def agreement(scene: MeshScene, resolution: int = 96) -> tuple[float, float]:
    """Return the IoU of silhouettes, and the PSNR of the albedo inside both, dB, over 6 views."""
    cameras = views(*(10.0 + 60.0 * i for i in range(6)), elevation=15.0)
    on_white = truth(cameras, resolution)
    on_black = render_scene(scene_of(TRUTH), cameras, resolution, background=(0.0, 0.0, 0.0))
    true = (on_white - on_black).mean(1) < 0.5
    with torch.no_grad():
        lighting = fixed_lighting("albedo", cameras)
        seen = render_surface(scene, cameras, lighting, resolution=resolution)
    own = seen.opacity[:, 0] > 0.5
    iou = (true & own).sum() / (true | own).sum()
    inside = (true & own)[:, None].expand_as(on_white)
    error = seen.rays.color.view(6, resolution, resolution, 3).permute(0, 3, 1, 2) - on_white
    return float(iou), float(-10 * error[inside].square().mean().log10())


def test_refining_a_coarse_field_leads_to_the_truth() -> None:
    coarse = train(TRUTH, prior=OraclePrior(20, truth), config=COARSE, device="cpu", progress=False)
    config = refine_settings(coarse.config)
    plan = config.refine
    mesh = export_mesh(coarse, faces=plan.faces, texture=plan.texture, resolution=plan.grid)
    trainer = build_mesh_trainer(
        config,
        tensors_of_mesh(mesh),
        OraclePrior(plan.resolution, truth),
        TRUTH,
        0,
        torch.device("cpu"),
    )
    iou, psnr = agreement(trainer.mesh)
    for _ in range(plan.steps):
        trainer.train_step()
    trainer.finish()
    finer_iou, finer_psnr = agreement(trainer.mesh)
    assert finer_iou > iou + 0.03
    assert finer_psnr > psnr + 3.0
