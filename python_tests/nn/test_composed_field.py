"""Fields added up: what one absorbs at any size, normals of the sum, both orders of derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from dfast.nn import Field
from dfast.nn.composed_field import ComposedField, Place
from dfast.ops.field_spec import FieldSpec
from dfast.ops.grid_spec import GridSpec

pytestmark = pytest.mark.usefixtures("needs_native")

GRID = GridSpec(levels=3, log2_entries=10, base_resolution=4, max_resolution=12,
                interpolation="smoothstep")  # fmt: skip
FAR, NEAR = Place((0.4, 0.1, 0.0), 0.5, 30.0), Place((-0.1, 0.0, 0.2), 0.7, -100.0)


def fields(count: int, activation: str = "softplus", scale: float = 15.0) -> list[Field]:
    """Return smooth random fields in double precision."""
    generator = torch.Generator().manual_seed(0)
    spec = FieldSpec(GRID, width=8, layers=1, activation=activation, density_scale=scale)  # type: ignore[arg-type]
    made = [Field(spec, generator=generator).double() for _ in range(count)]
    for field in made:
        with torch.no_grad():
            field.table.normal_(0.0, 0.3, generator=generator)
    return made


def composed(count: int, activation: str = "softplus", scale: float = 15.0) -> ComposedField:
    """Return one or two of `fields`, in `NEAR` and `FAR`, which overlap."""
    parts = fields(count, activation, scale)
    field = ComposedField(
        parts, (NEAR, FAR)[:count], activation=activation, density_scale=scale  # type: ignore[arg-type]
    )  # fmt: skip
    return field.double()


def points(count: int = 500) -> Tensor:
    """Return points of the cube [-1, 1]^3."""
    generator = torch.Generator().manual_seed(1)
    return 2.0 * torch.rand(count, 3, generator=generator, dtype=torch.float64) - 1.0


def frame(place: Place, x: Tensor) -> Tensor:
    """Return points in the frame of a place."""
    position = torch.tensor(place.position).double()
    return (x - position) @ place.turn().double() / place.size


def test_one_field_is_itself_in_its_place() -> None:
    (own,), field, x = fields(1), composed(1), points()
    y = frame(NEAR, x)
    inside = y.norm(dim=1) < 1.0
    found, expected = field(x, want_gradient=True), own(y, want_gradient=True)
    assert inside.any() and not inside.all()
    assert torch.equal(found.density[~inside], torch.zeros_like(found.density[~inside]))
    torch.testing.assert_close(found.density[inside], expected.density[inside] / NEAR.size)
    torch.testing.assert_close(found.albedo[inside], expected.albedo[inside])
    turned = expected.gradient @ NEAR.turn().double().t() / NEAR.size
    torch.testing.assert_close(found.gradient[inside], turned[inside])


def test_what_a_field_absorbs_does_not_depend_on_its_size() -> None:
    depths = []
    for size in (0.2, 1.0):
        field = ComposedField(fields(1), [Place((0.0, 0.0, 0.0), size, 0.0)], density_scale=15.0)
        t = (torch.arange(20000).double() + 0.5) / 10000 - 1.0
        line = torch.stack([size * t, 0.1 * size * t, torch.zeros_like(t)], 1)
        depths.append(float(field.double().density(line).sum() * (size / 10000)))
    assert depths[0] > 0.1 and abs(depths[0] / depths[1] - 1.0) < 1e-6


@pytest.mark.parametrize("activation", ["softplus", "exp"])
def test_the_gradient_points_where_that_of_the_summed_density_does(activation: str) -> None:
    field, x, h = composed(2, activation, 2.0), points(4000), 1e-6
    away = torch.stack([frame(place, x).norm(dim=1) for place in (NEAR, FAR)], 1)
    x = x[((away - 1.0).abs() > 0.01).all(1) & (away < 1.0).all(1)]  # in both, off their borders
    steps = h * torch.eye(3).double()
    numeric = [(field(x + e).density - field(x - e).density) / (2 * h) for e in steps]
    found = field(x, want_gradient=True)
    same = cosine_similarity(torch.stack(numeric, 1), found.gradient, dim=1)
    assert len(x) > 100
    # A step across the kink of a unit of the MLP is the one thing that can be in the way.
    assert float((same > 1 - 1e-6).double().mean()) > 0.9
    total = sum(
        part.density(frame(place, x)) / place.size
        for part, place in zip(field.fields, field.places, strict=True)
    )
    torch.testing.assert_close(found.density, total)


def test_points_that_are_counted_are_those_that_are_chosen() -> None:
    field, x = composed(2), points()
    free, counted = (field(x, want_gradient=True, count=n) for n in (None, torch.tensor([500])))
    weights = torch.linspace(-1.0, 1.0, 500).double()
    for a, b in zip(free, counted, strict=True):
        torch.testing.assert_close(a, b)
    grads = [
        torch.autograd.grad(
            (s.density * weights).sum() + s.albedo.square().sum() + s.gradient.square().sum(),
            list(field.parameters()),
        )
        for s in (free, counted)
    ]
    torch.testing.assert_close(*grads)


def test_nothing_waits_for_a_device() -> None:
    x = points(6).to("meta")  # which holds no numbers that could be read
    found = composed(2).to("meta")(x, want_gradient=True)
    assert [list(values.shape) for values in found] == [[6], [6, 3], [6, 3]]


def test_losses_on_normals_reach_the_parameters() -> None:
    field, x = composed(2), points(200)
    table = field.fields[1].table
    generator = torch.Generator().manual_seed(2)
    direction = torch.randn(table.shape, generator=generator, dtype=torch.float64)
    light = torch.tensor([0.3, -0.5, 0.8]).double()

    def loss() -> Tensor:
        g = field(x, want_gradient=True).gradient
        return (torch.nn.functional.normalize(g, dim=1, eps=1e-3) @ light).square().sum()

    (gradient,) = torch.autograd.grad(loss(), table)
    h, ends = 1e-6, []
    for sign in (1, -1):
        with torch.no_grad():
            table += sign * h * direction
        ends.append(loss().item())
        with torch.no_grad():
            table -= sign * h * direction
    numeric = (ends[0] - ends[1]) / (2 * h)
    assert abs(numeric) > 1e-3
    assert float((gradient * direction).sum()) == pytest.approx(numeric, rel=1e-4)


def test_shapes_and_names() -> None:
    field = composed(2)
    assert [list(v.shape) for v in field(points(6).view(2, 3, 3), want_gradient=True)] == [
        [2, 3], [2, 3, 3], [2, 3, 3],
    ]  # fmt: skip
    assert field(points(0)).gradient is None and len(field(points(0)).density) == 0
    assert {name for name, _ in field.named_parameters()} == {
        f"parts.{i}.{name}" for i in range(2) for name in ("table", "mlp")
    }
    assert set(field.half_copies()) == {"parts.0.table", "parts.1.table"}
    with pytest.raises(ValueError, match="places must be one for each of 2, got 1"):
        ComposedField(fields(2), [NEAR])
