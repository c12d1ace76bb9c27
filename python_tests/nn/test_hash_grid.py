"""The hash encoding as a module: shapes, state, autocast, derivatives, two and three dimensions."""

from __future__ import annotations

import copy
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from dfast.nn import Adam, HashGrid

pytestmark = pytest.mark.usefixtures("needs_native")

SMALL: dict[str, Any] = {
    "levels": 3,
    "log2_entries": 8,
    "base_resolution": 4,
    "max_resolution": 16,
}


@pytest.fixture(params=[2, 3], ids=["2-D", "3-D"])
def dimensions(request: pytest.FixtureRequest) -> Literal[2, 3]:
    """Both numbers of dimensions."""
    return request.param


def test_five_lines_in_sequential(dimensions: Literal[2, 3], device: torch.device) -> None:
    torch.manual_seed(0)
    grid = HashGrid(dimensions=dimensions, **SMALL)
    model = nn.Sequential(grid, nn.Linear(grid.output_dim, 1)).to(device)
    optimizer = Adam(model.parameters(), lr=1e-2)
    x = torch.rand(64, dimensions).to(device)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (model(x)[:, 0] - x.prod(-1)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]


@pytest.mark.parametrize("lead", [(), (5,), (2, 3), (2, 0, 3)])
def test_leading_dimensions(
    lead: tuple[int, ...], dimensions: Literal[2, 3], device: torch.device
) -> None:
    grid = HashGrid(dimensions=dimensions, **SMALL).to(device)
    x = torch.rand(*lead, dimensions).to(device)
    out = grid(x)
    assert out.shape == (*lead, grid.output_dim) and grid.output_dim == 6
    if out.numel():
        row = grid(x.reshape(-1, dimensions)[:1])
        torch.testing.assert_close(out.reshape(-1, 6)[:1], row)


def test_state_dict_round_trip_and_deepcopy(dimensions: Literal[2, 3]) -> None:
    generator = torch.Generator().manual_seed(1)
    grid = HashGrid(dimensions=dimensions, generator=generator, **SMALL)
    assert set(grid.state_dict()) == {"table"}
    assert 0 < float(grid.table.detach().abs().max()) <= 1e-4
    again = HashGrid(dimensions=dimensions, generator=generator.manual_seed(1), **SMALL)
    assert torch.equal(grid.table, again.table)
    other = HashGrid(dimensions=dimensions, **SMALL)
    x = torch.rand(4, dimensions)
    assert not torch.equal(other(x), grid(x))
    other.load_state_dict(grid.state_dict())
    assert torch.equal(other(x), grid(x)) and torch.equal(copy.deepcopy(grid)(x), grid(x))
    assert f"dimensions={dimensions}" in repr(grid)


@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16])
def test_autocast(dimensions: Literal[2, 3], narrow: torch.dtype, device: torch.device) -> None:
    grid = HashGrid(dimensions=dimensions, **SMALL)
    model = nn.Sequential(grid, nn.Linear(grid.output_dim, 4)).to(device)
    x = torch.rand(7, dimensions).to(device).to(narrow)
    with torch.autocast(device.type, narrow):
        encoded, out = grid(x), model(x)
    assert encoded.dtype == torch.float32 and out.dtype == narrow
    torch.testing.assert_close(encoded, grid(x.float()))
    out.float().sum().backward()
    assert grid.table.grad is not None and grid.table.grad.dtype == torch.float32


@pytest.mark.parametrize("interpolation", ["linear", "smoothstep"])
def test_gradcheck(
    interpolation: Literal["linear", "smoothstep"], dimensions: Literal[2, 3], device: torch.device
) -> None:
    grid = HashGrid(
        1, dimensions=dimensions, log2_entries=4, base_resolution=3, max_resolution=3,
        interpolation=interpolation, dtype=torch.float64,
    ).to(device)  # fmt: skip
    x = torch.rand(4, dimensions, dtype=torch.float64).to(device).requires_grad_()
    table = torch.randn_like(grid.table).requires_grad_()

    def encode(x: Tensor, table: Tensor) -> Tensor:
        return functional_call(grid, {"table": table}, (x,))

    atomics = {"nondet_tol": 1e-10}  # on CUDA the order of sums is that of the atomics
    assert torch.autograd.gradcheck(encode, (x, table), check_forward_ad=True, **atomics)
    if interpolation == "smoothstep":
        assert torch.autograd.gradgradcheck(encode, (x, table), **atomics)


def test_torch_func(dimensions: Literal[2, 3]) -> None:
    grid = HashGrid(dimensions=dimensions, dtype=torch.float64, **SMALL)
    x = torch.rand(5, dimensions, dtype=torch.float64)
    tables = torch.randn(3, *grid.table.shape, dtype=torch.float64)

    def loss(table: Tensor) -> Tensor:
        return functional_call(grid, {"table": table}, (x,)).square().sum()

    each = vmap(grad(loss))(tables)
    for table, found in zip(tables, each, strict=True):
        leaf = table.clone().requires_grad_()
        (expected,) = torch.autograd.grad(loss(leaf), leaf)
        torch.testing.assert_close(found, expected)
    found = jvp(loss, (tables[0],), (tables[1],))[1]
    torch.testing.assert_close(found, (each[0] * tables[1]).sum())


def bilinear(grid: HashGrid, x: Tensor) -> Tensor:
    """Return the encoding of points [N, 2] in plain torch, level by level and corner by corner."""
    spec, levels = grid.spec, []
    for l in range(spec.levels):
        position = x * spec.scales[l] + 0.5
        low, top = position.floor(), spec.resolutions[l] - 1
        w, value = position - low, torch.zeros(len(x), spec.features, dtype=x.dtype)
        for cx, cy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            i, j = (low[:, 0].long() + cx).clamp(max=top), (low[:, 1].long() + cy).clamp(max=top)
            weight = (w[:, 0] if cx else 1 - w[:, 0]) * (w[:, 1] if cy else 1 - w[:, 1])
            if spec.dense[l]:
                row = i + spec.resolutions[l] * j
            else:
                row = (i ^ j * 2654435761) & (2**spec.log2_entries - 1)
            value = value + weight[:, None] * grid.table[spec.offsets[l] + row]
        levels.append(value)
    return torch.cat(levels, -1)


def test_two_dimensions_are_bilinear_and_waste_no_rows() -> None:
    grid = HashGrid(
        6, dimensions=2, log2_entries=10, base_resolution=4, max_resolution=100, dtype=torch.float64
    )
    sizes = [b - a for a, b in zip(grid.spec.offsets, grid.spec.offsets[1:], strict=False)]
    assert grid.spec.dense[0] and not grid.spec.dense[-1]
    for size, resolution, dense in zip(sizes, grid.spec.resolutions, grid.spec.dense, strict=True):
        assert size - resolution**2 in range(8) if dense else size == 2**10
    x = torch.rand(200, 2, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        grid.table.normal_()
    a = torch.randn(200, grid.output_dim, dtype=torch.float64)
    found, expected = grid(x), bilinear(grid, x)
    torch.testing.assert_close(found, expected)
    inputs = (x, grid.table)
    for got, want in zip(
        torch.autograd.grad(found, inputs, a), torch.autograd.grad(expected, inputs, a), strict=True
    ):
        torch.testing.assert_close(got, want)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="levels"):
        HashGrid(levels=40)
    with pytest.raises(ValueError, match="dimensions"):
        HashGrid(dimensions=4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"x must have shape \[\.\.\., 2\]"):
        HashGrid(dimensions=2, **SMALL)(torch.rand(3, 3))
