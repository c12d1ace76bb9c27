"""Pictures of fields whose picture is known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfast.background import Background
from dfast.cameras import orbit
from dfast.config import BackgroundConfig, FieldConfig, GridConfig, MarchConfig
from dfast.field import Field
from dfast.occupancy import OccupancyGrid
from dfast.ops.march import Samples, march
from dfast.renderer import RayRender, Rendered, SampleBudget, render, render_rays
from dfast.shading import ShadingBatch, fixed_shading

pytestmark = pytest.mark.usefixtures("needs_native")

BALL = FieldConfig(
    grid=GridConfig(levels=2, log2_entries=8, max_resolution=16),
    hidden=4, blob="linear", blob_height=400.0, blob_width=0.6, density_scale=100.0,
)  # fmt: skip


def _ball(color: float = 0.0, config: FieldConfig = BALL) -> Field:
    """A sharp ball of radius 0.6; `color` is the albedo's logit."""
    field = Field(config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        field.weights[-1].zero_()
        field.biases[-1][1:] = color
    return field


def _render(field: Field, shading: ShadingBatch | None = None, **options: object) -> Rendered:
    cameras = options.pop("cameras", orbit(2))
    occupancy = OccupancyGrid(32)
    background = Background(BackgroundConfig(kind="solid"))
    colors = options.pop("colors", torch.zeros(len(cameras), 3))
    shading = shading or fixed_shading("albedo", cameras)
    march = options.pop("march", MarchConfig(step=0.02))
    return render(field, occupancy, background, colors, cameras, shading, 32, march, **options)


def _lit(cameras: object, light: Tensor, textureless: float) -> ShadingBatch:
    n = len(cameras)
    ones = torch.ones(n)
    return ShadingBatch(light, 0.1 * ones, 0.9 * ones, textureless * ones, lit=True)


def test_ball_has_its_size_and_colour() -> None:
    pictures = _render(_ball(color=2.0))
    assert pictures.image.shape == (2, 3, 32, 32) and pictures.opacity.shape == (2, 1, 32, 32)
    # A ball of radius r at distance 3 covers a disc of tan(asin(r / 3)) of the image's tan(20
    # degrees).
    half = math.tan(math.asin(0.6 / 3.0)) / math.tan(math.radians(20.0))
    assert float(pictures.opacity.detach().mean()) == pytest.approx(
        math.pi * half * half / 4.0, rel=0.03
    )
    middle = pictures.image[:, :, 16, 16]
    assert_close(middle, torch.full((2, 3), 1.0 / (1.0 + math.exp(-2.0))), atol=2e-3, rtol=0)
    assert_close(pictures.depth[:, 0, 16, 16], torch.full((2,), 2.4), atol=0.02, rtol=0)


def test_background_fills_the_rest() -> None:
    colors = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    pictures = _render(_ball(), colors=colors)
    assert_close(pictures.image[:, :, 0, 0], colors)


def test_frontally_lit_ball_has_its_mean_shade() -> None:
    """Group 6: lit from the eye, a white sphere's disc has the mean 0.1 + 0.9 * 2/3 (far camera,
    far light).
    """
    cameras = orbit(1, elevation=20.0, distance=60.0, fov=1.6)
    shading = _lit(cameras, 50.0 * cameras.origin, textureless=1.0)
    pictures = _render(_ball(-3.0), shading, cameras=cameras, march=MarchConfig(step=0.01))
    # The rim, where opacity is partial, is also the darkest: weigh by opacity to keep it.
    mean = (pictures.image[:, :1].sum() / pictures.opacity.sum()).item()
    assert mean == pytest.approx(0.1 + 0.9 * 2.0 / 3.0, abs=0.01)


def test_normal_picture_points_outward() -> None:
    pictures = _render(_ball(), cameras=orbit(1, elevation=0.0), normal_picture=True)
    assert pictures.normal is not None
    assert_close(pictures.normal[0, :, 16, 16], torch.tensor([1.0, 0.0, 0.0]), atol=0.06, rtol=0)


def test_fill_counts_only_rays_through_the_sphere() -> None:
    solid = replace(BALL, blob="none", density_bias=50.0)
    assert float(_render(_ball(config=solid)).fill) > 0.99
    empty = replace(BALL, blob="none", density_bias=-50.0)
    assert float(_render(_ball(config=empty)).fill) < 1e-6


def test_gradients_reach_every_parameter() -> None:
    cameras = orbit(2)
    field = Field(
        replace(BALL, blob_height=5.0, density_scale=10.0), torch.Generator().manual_seed(1)
    )
    pictures = _render(field, _lit(cameras, cameras.origin, 0.0), cameras=cameras)
    (pictures.image.square().mean() + pictures.rays.orientation.mean()).backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_no_occupied_cell_shows_the_background() -> None:
    cameras = orbit(1)
    occupancy = OccupancyGrid(32)
    occupancy.bits.zero_()
    pictures = render(
        _ball(), occupancy, Background(BackgroundConfig()), torch.full((1, 3), 0.25), cameras,
        fixed_shading("diffuse", cameras), 8, MarchConfig(),
    )  # fmt: skip
    assert_close(pictures.image, torch.full((1, 3, 8, 8), 0.25))
    pictures.image.sum().backward()


def test_gradients_reach_a_learned_background() -> None:
    background = Background(BackgroundConfig(kind="mlp"), torch.Generator().manual_seed(0))
    cameras = orbit(2)
    pictures = render(
        _ball(), OccupancyGrid(32), background, torch.zeros(2, 3), cameras,
        fixed_shading("albedo", cameras), 16, MarchConfig(step=0.05),
    )  # fmt: skip
    directions = cameras.rays(16)[1]
    behind = background(directions, torch.zeros(2, 3)).reshape(2, 16, 16, 3).permute(0, 3, 1, 2)
    assert_close(pictures.image[:, :, 0, 0], behind[:, :, 0, 0])
    pictures.image.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in background.parameters())


