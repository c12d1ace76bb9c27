"""Time of each native op at the sizes of a default training step.

    pytest benchmarks/bench_ops.py --benchmark-json=benchmarks/results/ops.json

Points are uniform in the cube, which is harder on the caches than the neighbours along real rays.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dfast.cameras import orbit
from dfast.occupancy import OccupancyGrid
from dfast.ops import hashgrid
from dfast.ops.composite import composite
from dfast.ops.hashgrid import GridSpec
from dfast.ops.march import Samples, march
from dfast.ops.shade import shade

Measure = Callable[..., None]
SMALL = GridSpec()
LARGE = GridSpec(levels=16, log2_entries=19, base_resolution=16, max_resolution=2048)


def points(device: torch.device) -> int:
    """How many: a step's worth on each device."""
    return 1 << (20 if device.type == "cuda" else 16)


@pytest.fixture(params=[SMALL, LARGE], ids=["small", "large"])
def spec(request: pytest.FixtureRequest) -> GridSpec:
    """dfast's default grid, and DreamFusion-scale Instant-NGP."""
    return request.param


@pytest.fixture(params=["float", "half"])
def inputs(
    request: pytest.FixtureRequest, spec: GridSpec, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """x, table, a, and the table's half copy if that is what is read."""
    torch.manual_seed(0)
    n = points(device)
    x, a = torch.rand(n, 3, device=device), torch.randn(n, spec.outputs, device=device)
    table = torch.randn(spec.entries, spec.features, device=device)
    return x, table, a, table.half() if request.param == "half" else None


@torch.no_grad()
def test_hash_encode(measure: Measure, spec: GridSpec, inputs: tuple) -> None:
    x, table, _, half = inputs
    grid = hashgrid._pack(spec)
    measure(lambda: hashgrid._encode(x, table, grid, None, half), points=len(x))


@torch.no_grad()
def test_hash_encode_grad(measure: Measure, spec: GridSpec, inputs: tuple) -> None:
    x, table, a, half = inputs
    grid = hashgrid._pack(spec)
    measure(lambda: hashgrid._encode_grad(x, table, a, grid, None, half), points=len(x))


@torch.no_grad()
@pytest.mark.parametrize("second_order", [False, True], ids=["first", "both"])
@pytest.mark.parametrize("inputs", ["float"], indirect=True)
def test_hash_scatter(measure: Measure, spec: GridSpec, inputs: tuple, second_order: bool) -> None:
    x, _, a, _ = inputs
    grid, u = hashgrid._pack(spec), torch.randn_like(x) if second_order else None
    run = hashgrid._scatter
    measure(lambda: run(x, a, u, a if second_order else None, grid, None), points=len(x))


@pytest.fixture
def rays(device: torch.device) -> tuple[Tensor, Tensor, OccupancyGrid]:
    """Four orbiting views of a ball of half the scene's radius."""
    cameras = orbit(4, device=device)
    size = 256 if device.type == "cuda" else 64
    occupancy = OccupancyGrid(64, device=device)
    ball = lambda x: 10.0 * (x.norm(dim=-1) < 0.5)  # noqa: E731
    for _ in range(60):
        occupancy.update(ball, torch.Generator(device).manual_seed(0), warmup=True)
    return *cameras.rays(size), occupancy


def walk(rays: tuple[Tensor, Tensor, OccupancyGrid], capacity: int | None = None) -> Samples:
    origins, directions, occupancy = rays
    return march(
        origins, directions, occupancy.bits, resolution=64, radius=1.0, step=0.01,
        capacity=capacity,
    )  # fmt: skip


def test_march(measure: Measure, rays: tuple) -> None:
    total = len(walk(rays).t)
    measure(lambda: walk(rays, total), rays=len(rays[0]), samples=total)


def test_composite(measure: Measure, rays: tuple) -> None:
    """Forward and backward."""
    s = walk(rays)
    tau = (3.0 * torch.rand_like(s.t)).requires_grad_()
    rgb = torch.rand(len(s.t), 3, device=s.t.device).requires_grad_()

    def both() -> None:
        color, _, opacity, _ = composite(tau, s.dt, rgb, s.t, s.offsets, early_stop=1e-4)
        torch.autograd.grad(color.sum() + opacity.sum(), (tau, rgb))

    measure(both, samples=len(s.t))


def test_shade(measure: Measure, device: torch.device) -> None:
    """Forward and backward."""
    n = points(device)
    gradient = torch.randn(n, 3, device=device).requires_grad_()
    albedo = torch.rand(n, 3, device=device).requires_grad_()
    position, light = torch.rand(n, 3, device=device), torch.rand(4, 3, device=device)
    one, view = torch.full((4,), 0.5, device=device), torch.randint(4, (n,), device=device).int()

    def both() -> None:
        rgb, _ = shade(gradient, albedo, position, light, one, one, one, view)
        torch.autograd.grad(rgb.sum(), (gradient, albedo))

    measure(both, samples=n)
