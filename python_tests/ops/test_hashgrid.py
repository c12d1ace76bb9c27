"""The hash grid against its torch reference, by gradcheck, and at its edges."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dfast import reference
from dfast.ops import grid_spec, hashgrid
from dfast.ops.grid_spec import GridSpec
from dfast.ops.hashgrid import hash_encode, hash_encode_grad

pytestmark = pytest.mark.usefixtures("needs_native")

SMALL = {"levels": 3, "features": 2, "log2_entries": 6, "base_resolution": 3, "max_resolution": 9}
SPECS = [
    GridSpec(**SMALL, interpolation="linear"),
    GridSpec(**SMALL, interpolation="smoothstep"),
]
WIDE = [GridSpec(**{**SMALL, "features": f}, interpolation="smoothstep") for f in (1, 4, 8)]


def ids(spec: GridSpec) -> str:
    return f"{spec.interpolation}-{spec.features}"


def draw(
    spec: GridSpec, n: int, generator: torch.Generator, like: dict[str, Any]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x away from cell faces (where linear weights have no derivative), table, a, level weights."""
    x = torch.rand(n, 3, generator=generator, dtype=torch.float64)
    for scale in spec.scales:
        f = (x * scale + 0.5) % 1
        x = x + (((f < 0.02).double() - (f > 0.98).double()) * 0.03) / scale
    table = torch.randn(spec.entries, spec.features, generator=generator, dtype=torch.float64)
    a = torch.randn(n, spec.outputs, generator=generator, dtype=torch.float64)
    weights = torch.linspace(1.0, 0.3, spec.levels, dtype=torch.float64)
    return x.to(**like), table.to(**like), a.to(**like), weights.to(**like)


def close(got: Tensor, expected: Tensor, exact: Tensor, spec: GridSpec) -> None:
    """got is no further from the fp64 answer than twice the reference in the same precision.

    The floor is for fp64, where the reference's own error is unknown: x * scale + 0.5 is rounded
    by eps * resolution, and the weights' derivatives amplify that by at most 12.
    """
    exact = exact.to(expected.device)
    scale = exact.abs().max().item() + 1e-30
    allowed = 2 * (expected.double() - exact).abs().max().item()
    allowed += 12 * spec.max_resolution * torch.finfo(got.dtype).eps * scale
    assert (got.double() - exact).abs().max().item() <= allowed


