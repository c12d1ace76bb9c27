"""The volume renderer with functions, modules and fields of the caller."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from dfast.nn import Field, HashGrid, OccupancyGrid, SphericalHarmonics, VolumeRenderer
from dfast.ops import FieldSpec, GridSpec

pytestmark = pytest.mark.usefixtures("needs_native")

SPEC = FieldSpec(GridSpec(levels=2, log2_entries=8, base_resolution=4, max_resolution=8), width=16)


def rays(n: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    origins = nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1) * 2
    aims = torch.randn(n, 3, generator=generator) * 0.2
    return origins.to(device), (aims - origins.cpu()).to(device)


def fog(density: float, color: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return a field of one density and one colour everywhere."""
    return lambda x: (torch.full_like(x[:, :1], density), color.to(x).expand(len(x), 3))


def test_uniform_fog_absorbs_as_beer_says(device: torch.device) -> None:
    color = torch.tensor([0.2, 0.4, 0.8], device=device)
    render = VolumeRenderer(OccupancyGrid(16), early_stop_eps=0.0).to(device).eval()
    origins, directions = rays(40, device)
    out = render(fog(1.5, color), origins, directions)
    d = nn.functional.normalize(directions, dim=-1)
    closest = (origins - (origins * d).sum(-1, keepdim=True) * d).square().sum(-1)
    chord = 2 * (1 - closest).sqrt()
    expected = 1 - torch.exp(-1.5 * chord)
    torch.testing.assert_close(out.opacity, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out.color, expected[:, None] * color, rtol=1e-4, atol=1e-5)
    white = render(fog(1.5, color), origins, directions, background=torch.ones(3))
    torch.testing.assert_close(white.color, out.color + (1 - expected)[:, None])
    assert bool((out.depth > 0).all())


def test_leading_dimensions_background_and_empty_input(device: torch.device) -> None:
    render = VolumeRenderer(OccupancyGrid(16), background=(0.1, 0.2, 0.3)).to(device)
    field = Field(SPEC).to(device)
    origins, directions = rays(12, device)
    out = render(field, origins.view(3, 4, 3), directions.view(3, 4, 3))
    assert out.color.shape == (3, 4, 3) and out.opacity.shape == out.depth.shape == (3, 4)
    one = render(field, origins[0], directions)  # origins broadcast
    assert one.color.shape == (12, 3)
    assert render(field, origins[:0], directions[:0]).color.shape == (0, 3)
    away = render(field, origins, origins)  # looking away from the scene
    expected = torch.tensor([0.1, 0.2, 0.3]).to(device).expand(12, 3)
    torch.testing.assert_close(away.color, expected)
    assert away.samples.x.shape == (0, 3) and set(render.state_dict()) == {
        "occupancy.density",
        "occupancy.bits",
    }


def test_samples_are_shifted_in_training_only() -> None:
    render, field = VolumeRenderer(OccupancyGrid(16)), Field(SPEC)
    given = rays(8)
    generator = torch.Generator().manual_seed(3)
    first = render(field, *given, generator=generator)
    again = render(field, *given, generator=generator.manual_seed(3))
    assert torch.equal(first.samples.t, again.samples.t)
    assert not torch.equal(first.samples.t, render(field, *given).samples.t)
    render.eval()
    assert torch.equal(render(field, *given).color, render(field, *given).color)


