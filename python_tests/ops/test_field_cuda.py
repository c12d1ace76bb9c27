"""The fused CUDA field: a half table, products of halves and float32 sums."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from field_cases import GRID, compare, draw, incoming, run, spec_of
from torch import Tensor

from dfast import reference
from dfast.ops.field import field
from dfast.ops.field_spec import FieldSample, FieldSpec

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("needs_cuda")]


def on_gpu(
    spec: FieldSpec, n: int, generator: torch.Generator, scale: float = 1.0, **options: Any
) -> tuple[list[Tensor], list[Tensor]]:
    """(the kernel's, the fp64 reference's) results with the same half table."""
    inputs, d = draw(spec, n, generator), [scale * g for g in incoming(n, generator)]
    half = inputs["table"].half()
    inputs["table"] = half.double()
    like = {"device": "cuda", "dtype": torch.float32}
    got = run(field, spec, inputs, d, like, table_half=half.cuda(), **options)
    return got, run(reference.field, spec, inputs, d, {"dtype": torch.float64}, **options)


@pytest.mark.parametrize("interpolation", ["linear", "smoothstep"])
@pytest.mark.parametrize("levels", [4, 8, 12, 16])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("width", [16, 32, 64, 128])
def test_cuda_matches_reference(
    width: int, layers: int, levels: int, interpolation: Any, generator: torch.Generator
) -> None:
    grid = replace(GRID, levels=levels, log2_entries=10, interpolation=interpolation)
    spec = replace(spec_of(levels // 4 + layers, width, layers), grid=grid)
    weights = torch.linspace(1.0, 0.0, levels, dtype=torch.float64)
    compare(*on_gpu(spec, 1037, generator), 1e-2)
    compare(*on_gpu(spec, 333, generator, want_gradient=False, level_weights=weights), 1e-2)


@pytest.mark.parametrize("width", [16, 32, 64, 128])
def test_cuda_gathers_again_what_it_did_not_keep(
    width: int, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, like = spec_of(3, width), {"device": "cuda", "dtype": torch.float32}
    inputs, d = draw(spec, 1037, generator), incoming(1037, generator)
    half = inputs["table"].half().cuda()
    kept = run(field, spec, inputs, d, like, table_half=half)
    monkeypatch.setattr(sys.modules["dfast.ops.field"], "KEPT", 0)
    compare(run(field, spec, inputs, d, like, table_half=half), kept, 3e-3)


def test_cuda_where_nothing_depends_on_the_gradient(generator: torch.Generator) -> None:
    """The backward pass of values alone, after a forward pass that made the gradient too."""
    spec, cuda = spec_of(0, 32), torch.device("cuda")
    inputs, d = draw(spec, 100, generator), torch.rand(100, generator=generator)
    x, mlp = inputs["x"].float().to(cuda), inputs["mlp"].float().to(cuda)
    table_half = inputs["table"].half().to(cuda)
    table = table_half.float().requires_grad_()
    results = []
    for want_gradient in (False, True):
        sample = field(x, table, mlp, spec, table_half=table_half, want_gradient=want_gradient)
        results += torch.autograd.grad(sample.density, table, d.to(cuda))
    assert float(results[0].norm()) > 0
    assert float((results[0] - results[1]).norm()) <= 1e-2 * float(results[0].norm())


@pytest.mark.parametrize("scale", [1e-9, 1e6])
def test_cuda_takes_gradients_of_any_size(scale: float, generator: torch.Generator) -> None:
    for width in (16, 64):
        compare(*on_gpu(spec_of(1, width), 1000, generator, scale), 1e-2)


def test_cuda_lets_nan_through(generator: torch.Generator) -> None:
    spec = spec_of(2, 64)
    inputs, d = draw(spec, 300, generator), incoming(300, generator)
    d[0][100] = torch.nan
    like = {"device": "cuda", "dtype": torch.float32}
    got = run(field, spec, inputs, d, like, table_half=inputs["table"].half().cuda())
    assert got[3].isnan().any() and got[4].isnan().any()


def test_cuda_says_what_it_cannot_take(generator: torch.Generator) -> None:
    spec = spec_of(0, 32)
    made = draw(spec, 4, generator)
    x, table, mlp = (made[k].to("cuda", torch.float32) for k in ("x", "table", "mlp"))
    assert isinstance(field(x, table, mlp, spec, table_half=table.half()), FieldSample)
    with pytest.raises(ValueError, match="half copy of the table"):
        field(x, table, mlp, spec)


def test_second_order_where_the_table_is_flat(generator: torch.Generator) -> None:
    """J u is zero there, but the gradient of the table is not."""
    spec, cuda = spec_of(0, 32), torch.device("cuda")
    inputs, d = draw(spec, 100, generator), torch.randn(100, 3, generator=generator)
    x, mlp = inputs["x"].float().to(cuda), inputs["mlp"].float().to(cuda)
    table = torch.zeros(spec.grid.entries, 2, device=cuda, requires_grad=True)
    sample = field(x, table, mlp, spec, table_half=table.detach().half(), want_gradient=True)
    (got,) = torch.autograd.grad(sample.gradient, table, d.to(cuda))
    exact = torch.zeros(spec.grid.entries, 2, dtype=torch.float64, requires_grad=True)
    sample = reference.field(inputs["x"], exact, inputs["mlp"], spec, want_gradient=True)
    (want,) = torch.autograd.grad(sample.gradient, exact, d.double())
    assert float(want.norm()) > 0
    assert float((got.double().cpu() - want).norm()) <= 1e-2 * float(want.norm())


def test_deterministic_algorithms_after_the_forward_pass(generator: torch.Generator) -> None:
    spec, cuda = spec_of(0, 32), torch.device("cuda")
    inputs = {k: v.float().to(cuda) for k, v in draw(spec, 20, generator).items()}
    table, half = inputs["table"].requires_grad_(), inputs["table"].detach().half()
    sample = field(inputs["x"], table, inputs["mlp"], spec, table_half=half)
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError, match="deterministic"):
            torch.autograd.grad(sample.density.sum(), table)
    finally:
        torch.use_deterministic_algorithms(False)