def test_spec_layout() -> None:
    spec = GridSpec()
    assert spec.resolutions[0] == 9 and spec.resolutions[-1] == 129
    assert spec.offsets[1] == 9**3 + 7 and spec.entries == spec.offsets[-1]
    assert any(spec.dense) and not all(spec.dense)
    assert spec.outputs == 16
    assert GridSpec(levels=1).resolutions == (9,)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("levels", 0),
        ("features", 3),
        ("log2_entries", 40),
        ("base_resolution", 1),
        ("max_resolution", 4),
        ("interpolation", "cubic"),
    ],
)
def test_spec_rejects(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        GridSpec(**{field: value})  # type: ignore[arg-type]


def test_linear_reproduces_linear_functions(device: torch.device) -> None:
    """A dense level that stores its vertices' positions encodes x as the identity."""
    spec = GridSpec(levels=1, features=4, log2_entries=12, base_resolution=8, max_resolution=8)
    axis = (torch.arange(9, dtype=torch.float64, device=device) - 0.5) / spec.scales[0]
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    table = torch.stack([x, y, z, torch.ones_like(x)], -1).reshape(-1, 4)
    table = torch.cat([table, table.new_zeros(spec.entries - 9**3, 4)])
    points = torch.rand(50, 3, dtype=torch.float64, device=device)
    points[0], points[1] = 0.0, 1.0
    e = hash_encode(points, table, spec)
    torch.testing.assert_close(e[:, :3], points)
    torch.testing.assert_close(e[:, 3], torch.ones_like(e[:, 3]))
    a = torch.randn(50, 4, dtype=torch.float64, device=device)
    torch.testing.assert_close(hash_encode_grad(points, table, a, spec), a[:, :3])


@pytest.mark.parametrize("spec", SPECS + WIDE, ids=ids)
@pytest.mark.parametrize("n", [1, 63, 200])
def test_matches_reference(
    spec: GridSpec, n: int, device: torch.device, dtype: torch.dtype, generator: torch.Generator
) -> None:
    like = {"device": device, "dtype": dtype}
    inputs = draw(spec, n, generator, like)
    u = torch.randn(n, 3, generator=generator, dtype=torch.float64).to(**like)

    def run(op: Any, grad_op: Any, args: tuple[Tensor, ...]) -> list[Tensor]:
        x, table, a, weights = args
        x, table, a = (t.detach().clone().requires_grad_() for t in (x, table, a))
        e = op(x, table, spec, weights)
        first = torch.autograd.grad(e, (x, table), a.detach())
        g = grad_op(x, table, a, spec, weights)
        second = torch.autograd.grad(g, (x, table, a), u.to(x.dtype))
        return [e.detach(), *first, g.detach(), *second]

    got = run(hash_encode, hash_encode_grad, inputs)
    expected = run(reference.hash_encode, reference.hash_encode_grad, inputs)
    wide = tuple(t.double() for t in inputs)
    exact = run(reference.hash_encode, reference.hash_encode_grad, wide)
    for one, two, three in zip(got, expected, exact, strict=True):
        close(one, two, three, spec)


@pytest.mark.parametrize("spec", SPECS, ids=ids)
def test_gradcheck(spec: GridSpec, device: torch.device, generator: torch.Generator) -> None:
    x, table, a, weights = draw(spec, 5, generator, {"device": device, "dtype": torch.float64})
    table = table * 0.1
    for t in (x, table, a):
        t.requires_grad_()
    steps = {"eps": 1e-6, "atol": 1e-5, "nondet_tol": 0.0 if device.type == "cpu" else 1e-10}
    assert torch.autograd.gradcheck(
        lambda x, t: hash_encode(x, t, spec, weights), (x, table), **steps
    )
    assert torch.autograd.gradcheck(
        lambda x, t, a: hash_encode_grad(x, t, a, spec, weights), (x, table, a), **steps
    )
    assert torch.autograd.gradgradcheck(
        lambda x, t: hash_encode(x, t, spec, weights), (x, table), **steps
    )


def test_third_order_is_refused(generator: torch.Generator) -> None:
    spec = SPECS[1]
    x, table, a, _ = draw(spec, 4, generator, {"dtype": torch.float64})
    g = hash_encode_grad(x, table.requires_grad_(), a.requires_grad_(), spec)
    for input_ in (table, a):
        (second,) = torch.autograd.grad(g.square().sum(), input_, create_graph=True)
        with pytest.raises(RuntimeError, match="differentiable once"):
            torch.autograd.grad(second.sum(), a)


def test_opcheck(device: torch.device, generator: torch.Generator) -> None:
    spec = SPECS[0]
    x, table, a, weights = draw(spec, 4, generator, {"device": device, "dtype": torch.float32})
    u = torch.randn(4, 3).to(device)
    grid = grid_spec.pack(spec)
    x, table, a = (t.requires_grad_() for t in (x, table, a))
    with torch.no_grad():
        half = table.half()
    plain = [t.detach() for t in (x, table, a)]
    torch.library.opcheck(hashgrid.encode, (x, table, grid, weights, None))
    torch.library.opcheck(hashgrid.encode, (x, table, grid, None, half))
    torch.library.opcheck(hashgrid.encode_grad, (x, table, a, grid, weights, None))
    torch.library.opcheck(hashgrid.scatter, (x, a, None, None, grid, weights))
    torch.library.opcheck(hashgrid.jvp, (plain[0], plain[1], u, grid, weights, None))
    torch.library.opcheck(hashgrid.hvp, (plain[0], plain[1], plain[2], u, grid, weights, None))


@pytest.mark.parametrize("spec", [SPECS[0], *WIDE], ids=ids)
def test_half_storage(spec: GridSpec, device: torch.device, generator: torch.Generator) -> None:
    """Reading half equals reading its exact float values; the gradient reaches the master table."""
    x, table, a, weights = draw(spec, 70, generator, {"device": device, "dtype": torch.float32})
    half = (table * 10 ** torch.linspace(-9, 2, len(table), device=device)[:, None]).half()
    table.requires_grad_()
    e = hash_encode(x, table, spec, weights, table_half=half)
    torch.testing.assert_close(e, hash_encode(x, half.float(), spec, weights))
    torch.testing.assert_close(
        hash_encode_grad(x, table, a, spec, table_half=half),
        hash_encode_grad(x, half.float(), a, spec),
    )
    (got,) = torch.autograd.grad(e, table, a)
    (expected,) = torch.autograd.grad(hash_encode(x, table, spec, weights), table, a)
    torch.testing.assert_close(got, expected)


def test_masked_levels(device: torch.device, generator: torch.Generator) -> None:
    """A level of weight 0 is exactly zero, gradients included, whatever its rows hold."""
    spec = SPECS[0]
    x, table, a, _ = draw(spec, 9, generator, {"device": device, "dtype": torch.float64})
    weights = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64, device=device)
    table[spec.offsets[2] :] = float("nan")
    table.requires_grad_()
    e = hash_encode(x, table, spec, weights)
    assert (e[:, 4:] == 0).all() and e.isfinite().all()
    assert hash_encode_grad(x, table, a, spec, weights).isfinite().all()
    (grad,) = torch.autograd.grad(e, table, a)
    assert (grad[spec.offsets[2] :] == 0).all() and (grad[: spec.offsets[2]] != 0).any()