class Radiance(nn.Module):
    """A density and a colour that depends on the view, as a user writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.grid = HashGrid(2, log2_entries=8, max_resolution=16)
        self.encode_view = SphericalHarmonics(2)
        self.density = nn.Linear(self.grid.output_dim, 1)
        self.color = nn.Linear(self.grid.output_dim + self.encode_view.output_dim, 3)

    def forward(self, x: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        h = self.grid((x + 1) / 2)
        color = self.color(torch.cat([h, self.encode_view(d).to(h)], -1))
        return nn.functional.softplus(self.density(h)), color.sigmoid()


@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16])
def test_autocast_with_a_module_of_the_caller(narrow: torch.dtype, device: torch.device) -> None:
    torch.manual_seed(0)
    radiance = Radiance().to(device)
    render = VolumeRenderer(OccupancyGrid(16), view_dependent=True, background=(1.0, 1.0, 1.0))
    render = render.to(device).eval()
    given = rays(16, device)
    exact = render(radiance, *given)
    with torch.autocast(device.type, narrow):
        out = render(radiance, *given)
        render.occupancy.update(lambda x: radiance(x, x)[0])
        field = render(Field(SPEC).to(device), *given) if not render.view_dependent else None
    assert field is None and out.color.dtype == out.opacity.dtype == torch.float32
    torch.testing.assert_close(out.color, exact.color, rtol=0, atol=0.02)
    out.color.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == p.dtype for p in radiance.parameters())


def test_gradients_are_those_of_finite_differences() -> None:
    origins, directions = (r.double() for r in rays(6))
    render = VolumeRenderer(OccupancyGrid(8), step_size=0.2, background=(0.3, 0.6, 0.9)).eval()
    scale, tint = torch.rand(3).double().requires_grad_(), torch.rand(3).double().requires_grad_()

    def look(scale: Tensor, tint: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        def f(x: Tensor) -> tuple[Tensor, Tensor]:
            return (x.square() * scale).sum(-1), (x * tint).sigmoid()

        return render(f, origins, directions)[:3]

    assert torch.autograd.gradcheck(look, (scale, tint), check_forward_ad=True)


def test_functional_gradient_of_parameters() -> None:
    field, render = Field(SPEC).double(), VolumeRenderer(OccupancyGrid(8)).eval()
    given = tuple(r.double() for r in rays(6))
    parameters = {name: p.detach() for name, p in field.named_parameters()}

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return render(lambda x: functional_call(field, parameters, (x,)), *given).color.sum()

    found = grad(loss)(parameters)
    expected = torch.autograd.grad(render(field, *given).color.sum(), list(field.parameters()))
    for name, want in zip(parameters, expected, strict=True):
        torch.testing.assert_close(found[name], want)


def test_max_samples_gives_the_same_without_a_count_from_the_device() -> None:
    grid, field, given = OccupancyGrid(16), Field(SPEC), rays(8)
    plain = VolumeRenderer(grid).eval()
    slots = len(plain(field, *given).samples.t) + 100
    bounded = VolumeRenderer(grid, max_samples=slots).eval()
    a, b = plain(field, *given), bounded(field, *given)
    torch.testing.assert_close(a.color, b.color)
    grads = [torch.autograd.grad(r.color.sum(), list(field.parameters())) for r in (a, b)]
    for want, got in zip(*grads, strict=True):
        torch.testing.assert_close(got, want)


def test_an_occupancy_grid_that_was_updated_skips_empty_space() -> None:
    grid, generator = OccupancyGrid(32), torch.Generator().manual_seed(0)
    render = VolumeRenderer(grid).eval()

    def ball(x: Tensor) -> tuple[Tensor, Tensor]:
        return 30.0 * (x.norm(dim=-1) < 0.4), torch.ones_like(x)

    given = rays(64)
    before = render(ball, *given)
    for _ in range(12):
        grid.update(lambda x: ball(x)[0], generator)
    after = render(ball, *given)
    assert len(after.samples.t) < 0.6 * len(before.samples.t)
    torch.testing.assert_close(after.opacity, before.opacity, rtol=0, atol=1e-4)
    assert math.isclose(render.step_size, 1 / 32)


@pytest.mark.parametrize("length", [1e-40, 1e-13, 1.0, 2e19, 3e38])
def test_directions_may_have_any_length(length: float) -> None:
    render = VolumeRenderer(OccupancyGrid(8)).eval()
    origin, direction = torch.tensor([[0.0, 0.0, 2.0]]), torch.tensor([[0.0, 0.0, -length]])
    out = render(fog(1.0, torch.ones(3)), origin, direction)
    assert float(out.opacity) == pytest.approx(1 - math.exp(-2.0), abs=1e-4)
