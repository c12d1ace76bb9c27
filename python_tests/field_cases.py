"""Fields, inputs and comparisons that the tests of the fused field share."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dfast.ops.field_spec import FieldSpec
from dfast.ops.grid_spec import GridSpec

GRID = GridSpec(levels=4, features=2, log2_entries=8, base_resolution=3, max_resolution=20)
TINY = FieldSpec(
    GridSpec(levels=2, features=2, log2_entries=5, base_resolution=2, max_resolution=5),
    width=3, layers=2, density_scale=2.0, density_bias=-0.3,
    blob="gaussian", blob_height=2.0, blob_width=0.4,
)  # fmt: skip
CPU = torch.device("cpu")


def spec_of(number: int, width: int, layers: int = 2, features: int = 2) -> FieldSpec:
    """Interpolation, activation and blob vary with `number`."""
    return FieldSpec(
        replace(GRID, features=features, interpolation=("linear", "smoothstep")[number % 2]),
        width=width, layers=layers, activation=("softplus", "exp")[number // 2 % 2],
        density_scale=3.0, density_bias=-0.5,
        blob=("none", "linear", "gaussian")[number % 3], blob_height=2.0, blob_width=0.4,
    )  # fmt: skip


def draw(spec: FieldSpec, n: int, generator: torch.Generator) -> dict[str, Tensor]:
    """x, table and mlp in float64, with activations of order one and no point on a cell's face."""
    x = 1.9 * torch.rand(n, 3, generator=generator, dtype=torch.float64) - 0.95
    for scale in spec.grid.scales:
        f = ((x + 1) * 0.5 * scale + 0.5) % 1
        x = x + (((f < 0.02).double() - (f > 0.98).double()) * 0.06) / scale
    table = torch.randn(
        spec.grid.entries, spec.grid.features, generator=generator, dtype=torch.float64
    )
    mlp = torch.empty(spec.parameters, dtype=torch.float64)
    for weight, bias in spec.split(mlp):
        weight.normal_(0, math.sqrt(2.0 / weight.shape[1]), generator=generator)
        bias.normal_(0.1, 0.3, generator=generator)
    return {"x": x, "table": table, "mlp": mlp}


def incoming(n: int, generator: torch.Generator) -> list[Tensor]:
    """Gradients of density, albedo and gradient; a third of the samples receive none."""
    shapes = ((n,), (n, 3), (n, 3))
    made = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    for d in made:
        d[::3] = 0
    return made


def run(
    function: Any, spec: FieldSpec, inputs: dict[str, Tensor], d: list[Tensor], like: Any,
    want_gradient: bool = True, **options: Any,
) -> list[Tensor]:  # fmt: skip
    """The three results (or two), then the gradients of table and mlp."""
    x, table, mlp = (inputs[k].to(**like) for k in ("x", "table", "mlp"))
    table, mlp = table.detach().requires_grad_(), mlp.detach().requires_grad_()
    options = {
        k: v.to(**like)
        if isinstance(v, Tensor) and v.is_floating_point() and k != "table_half"
        else v
        for k, v in options.items()
    }
    sample = function(x, table, mlp, spec, want_gradient=want_gradient, **options)
    outs = [out for out in sample if out is not None]
    given = [g.to(**like) for g in d[: len(outs)]]
    return [o.detach() for o in outs] + list(torch.autograd.grad(outs, (table, mlp), given))


def error(got: Tensor, exact: Tensor) -> float:
    """Relative, of the whole tensor."""
    exact = exact.double().cpu()
    return float((got.double().cpu() - exact).norm() / exact.norm().clamp(min=1e-300))


NAMES = ("density", "albedo", "gradient", "d_table", "d_mlp")


def compare(got: list[Tensor], exact: list[Tensor], tolerance: float) -> None:
    """Assert that the relative error of every result is at most `tolerance`."""
    names = NAMES if len(got) == 5 else (*NAMES[:2], *NAMES[3:])
    for name, one, two in zip(names, got, exact, strict=True):
        assert error(one, two) <= tolerance, f"{name}: {error(one, two):.2e}"