def test_views_in_any_order(generator: torch.Generator) -> None:
    """Rays that say which view is theirs see what rays in the order of the views see."""
    cameras = orbit(2)
    shading = _lit(cameras, cameras.origin * torch.tensor([[1.0], [-1.0]]), 0.0)
    march = MarchConfig(step=0.05)
    colors = torch.rand(2, 3, generator=generator)
    field, occupancy = _ball(), OccupancyGrid(32)
    origins, directions = cameras.rays(16)
    view = torch.arange(2, dtype=torch.int32).repeat_interleave(16 * 16)
    order = torch.randperm(len(view), generator=generator)

    def see(picked: Tensor | slice, view: Tensor | None) -> RayRender:
        ray = origins[picked], directions[picked]
        return render_rays(field, occupancy, *ray, view, shading, march, background=colors)

    want, got = see(slice(None), None), see(order, view[order])
    assert torch.equal(got.color, want.color[order])
    assert torch.equal(got.depth, want.depth[order])


@pytest.mark.parametrize("normals", ["analytic", "finite"])
def test_unused_slots_neither_show_nor_teach(normals: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots past the total hold whatever memory held; here they hold NaN."""
    config = replace(BALL, blob_height=5.0, density_scale=10.0, normals=normals)
    cameras = orbit(2)
    shading = _lit(cameras, cameras.origin, 0.0)

    def poisoned(*args: object, **options: object) -> Samples:
        samples = march(*args, **options)
        used = torch.arange(len(samples.t)) < samples.num_samples
        for values in (samples.t, samples.dt, samples.x):
            values[~used] = math.nan
        samples.ray[~used] = 2**30
        return samples

    def learn(capacity: int | None) -> tuple[Rendered, Field]:
        field = Field(config, torch.Generator().manual_seed(1))
        pictures = _render(field, shading, cameras=cameras, capacity=capacity)
        (pictures.image.square().mean() + pictures.rays.orientation.mean()).backward()
        return pictures, field

    exact, taught = learn(None)
    total = int(exact.rays.samples.num_samples)
    monkeypatch.setattr("dfast.renderer.march", poisoned)
    roomy, field = learn(total + 1000)
    assert_close(exact.image, roomy.image, rtol=0, atol=1e-5)  # other batches, other rounding
    for a, b in zip(field.parameters(), taught.parameters(), strict=True):
        assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-7)

    tight, field = learn(total // 2)  # whole rays at the end of the list are left out
    assert bool(tight.rays.samples.overflow)
    assert_close(tight.image[0, :, :16], exact.image[0, :, :16], rtol=0, atol=1e-5)
    assert not tight.opacity[1, 0, 17:].any()
    assert all(bool(p.grad.isfinite().all()) for p in field.parameters())


def test_backgrounds(generator: torch.Generator) -> None:
    directions = torch.nn.functional.normalize(torch.randn(8, 3, generator=generator), dim=-1)
    random = Background(BackgroundConfig(kind="random"))
    colors = random.sample_colors(2, generator)
    assert torch.equal(random(directions, colors)[:4], colors[:1].expand(4, 3))
    learned = Background(BackgroundConfig(kind="mlp"), generator)
    values = learned(directions, colors)
    assert values.shape == (8, 3) and (values >= 0).all() and (values <= 1).all()
    assert len(list(learned.parameters())) == 4 and not list(random.parameters())


def test_budget_learns_and_counts_overflows(device: torch.device) -> None:
    budget = SampleBudget(device)
    budget.asynchronous = True  # on the CPU too, where nothing is late but all else is the same

    def step(total: int) -> int | None:
        capacity = budget.capacity(16)
        budget.note(torch.tensor(total, device=device))
        return capacity

    assert [step(100_000) for _ in range(SampleBudget.EXACT_STEPS)] == [None] * 8
    assert step(400_000) == 10 * 16384 and budget.overflows == 0
    while step(100_000) == 10 * 16384:
        assert budget.overflows == 0
    assert budget.overflows == 1 and budget.capacity(16) == 37 * 16384
    later = [step(20_000) or 0 for _ in range(300)]  # the scene empties
    assert later[-1] < 10 * 16384 and len(set(later)) <= 4 and budget.overflows == 1
    assert budget.capacity(32) is None


def test_budget_of_the_cpu_is_exact() -> None:
    budget = SampleBudget(torch.device("cpu"))
    for _ in range(20):
        assert budget.capacity(16) is None
        budget.note(torch.tensor(5))
