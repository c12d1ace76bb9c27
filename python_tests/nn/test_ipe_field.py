"""The field of DreamFusion: its encoding, its gradient to the second order, its blob."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import normalize
from torch.testing import assert_close

from dfast.nn import ipe_field
from dfast.nn.integrated_encoding import basis, damping, integrated_encoding
from dfast.nn.ipe_field import IPEField, IPESpec

SMALL: dict[str, Any] = {"frequencies": 3, "base_frequency": 1.4, "width": 6, "blocks": 2}
FREQUENCIES = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)


def _field(generator: torch.Generator, **spec: Any) -> IPEField:
    """Return a small float64 field of which no parameter is what it begins with."""
    field = IPEField(IPESpec(**{**SMALL, **spec}), generator=generator).double()
    with torch.no_grad():
        for part in field.spec.split(field.mlp):
            if part.dim() == 1:
                part.add_(0.3 * torch.randn(part.shape, generator=generator, dtype=part.dtype))
    return field


def _points(n: int, generator: torch.Generator) -> Tensor:
    return 1.2 * torch.rand(n, 3, generator=generator, dtype=torch.float64) - 0.6


def _encode(x: Tensor, directions: Tensor, weights: Tensor | None = None) -> Tensor:
    return integrated_encoding(x, directions, FREQUENCIES, weights).flatten(1)


@pytest.mark.parametrize("name", ["axes", "icosahedron"])
def test_encoding_is_the_mean_over_a_gaussian(name: Any, generator: torch.Generator) -> None:
    """Against two hundred thousand draws, within five standard errors of their mean."""
    x, variance, draws = _points(1, generator), 0.09, 200_000
    spread = math.sqrt(variance) * torch.randn(draws, 3, generator=generator, dtype=x.dtype)
    directions = basis(name)
    got = _encode(x, directions, damping(FREQUENCIES, variance))[0]
    sums = torch.zeros_like(got)
    for some in (x + spread).split(50_000):
        sums += _encode(some, directions).sum(0)
    assert (sums / draws - got).abs().max() < 5.0 / math.sqrt(2 * draws)


def test_encoding_without_variance_is_plain_positional_encoding(
    generator: torch.Generator,
) -> None:
    x, axes = _points(20, generator), basis("axes")
    got = _encode(x, axes, damping(FREQUENCIES, 0.0)).view(20, 2, 3, 3)
    for level, frequency in enumerate(FREQUENCIES):
        assert_close(got[:, 0, level], torch.sin(frequency * x))
        assert_close(got[:, 1, level], torch.cos(frequency * x))
    assert torch.equal(_encode(x, axes), got.flatten(1))


def test_directions_of_the_icosahedron() -> None:
    """21 unit vectors, none the opposite of another, that no axis is preferred by."""
    directions = basis("icosahedron")
    assert directions.shape == (21, 3)
    assert_close(directions.norm(dim=1), torch.ones(21, dtype=torch.float64))
    cosines = (directions @ directions.t() - torch.eye(21, dtype=torch.float64)).abs()
    assert cosines.max() < math.cos(math.radians(31))  # neighbours are 31.7 degrees apart or more
    assert_close(directions.t() @ directions, 7.0 * torch.eye(3, dtype=torch.float64))


HEADS: list[dict[str, Any]] = [
    {"activation": "exp", "density_bias": -0.5},
    {"activation": "softplus", "blob": "linear", "blob_height": 2.0, "blob_width": 0.5},
    {"blob": "gaussian", "blob_height": 3.0, "blob_width": 0.2},
    {"blob": "gaussian", "blob_height": 3.0, "blob_width": 0.2, "blob_on": "density"},
    {
        "activation": "softplus", "blob": "gaussian", "blob_height": 3.0, "blob_width": 0.3,
        "blob_on": "density",
    },
]  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
def test_gradient_is_that_of_the_density(head: dict[str, Any], generator: torch.Generator) -> None:
    """Of the logit, or of the logarithm of a density that the blob is added to."""
    field, x = _field(generator, **head), _points(30, generator)
    weights = torch.tensor([1.0, 0.7, 0.2], dtype=x.dtype)

    p = x.clone().requires_grad_()
    value = field._sample(
        p, weights, False, field.mlp
    ).density  # `forward` takes points for constants
    (slope,) = torch.autograd.grad(value.sum(), p)
    gradient = field(x, level_weights=weights, want_gradient=True).gradient
    if field.spec.blob_on == "density":
        assert_close(gradient, slope / value[:, None])
    else:
        assert_close(normalize(gradient, dim=-1), normalize(slope, dim=-1))


@pytest.mark.parametrize("head", HEADS)
def test_finite_differences_agree(head: dict[str, Any], generator: torch.Generator) -> None:
    field, x = _field(generator, **head), _points(20, generator)
    exact = field(x, want_gradient=True).gradient
    field.normals, field.finite_step = "finite", 1e-5
    assert_close(field(x, want_gradient=True).gradient, exact, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("head", HEADS)
def test_second_order_is_exact(head: dict[str, Any], generator: torch.Generator) -> None:
    field = _field(generator, width=4, blocks=1, frequencies=2, directions="axes", **head)
    x = _points(3, generator)

    def run(mlp: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
        options = {"level_weights": weights, "want_gradient": True}
        return tuple(functional_call(field, {"mlp": mlp}, (x,), options))

    weights = torch.tensor([0.9, 0.4], dtype=x.dtype, requires_grad=True)
    assert torch.autograd.gradcheck(run, (field.mlp.detach().clone().requires_grad_(), weights))


def test_points_past_the_count_do_not_matter(generator: torch.Generator) -> None:
    field, x = _field(generator), _points(10, generator)
    whole = field(x[:6], want_gradient=True)
    x[6:] = torch.nan
    counted = field(x, want_gradient=True, count=torch.tensor([6]))
    gradients = [torch.ones_like(value) for value in counted]
    for some, all_, gradient in zip(counted, whole, gradients, strict=True):
        assert_close(some[:6], all_)
        gradient[6:] = torch.nan  # kernels leave memory as it was there
    (found,) = torch.autograd.grad(counted, field.mlp, gradients)
    (expected,) = torch.autograd.grad(sum(value.sum() for value in whole), field.mlp)
    assert_close(found, expected)


@pytest.mark.parametrize("normals", ["analytic", "finite"])
def test_pieces_change_nothing(
    normals: Any, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    field, x = _field(generator), _points(23, generator)
    field.normals = normals
    other = torch.randn(field.mlp.shape, generator=generator, dtype=x.dtype, requires_grad=True)

    def results() -> list[Tensor]:
        """Return samples and gradients, also for parameters that are not the field's own."""
        found = []
        for mlp in (field.mlp, other):
            sample = functional_call(field, {"mlp": mlp}, (x,), {"want_gradient": True})
            loss = sum(value.square().sum() for value in sample)
            found += [*sample, *torch.autograd.grad(loss, mlp)]
        return [*found, field.density(x)]

    whole = results()
    monkeypatch.setattr(ipe_field, "PIECE", 5)
    monkeypatch.setattr(ipe_field, "CHUNK", 4)
    for piece, expected in zip(results(), whole, strict=True):
        assert_close(piece, expected)


