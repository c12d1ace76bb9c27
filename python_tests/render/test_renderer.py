"""Renderings of fields whose image is known, and the options of the renderer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfast.config import BackgroundConfig, FieldConfig, GridConfig, MarchConfig
from dfast.nn.field import Field
from dfast.nn.occupancy import OccupancyGrid
from dfast.ops.march import Samples, march
from dfast.render.options import Normals, RenderOptions
from dfast.render.outputs import RayRender, Rendering
from dfast.render.volume import render, render_rays
from dfast.scene.background import Background
from dfast.scene.cameras import CameraBatch, orbit
from dfast.scene.lighting import Lighting, fixed_lighting
from dfast.scene.rays import RayBatch
from dfast.scene.scene import Scene, build_field

pytestmark = pytest.mark.usefixtures("needs_native")

BALL = FieldConfig(
    grid=GridConfig(levels=2, log2_entries=8, max_resolution=16),
    hidden=4,
    blob="linear",
    blob_height=400.0,
    blob_width=0.6,
    density_scale=100.0,
)
FINE = MarchConfig(step_size=0.02)
NORMALS: tuple[Normals, ...] = ("none", "shading", "image")


def _ball(color: float = 0.0, config: FieldConfig = BALL) -> Field:
    """Return a sharp ball of radius 0.6; `color` is the logit of the albedo."""
    field = build_field(config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        field.weights[-1].zero_()
        field.biases[-1][1:] = color
    return field


def _scene(field: Field, kind: Literal["solid", "random"] = "solid") -> Scene:
    return Scene(field, OccupancyGrid(32), Background(BackgroundConfig(kind=kind)))


def _render(
    field: Field,
    lighting: Lighting | None = None,
    *,
    cameras: CameraBatch | None = None,
    colors: Tensor | None = None,
    march: MarchConfig = FINE,
    normals: Normals | None = None,
    max_samples: int | None = None,
) -> Rendering:
    """Render 32 pixels a side on black; normals are computed where the lighting needs them."""
    cameras = orbit(2) if cameras is None else cameras
    lighting = lighting or fixed_lighting("albedo", cameras)
    needed: Normals = "shading" if lighting.lit else "none"
    return render(
        _scene(field),
        cameras,
        lighting,
        RenderOptions(march, normals=normals or needed, max_samples=max_samples),
        resolution=32,
        colors=torch.zeros(len(cameras), 3) if colors is None else colors,
    )


def _lit(cameras: CameraBatch, light: Tensor, textureless: float) -> Lighting:
    ones = torch.ones(len(cameras))
    return Lighting(light, 0.1 * ones, 0.9 * ones, textureless * ones, lit=True)


def test_ball_has_its_size_and_colour() -> None:
    rendering = _render(_ball(color=2.0))
    assert rendering.image.shape == (2, 3, 32, 32) and rendering.opacity.shape == (2, 1, 32, 32)
    # A ball of radius r at distance 3 covers a disc of tan(asin(r / 3)) of the image's tan(20
    # degrees).
    half = math.tan(math.asin(0.6 / 3.0)) / math.tan(math.radians(20.0))
    assert float(rendering.opacity.detach().mean()) == pytest.approx(
        math.pi * half * half / 4.0, rel=0.03
    )
    middle = rendering.image[:, :, 16, 16]
    assert_close(middle, torch.full((2, 3), 1.0 / (1.0 + math.exp(-2.0))), atol=2e-3, rtol=0)
    assert_close(rendering.depth[:, 0, 16, 16], torch.full((2,), 2.4), atol=0.02, rtol=0)


def test_background_fills_the_rest() -> None:
    colors = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    rendering = _render(_ball(), colors=colors)
    assert_close(rendering.image[:, :, 0, 0], colors)


def test_frontally_lit_ball_has_its_mean_shade() -> None:
    """Lit from the eye, the disc of a white sphere has the mean 0.1 + 0.9 * 2/3.

    This holds in the limit of a far camera and a far light.
    """
    cameras = orbit(1, elevation=20.0, distance=60.0, fov=1.6)
    lighting = _lit(cameras, 50.0 * cameras.origin, textureless=1.0)
    rendering = _render(_ball(-3.0), lighting, cameras=cameras, march=MarchConfig(step_size=0.01))
    # The rim, where opacity is partial, is also the darkest. Weighing by opacity includes it.
    mean = (rendering.image[:, :1].sum() / rendering.opacity.sum()).item()
    assert mean == pytest.approx(0.1 + 0.9 * 2.0 / 3.0, abs=0.01)


def test_normal_image_points_outward() -> None:
    rendering = _render(_ball(), cameras=orbit(1, elevation=0.0), normals="image")
    assert rendering.normal is not None
    assert_close(rendering.normal[0, :, 16, 16], torch.tensor([1.0, 0.0, 0.0]), atol=0.06, rtol=0)


def test_fill_counts_only_rays_through_the_sphere() -> None:
    solid = replace(BALL, blob="none", density_bias=50.0)
    assert float(_render(_ball(config=solid)).fill) > 0.99
    empty = replace(BALL, blob="none", density_bias=-50.0)
    assert float(_render(_ball(config=empty)).fill) < 1e-6


def test_gradients_reach_every_parameter() -> None:
    cameras = orbit(2)
    field = build_field(
        replace(BALL, blob_height=5.0, density_scale=10.0), torch.Generator().manual_seed(1)
    )
    rendering = _render(field, _lit(cameras, cameras.origin, 0.0), cameras=cameras)
    (rendering.image.square().mean() + rendering.rays.orientation.mean()).backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_no_occupied_cell_shows_the_background() -> None:
    cameras = orbit(1)
    scene = _scene(_ball(), kind="random")
    scene.occupancy.bits.zero_()
    rendering = render(
        scene,
        cameras,
        fixed_lighting("diffuse", cameras),
        RenderOptions(),
        resolution=8,
        colors=torch.full((1, 3), 0.25),
    )
    assert_close(rendering.image, torch.full((1, 3, 8, 8), 0.25))
    rendering.image.sum().backward()


def test_gradients_reach_a_learned_background() -> None:
    background = Background(BackgroundConfig(kind="mlp"), torch.Generator().manual_seed(0))
    cameras = orbit(2)
    rendering = render(
        Scene(_ball(), OccupancyGrid(32), background),
        cameras,
        fixed_lighting("albedo", cameras),
        RenderOptions(MarchConfig(step_size=0.05), normals="none"),
        resolution=16,
        colors=torch.zeros(2, 3),
    )
    directions = cameras.rays(16)[1]
    behind = background(directions, torch.zeros(2, 3)).reshape(2, 16, 16, 3).permute(0, 3, 1, 2)
    assert_close(rendering.image[:, :, 0, 0], behind[:, :, 0, 0])
    rendering.image.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in background.parameters())


def test_rays_in_any_order(generator: torch.Generator) -> None:
    """Rays with camera ids in any order see what rays in the order of the cameras see."""
    cameras = orbit(2)
    lighting = _lit(cameras, cameras.origin * torch.tensor([[1.0], [-1.0]]), 0.0)
    options = RenderOptions(MarchConfig(step_size=0.05))
    colors = torch.rand(2, 3, generator=generator)
    scene = _scene(_ball())
    origins, directions = cameras.rays(16)
    camera_ids = torch.arange(2, dtype=torch.int32).repeat_interleave(16 * 16)
    order = torch.randperm(len(camera_ids), generator=generator)

    def see(rays: RayBatch) -> RayRender:
        return render_rays(scene, rays, lighting, options, background=colors)

    want = see(RayBatch(origins, directions))
    got = see(RayBatch(origins, directions, camera_ids)[order])
    assert torch.equal(got.color, want.color[order])
    assert torch.equal(got.depth, want.depth[order])


@pytest.mark.parametrize("normals", ["analytic", "finite"])
def test_unused_slots_neither_show_nor_teach(
    normals: Literal["analytic", "finite"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slots past the last sample are uninitialised memory; here they hold NaN."""
    config = replace(BALL, blob_height=5.0, density_scale=10.0, normals=normals)
    cameras = orbit(2)
    lighting = _lit(cameras, cameras.origin, 0.0)

    def poisoned(*args: Any, **options: Any) -> Samples:
        samples = march(*args, **options)
        used = torch.arange(len(samples.t)) < samples.num_samples
        for values in (samples.t, samples.dt, samples.x):
            values[~used] = math.nan
        samples.ray[~used] = 2**30
        return samples

    def learn(max_samples: int | None) -> tuple[Rendering, Field]:
        field = build_field(config, torch.Generator().manual_seed(1))
        rendering = _render(field, lighting, cameras=cameras, max_samples=max_samples)
        (rendering.image.square().mean() + rendering.rays.orientation.mean()).backward()
        return rendering, field

    exact, taught = learn(None)
    total = int(exact.num_samples)
    monkeypatch.setattr("dfast.render.volume.march", poisoned)
    larger, field = learn(total + 1000)
    assert_close(exact.image, larger.image, rtol=0, atol=1e-5)  # other batches, other rounding
    for a, b in zip(field.parameters(), taught.parameters(), strict=True):
        assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-7)

    tight, field = learn(total // 2)  # whole rays at the end of the list are left out
    assert bool(tight.rays.samples.overflow)
    assert_close(tight.image[0, :, :16], exact.image[0, :, :16], rtol=0, atol=1e-5)
    assert not tight.opacity[1, 0, 17:].any()
    gradients = [p.grad for p in field.parameters()]
    assert all(g is not None and bool(g.isfinite().all()) for g in gradients)


def test_lit_images_need_normals() -> None:
    cameras = orbit(1)
    lighting = fixed_lighting("diffuse", cameras)
    with pytest.raises(ValueError, match="normals must be 'shading' or 'image' with lit lighting"):
        _render(_ball(), lighting, cameras=cameras, normals="none")


def test_normals_are_returned_as_an_image_only_when_asked_for() -> None:
    cameras = orbit(1)
    renderings = {n: _render(_ball(2.0), cameras=cameras, normals=n) for n in NORMALS}
    for rendering in renderings.values():  # albedo is the same with and without normals
        assert torch.equal(rendering.image, renderings["none"].image)
    assert [rendering.normal is None for rendering in renderings.values()] == [True, True, False]
    orientation = {n: float(r.rays.orientation.detach().sum()) for n, r in renderings.items()}
    assert orientation["none"] == 0.0 and orientation["shading"] == orientation["image"]
    assert RenderOptions().with_normals and not RenderOptions(normals="none").with_normals


def test_colors_default_to_the_configured_background() -> None:
    cameras = orbit(2)
    background = Background(BackgroundConfig(kind="solid", color=(0.25, 0.5, 0.75)))
    rendering = render(
        Scene(_ball(), OccupancyGrid(32), background),
        cameras,
        fixed_lighting("albedo", cameras),
        RenderOptions(FINE, normals="none"),
        resolution=16,
    )
    assert_close(rendering.image[:, :, 0, 0], torch.tensor([0.25, 0.5, 0.75]).expand(2, 3))
