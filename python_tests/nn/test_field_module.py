"""The field: analytic gradients to the second order, blobs, activations (MATH.md, group 6)."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import normalize
from torch.testing import assert_close

from dfast import reference
from dfast.config import Config, FieldConfig, GridConfig
from dfast.errors import ConfigError
from dfast.nn import field as field_module
from dfast.nn.field import Field
from dfast.nn.general_field import blob as blob_of
from dfast.nn.general_field import blob_gradient
from dfast.nn.ipe_field import IPEField
from dfast.scene.scene import build_field

pytestmark = pytest.mark.usefixtures("needs_native")

SMALL = FieldConfig(
    grid=GridConfig(levels=2, log2_entries=6, base_resolution=3, max_resolution=7), hidden=5
)


def _field(
    config: FieldConfig, generator: torch.Generator, dtype: torch.dtype = torch.float64
) -> Field:
    field = build_field(config, generator).to(dtype)
    with torch.no_grad():  # large enough to matter
        field.table.copy_(torch.randn(field.table.shape, generator=generator))
        for bias in field.biases:
            bias.copy_(0.3 * torch.randn(bias.shape, generator=generator))
    return field


def _points(n: int, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
    return 1.2 * torch.rand(n, 3, generator=generator, dtype=dtype) - 0.6


@pytest.mark.parametrize("blob", ["linear", "gaussian", "none"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_gradient_is_that_of_the_logit(layers: int, blob: str, generator: torch.Generator) -> None:
    config = replace(SMALL, layers=layers, blob=blob)  # type: ignore[arg-type]
    field, x = _field(config, generator), _points(50, generator)
    weights = torch.tensor([1.0, 0.4], dtype=x.dtype)
    gradient = field(x, level_weights=weights, want_gradient=True).gradient
    field.normals, field.finite_step = "finite", 1e-6
    finite = field(x, level_weights=weights, want_gradient=True).gradient
    close = (gradient - finite).norm(dim=-1) < 1e-6 * gradient.norm(dim=-1).clamp(min=1.0)
    assert close.float().mean() >= 0.96  # a stencil may straddle a kink of a ReLU


@pytest.mark.parametrize("interpolation", ["smoothstep", "linear"])
@pytest.mark.parametrize("activation", ["softplus", "exp"])
def test_second_order_is_exact(
    activation: str, interpolation: str, generator: torch.Generator
) -> None:
    grid = replace(SMALL.grid, interpolation=interpolation)  # type: ignore[arg-type]
    config = replace(SMALL, grid=grid, density_activation=activation)  # type: ignore[arg-type]
    field, x = _field(config, generator), _points(4, generator)
    named = dict(field.named_parameters())

    def run(*values: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(named, values, strict=True))
        return tuple(functional_call(field, given, (x,), {"want_gradient": True}))

    values = tuple(p.detach().clone().requires_grad_() for p in named.values())
    assert torch.autograd.gradcheck(run, values)


def test_radial_density_has_radial_normals(generator: torch.Generator) -> None:
    """Group 6: a density that falls with the radius has n = x / |x|, whatever phi is."""
    x = _points(100, generator)
    for blob in ("linear", "gaussian"):
        field = _field(replace(SMALL, blob=blob), generator)  # type: ignore[arg-type]
        with torch.no_grad():
            field.weights[-1].zero_()
        gradient = field(x, want_gradient=True).gradient
        assert_close(-normalize(gradient, dim=-1), normalize(x, dim=-1))


def test_blob_gradient(generator: torch.Generator) -> None:
    for blob in ("linear", "gaussian", "none"):
        field = _field(replace(SMALL, blob=blob), generator)  # type: ignore[arg-type]
        x = _points(20, generator).requires_grad_()
        value = blob_of(field.spec, x)
        if blob != "none":
            (expected,) = torch.autograd.grad(value.sum(), x)
            assert_close(blob_gradient(field.spec, x), expected)
    assert torch.isfinite(blob_gradient(field.spec, torch.zeros(1, 3))).all()


def test_density_agrees_with_forward(generator: torch.Generator) -> None:
    field, x = _field(SMALL, generator, torch.float32), _points(30, generator, torch.float32)
    sample = field(x)
    assert (
        sample.gradient is None and sample.density.shape == (30,) and sample.albedo.shape == (30, 3)
    )
    assert_close(field.density(x), sample.density.detach(), rtol=1e-5, atol=1e-6)
    assert (sample.density >= 0).all() and (sample.albedo >= 0).all() and (sample.albedo <= 1).all()


def test_exp_does_not_overflow(generator: torch.Generator) -> None:
    field = _field(replace(SMALL, density_activation="exp", density_bias=1e4), generator)
    sample = field(_points(5, generator), want_gradient=True)
    assert torch.isfinite(sample.density).all() and torch.isfinite(sample.gradient).all()


@pytest.fixture
def no_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the fused kernel took nothing."""
    monkeypatch.setattr(field_module, "unsupported", lambda *_: "the test says so")


def _relative(got: Tensor, exact: Tensor) -> float:
    exact = exact.double().cpu()
    return float((got.double().cpu() - exact).norm() / exact.norm())


@pytest.mark.usefixtures("no_fused")
@pytest.mark.parametrize("interpolation", ["smoothstep", "linear"])
@pytest.mark.parametrize("activation", ["softplus", "exp"])
def test_general_path_second_order_is_exact(
    activation: str, interpolation: str, generator: torch.Generator
) -> None:
    test_second_order_is_exact(activation, interpolation, generator)