def test_empty_and_strided(device: torch.device, generator: torch.Generator) -> None:
    spec = SPECS[0]
    x, table, a, weights = draw(spec, 8, generator, {"device": device, "dtype": torch.float32})
    none = x[:0].requires_grad_()
    e = hash_encode(none, table.requires_grad_(), spec, weights)
    assert e.shape == (0, spec.outputs)
    e.sum().backward()
    assert table.grad is not None and (table.grad == 0).all()
    assert hash_encode_grad(none, table, a[:0], spec).shape == (0, 3)

    expected = hash_encode(x, table, spec)
    torch.testing.assert_close(hash_encode(x.t().contiguous().t(), table, spec), expected)
    offset = torch.zeros(table.numel() + 1, device=device)
    offset[1:] = table.detach().flatten()
    shifted = offset[1:].view_as(table)  # contiguous, yet not aligned to a row
    torch.testing.assert_close(hash_encode(x, shifted, spec), expected)
    torch.testing.assert_close(
        hash_encode_grad(x, table, a.t().contiguous().t(), spec),
        hash_encode_grad(x, table, a, spec),
    )
    e = hash_encode(x, table, spec)
    (grad,) = torch.autograd.grad(e.sum(), table)  # an expanded, stride-0 gradient
    torch.testing.assert_close(grad.sum(), torch.tensor(8.0 * spec.outputs, device=device))


def test_out_of_range_points_read_in_range(device: torch.device) -> None:
    spec = SPECS[0]
    table = torch.ones(spec.entries, spec.features, device=device)
    x = torch.tensor([[-3.0, 0.5, 9.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]], device=device)
    assert hash_encode(x, table, spec).isfinite().all()
    torch.testing.assert_close(hash_encode(x[1:], table, spec)[0, 0].item(), 1.0)
    bad = torch.full((1, 3), float("nan"), device=device)
    assert hash_encode(bad, table, spec).isnan().all()


def test_threads_do_not_change_bytes(generator: torch.Generator) -> None:
    spec = SPECS[1]
    x, table, a, weights = draw(spec, 5000, generator, {"dtype": torch.float32})
    a[::3] = 0
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 7):
            torch.set_num_threads(threads)
            t, b = table.clone().requires_grad_(), a.clone().requires_grad_()
            e = hash_encode(x, t, spec, weights)
            g = hash_encode_grad(x, t, b, spec, weights)
            (e.square().sum() + g.square().sum()).backward()
            results.append((e.detach(), g.detach(), t.grad, b.grad))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert torch.equal(one, two)  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_deterministic_cuda(dtype: torch.dtype, generator: torch.Generator) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    spec = SPECS[1]
    x, _, a, weights = draw(spec, 20000, generator, {"device": "cuda", "dtype": dtype})
    grid, u = grid_spec.pack(spec), torch.randn_like(x)
    expected = hashgrid.scatter(
        x.double(), a.double(), u.double(), a.double(), grid, weights.double()
    )
    order = torch.randperm(len(x), device="cuda")
    torch.use_deterministic_algorithms(True)
    try:
        one = hashgrid.scatter(x, a, u, a, grid, weights)
        two = hashgrid.scatter(x[order], a[order], u[order], a[order], grid, weights)
        a[7] = float("nan")
        assert hashgrid.scatter(x, a, u, a, grid, weights).isnan().all()
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(one, two)
    scale = expected.abs().max()
    assert ((one.double() - expected).abs() <= 1e-5 * scale).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(4, 2)}, r"x must have shape \[\*, 3\], got \[4, 2\]"),
        ({"x": torch.zeros(4, 3, dtype=torch.float16)}, "x must be float32 or float64"),
        ({"table": torch.zeros(5, 2)}, r"table must have shape \[\d+, 2\], got \[5, 2\]"),
        ({"table": torch.zeros(SPECS[0].entries, 2).double()}, "table must be torch.float32"),
        ({"level_weights": torch.ones(2)}, r"level_weights must have shape \[3\]"),
        ({"table_half": torch.zeros(SPECS[0].entries, 2)}, "table_half must be float16"),
    ],
)
def test_bad_input(change: dict[str, Tensor], message: str) -> None:
    arguments = {"x": torch.zeros(4, 3), "table": torch.zeros(SPECS[0].entries, 2), **change}
    with pytest.raises(ValueError, match=message):
        hash_encode(spec=SPECS[0], **arguments)  # type: ignore[arg-type]


def test_bad_a() -> None:
    spec = SPECS[0]
    with pytest.raises(ValueError, match=r"a must have shape \[4, 6\], got \[4, 5\]"):
        hash_encode_grad(torch.zeros(4, 3), torch.zeros(spec.entries, 2), torch.zeros(4, 5), spec)
