"""The field: analytic gradients to the second order, blobs, activations (MATH.md, group 6)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import normalize
from torch.testing import assert_close

from dfast.config import FieldConfig, GridConfig
from dfast.field import Field

pytestmark = pytest.mark.usefixtures("needs_native")

SMALL = FieldConfig(
    grid=GridConfig(levels=2, log2_entries=6, base_resolution=3, max_resolution=7), hidden=5
)


def _field(
    config: FieldConfig, generator: torch.Generator, dtype: torch.dtype = torch.float64
) -> Field:
    field = Field(config, generator).to(dtype)
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
    field.config = replace(config, normals="finite", finite_step=1e-6)
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
        value = field.blob(x)
        if blob != "none":
            (expected,) = torch.autograd.grad(value.sum(), x)
            assert_close(field.blob_gradient(x), expected)
    assert torch.isfinite(field.blob_gradient(torch.zeros(1, 3))).all()


def test_density_agrees_with_forward(generator: torch.Generator) -> None:
    field, x = _field(SMALL, generator, torch.float32), _points(30, generator, torch.float32)
    sample = field(x)
    assert sample.gradient is None and sample.tau.shape == (30,) and sample.albedo.shape == (30, 3)
    assert_close(field.density(x), sample.tau.detach(), rtol=1e-5, atol=1e-6)
    assert (sample.tau >= 0).all() and (sample.albedo >= 0).all() and (sample.albedo <= 1).all()


def test_exp_does_not_overflow(generator: torch.Generator) -> None:
    field = _field(replace(SMALL, density_activation="exp", density_bias=1e4), generator)
    sample = field(_points(5, generator), want_gradient=True)
    assert torch.isfinite(sample.tau).all() and torch.isfinite(sample.gradient).all()


def test_half_table_follows_its_master(generator: torch.Generator) -> None:
    full = _field(SMALL, generator, torch.float32)
    half = Field(replace(SMALL, precision="half"))
    half.load_state_dict(full.state_dict())
    half.refresh_storage()
    x = _points(40, generator, torch.float32)
    assert_close(half(x).tau, full(x).tau, rtol=2e-2, atol=2e-2)
    half(x, want_gradient=True).gradient.sum().backward()
    assert half.table.grad is not None and half.table.grad.dtype == torch.float32
    assert "storage" not in half.state_dict()


def test_empty_input_and_seeded_start(generator: torch.Generator) -> None:
    field = Field(SMALL, torch.Generator().manual_seed(3))
    assert field(torch.zeros(0, 3), want_gradient=True).gradient.shape == (0, 3)
    again = Field(SMALL, torch.Generator().manual_seed(3))
    assert all(
        torch.equal(a, b) for a, b in zip(field.parameters(), again.parameters(), strict=True)
    )