@pytest.mark.usefixtures("no_fused")
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("counted", [False, True])
def test_general_path_matches_the_reference(
    layers: int, counted: bool, device: torch.device, generator: torch.Generator
) -> None:
    """float32 within 1e-5 of float64; what lies past the count does not matter."""
    field = _field(replace(SMALL, layers=layers, blob="gaussian"), generator, torch.float32)
    x, n = _points(400, generator, torch.float32), 300 if counted else 400
    d = [torch.randn(s, generator=generator) for s in ((400,), (400, 3), (400, 3))]
    exact = reference.field(
        x[:n].double(), field.table.double(), field.mlp.double(), field.spec, want_gradient=True
    )
    wanted = torch.autograd.grad(exact, (field.table, field.mlp), [g[:n].double() for g in d])
    x[n:] = torch.nan
    for g in d:
        g[n:] = torch.nan
    field = field.to(device)
    assert not field.fused
    count = torch.tensor([n], device=device) if counted else None
    sample = field(x.to(device), want_gradient=True, count=count)
    grads = torch.autograd.grad(sample, (field.table, field.mlp), [g.to(device) for g in d])
    for got, want in zip([*(v[:n] for v in sample), *grads], [*exact, *wanted], strict=True):
        assert _relative(got.detach(), want.detach()) <= 1e-5


def test_finite_normals_take_the_general_path(generator: torch.Generator) -> None:
    field, x = _field(SMALL, generator), _points(20, generator)
    assert field.fused
    expected = field(x).density
    field.normals = "finite"
    assert not field.fused
    assert_close(field(x).density, expected)


def test_weights_and_biases_are_views_of_one_parameter(generator: torch.Generator) -> None:
    field, x = _field(SMALL, generator, torch.float32), _points(5, generator, torch.float32)
    assert [n for n, _ in field.named_parameters()] == ["table", "mlp"]
    assert sorted(field.state_dict()) == ["mlp", "table"]
    assert [tuple(w.shape) for w in field.weights] == [(5, 4), (4, 5)]
    assert [tuple(b.shape) for b in field.biases] == [(5,), (4,)]
    with torch.no_grad():
        field.weights[-1].zero_()
        field.biases[-1][1:] = 100.0
    assert_close(field(x).albedo, torch.ones(5, 3))
    field.biases[0].sum().backward()
    assert field.mlp.grad is not None and float(field.mlp.grad.sum()) == 5


def test_precision_on_the_cpu(generator: torch.Generator) -> None:
    assert build_field(SMALL).table_half is None and not build_field(SMALL).reads_half
    half = build_field(replace(SMALL, precision="half"))
    assert half.fused and half.table_half is not None and half.table_half.dtype == torch.float16
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        half(_points(3, generator, torch.float32))
    assert half.double()(_points(3, generator)).density.dtype == torch.float64  # read in float64
    with pytest.raises(ConfigError, match="half_table"):
        Config.from_dict({"field": {"half_table": True}})


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
def test_precision_on_cuda(generator: torch.Generator) -> None:
    x = _points(300, generator, torch.float32).cuda()
    fitting = replace(SMALL, hidden=16)
    fused = _field(fitting, generator, torch.float32).cuda()
    general = build_field(replace(fitting, precision="float")).cuda()
    general.load_state_dict(fused.state_dict())
    assert fused.fused and not general.fused and general.table_half is None
    for got, want in zip(fused(x, want_gradient=True), general(x, want_gradient=True), strict=True):
        assert _relative(got.detach(), want.detach()) <= 1e-2
    odd = build_field(SMALL).cuda()  # width 5: auto is float
    assert not odd.fused and not odd.reads_half
    wanted = build_field(replace(SMALL, precision="half")).cuda()
    with pytest.warns(UserWarning, match="width 16, 32, 64 or 128, not 5"):
        wanted(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wanted(x)  # said once
        odd(x)


def test_half_table_follows_its_master(generator: torch.Generator) -> None:
    full = _field(SMALL, generator, torch.float32)
    half = build_field(replace(SMALL, precision="half"))
    half.load_state_dict(full.state_dict())
    half.refresh_table_half()
    x = _points(40, generator, torch.float32)
    assert_close(half(x).density, full(x).density, rtol=2e-2, atol=2e-2)
    half(x, want_gradient=True).gradient.sum().backward()
    assert half.table.grad is not None and half.table.grad.dtype == torch.float32
    assert "table_half" not in half.state_dict()


def test_empty_input_and_seeded_start(generator: torch.Generator) -> None:
    field = build_field(SMALL, torch.Generator().manual_seed(3))
    assert field(torch.zeros(0, 3), want_gradient=True).gradient.shape == (0, 3)
    again = build_field(SMALL, torch.Generator().manual_seed(3))
    assert all(
        torch.equal(a, b) for a, b in zip(field.parameters(), again.parameters(), strict=True)
    )


@pytest.mark.parametrize("kind", [Field, IPEField])
def test_parameters_are_float32_and_the_same_whatever_the_default(kind: type[Any]) -> None:
    def made() -> tuple[Any, Tensor]:
        field = kind(generator=torch.Generator().manual_seed(0))
        return field, field(torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float32))[0]

    plain, density = made()
    torch.set_default_dtype(torch.float64)
    try:
        field, other = made()
    finally:
        torch.set_default_dtype(torch.float32)
    assert field.mlp.dtype == other.dtype == torch.float32
    assert torch.equal(field.mlp, plain.mlp) and torch.equal(other, density)