def test_gradient_is_finite_where_the_density_vanishes(generator: torch.Generator) -> None:
    head = {"blob": "gaussian", "blob_height": 5.0, "blob_width": 0.02, "density_bias": -1e4}
    field = _field(generator, blob_on="density", **head).float()
    x = torch.tensor([[0.0, 0.0, 0.0], [0.9, 0.0, 0.0]])
    sample = field(x, want_gradient=True)
    assert sample.density[1] == 0 and torch.isfinite(sample.gradient).all()
    (gradient,) = torch.autograd.grad(sample.gradient.sum() + sample.density.sum(), field.mlp)
    assert torch.isfinite(gradient).all()


def test_density_shapes_and_seeds(generator: torch.Generator) -> None:
    field, x = _field(generator), _points(24, generator).view(2, 4, 3, 3)
    sample = field(x, want_gradient=True)
    assert sample.density.shape == (2, 4, 3) and sample.gradient.shape == (2, 4, 3, 3)
    assert_close(field.density(x), sample.density.detach())
    assert ((sample.albedo >= 0) & (sample.albedo <= 1)).all() and (sample.density >= 0).all()
    a, b = (IPEField(generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a.mlp, b.mlp) and a.mlp.numel() == a.spec.parameters
    gains = [p for i, p in enumerate(a.spec.split(a.mlp)) if p.dim() == 1 and a._is_gain(i)]
    assert len(gains) == a.spec.blocks + 1 and all((g == 1).all() for g in gains)


def test_autocast_changes_nothing(generator: torch.Generator) -> None:
    field, x = _field(generator).float(), _points(8, generator).float()
    plain = field(x, want_gradient=True)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = field(x, want_gradient=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, mixed, strict=True))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"frequencies": 0}, "frequencies"),
        ({"width": 1}, "width"),
        ({"base_frequency": 0.0}, "base_frequency must be positive and finite, got 0.0"),
        ({"directions": "cube"}, "directions must be 'axes' or 'icosahedron', got 'cube'"),
        ({"blob": "linear", "blob_on": "density"}, "blob must be 'gaussian' or 'none'"),
    ],
)
def test_bad_shapes_are_named(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IPESpec(**spec)
