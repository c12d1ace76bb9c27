"""The fused field op: against its torch reference, by gradcheck, and at its edges."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from field_cases import CPU, TINY, compare, draw, incoming, run, spec_of
from torch import Tensor

from dfast import reference
from dfast.ops.field import _field, _field_backward, field
from dfast.ops.field_spec import exp_limit, pack, unsupported

pytestmark = pytest.mark.usefixtures("needs_native")

CASES = [
    (i, width, layers, features)
    for i, (width, layers, features) in enumerate(
        [(w, 1 + i % 3, (2, 1, 4, 8)[i % 4]) for i, w in enumerate((1, 16, 17, 32, 64, 128))]
        + [(8, layers, features) for layers in (1, 2, 3) for features in (1, 2, 4, 8)]
    )
]


@pytest.mark.parametrize(("number", "width", "layers", "features"), CASES)
@pytest.mark.parametrize("want_gradient", [True, False], ids=["normals", "value"])
def test_matches_reference_on_the_cpu(
    number: int, width: int, layers: int, features: int, want_gradient: bool,
    generator: torch.Generator,
) -> None:  # fmt: skip
    """fp64 to rounding, fp32 to 1e-5 of fp64: values, gradients, and both orders of backward."""
    spec, n = spec_of(number, width, layers, features), 1100
    inputs, d = draw(spec, n, generator), incoming(n, generator)
    levels = torch.tensor([1.0, 0.5, 0.0, 0.25], dtype=torch.float64)
    options = {"want_gradient": want_gradient, "level_weights": levels}
    exact = run(reference.field, spec, inputs, d, {"dtype": torch.float64}, **options)
    compare(run(field, spec, inputs, d, {"dtype": torch.float64}, **options), exact, 1e-12)
    compare(run(field, spec, inputs, d, {"dtype": torch.float32}, **options), exact, 1e-5)


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_gradcheck(number: int, layers: int, generator: torch.Generator) -> None:
    made = spec_of(number, width=3, layers=layers)
    spec = replace(made, grid=replace(TINY.grid, interpolation=made.grid.interpolation))
    inputs = draw(spec, 4, generator)
    table, mlp = inputs["table"].requires_grad_(), inputs["mlp"].requires_grad_()

    def call(table: Tensor, mlp: Tensor) -> tuple[Tensor, ...]:
        return tuple(field(inputs["x"], table, mlp, spec, want_gradient=True))

    assert torch.autograd.gradcheck(call, (table, mlp))
    assert torch.autograd.gradcheck(lambda *t: field(inputs["x"], *t, spec)[:2], (table, mlp))


def test_each_gradient_alone(generator: torch.Generator) -> None:
    """Any of the three incoming gradients may be missing."""
    inputs = draw(TINY, 100, generator)
    d = incoming(100, generator)

    def grads(function: Any, which: int) -> tuple[Tensor, ...]:
        table, mlp = inputs["table"].requires_grad_(), inputs["mlp"].requires_grad_()
        out = function(inputs["x"], table, mlp, TINY, want_gradient=True)[which]
        return torch.autograd.grad(out, (table, mlp), d[which], allow_unused=True)

    for which in range(3):
        for got, exact in zip(grads(field, which), grads(reference.field, which), strict=True):
            torch.testing.assert_close(got, exact)


@pytest.mark.parametrize("pattern", ["mixed", "first order alone", "second order alone", "none"])
def test_points_whose_gradients_are_zero(pattern: str, generator: torch.Generator) -> None:
    """Points with a gradient of the normal are worked on apart from those without, or with none."""
    spec, n = spec_of(3, 16, layers=2), 3 * 1024 + 77
    inputs, d = draw(spec, n, generator), incoming(n, generator)
    kind = torch.arange(n) * 7 % 5 % 3
    for values in d:
        values[kind == 0] = 0.0
    d[2][kind == 1] = 0.0
    if pattern in ("first order alone", "none"):
        d[2].zero_()
    if pattern in ("second order alone", "none"):
        d[0].zero_(), d[1].zero_()
    exact = run(reference.field, spec, inputs, d, {"dtype": torch.float64})
    compare(run(field, spec, inputs, d, {"dtype": torch.float64}), exact, 1e-12)
    compare(run(field, spec, inputs, d, {"dtype": torch.float32}), exact, 1e-5)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_gradient_that_is_not_a_number_comes_through(
    which: int, generator: torch.Generator
) -> None:
    inputs, d = draw(TINY, 100, generator), incoming(100, generator)
    for values in d:
        values.zero_()
    d[which][3] = math.nan
    assert all(g.isnan().any() for g in run(field, TINY, inputs, d, {"dtype": torch.float64})[-2:])


def test_opcheck(device: torch.device, generator: torch.Generator) -> None:
    spec = replace(TINY, width=16)
    inputs = draw(spec, 5, generator)
    x, table, mlp = (inputs[k].to(device, torch.float32) for k in ("x", "table", "mlp"))
    half, count = table.half(), torch.tensor([5], device=device)
    levels = torch.tensor([1.0, 0.5], device=device)
    (packed, numbers), like = pack(spec), torch.randn(5, 3, device=device)
    assert numbers == [2.0, -0.3, 2.0, 0.4]
    for want in (True, False):
        trained = table.requires_grad_(), mlp.requires_grad_()
        rest = levels, half, count, packed, numbers, want, device.type == "cuda"
        torch.library.opcheck(_field, (x, *trained, *rest))
    plain = (x, table.detach(), mlp.detach(), None, half, None, packed, numbers)
    plain = (*plain, _field(*plain, True, device.type == "cuda")[3], True)
    torch.library.opcheck(_field_backward, (*plain, like[:, 0].clone(), None, like))
    torch.library.opcheck(_field_backward, (*plain, None, like, None))


def test_second_order_once_only(generator: torch.Generator) -> None:
    inputs = draw(TINY, 4, generator)
    mlp = inputs["mlp"].requires_grad_()
    sample = field(inputs["x"], inputs["table"], mlp, TINY, want_gradient=True)
    assert sample.gradient is not None
    (first,) = torch.autograd.grad(sample.gradient.square().sum(), mlp, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(first.sum(), mlp)


def test_half_storage_is_read(generator: torch.Generator) -> None:
    spec = spec_of(1, 16)
    inputs, d = draw(spec, 300, generator), incoming(300, generator)
    like = {"dtype": torch.float32}
    half = inputs["table"].half()
    rounded = {**inputs, "table": half.double()}
    wrong = {**inputs, "table": torch.full_like(inputs["table"], torch.nan)}
    got = run(field, spec, wrong, d, like, table_half=half)
    compare(got, run(reference.field, spec, rounded, d, {"dtype": torch.float64}), 1e-5)


def test_count_bounds_the_work(device: torch.device, generator: torch.Generator) -> None:
    """Points past the count, and gradients for them, are never looked at."""
    spec, n, real = spec_of(0, 16), 200, 130
    inputs, d = draw(spec, n, generator), incoming(n, generator)
    half = inputs["table"].half()
    inputs["table"] = half.double()
    first = {**inputs, "x": inputs["x"][:real]}
    exact = run(reference.field, spec, first, [g[:real] for g in d], {"dtype": torch.float64})
    inputs["x"][real:] = torch.nan
    for g in d:
        g[real:] = torch.nan
    like = {"device": device, "dtype": torch.float32}
    tolerance = 1e-5 if device.type == "cpu" else 1e-2
    for kept, wanted in ((real, exact), (n + 50, None), (0, [])):
        count = torch.tensor([kept], device=device)
        got = run(field, spec, inputs, d, like, count=count, table_half=half.to(device))
        if wanted is None:  # a count past the end is the end, and there the NaN are
            assert all(g.isnan().any() for g in got)
        elif wanted:
            compare([*(g[:real] for g in got[:3]), *got[3:]], wanted, tolerance)
        else:
            assert all((g == 0).all() for g in got[3:])


def test_empty_and_non_contiguous(device: torch.device, generator: torch.Generator) -> None:
    spec = spec_of(2, 16)
    inputs, d = draw(spec, 70, generator), incoming(70, generator)
    half = inputs["table"].half()
    like = {"device": device, "dtype": torch.float32}
    options = {"table_half": half.to(device)}
    none = run(field, spec, {**inputs, "x": inputs["x"][:0]}, [g[:0] for g in d], like, **options)
    assert none[0].shape == (0,) and none[2].shape == (0, 3)
    assert (none[3] == 0).all() and (none[4] == 0).all()

    expected = run(field, spec, inputs, d, like, **options)
    turned = {k: v.t().contiguous().t() if v.dim() == 2 else v for k, v in inputs.items()}
    wide = torch.zeros(inputs["mlp"].numel(), 2, dtype=torch.float64)
    wide[:, 0] = inputs["mlp"]
    turned["mlp"] = wide[:, 0]
    strided = [g.t().contiguous().t() if g.dim() == 2 else g for g in d]
    got = run(field, spec, turned, strided, like, **options)
    compare(got, expected, 1e-6 if device.type == "cpu" else 1e-5)


def test_threads_do_not_change_bytes(generator: torch.Generator) -> None:
    """More than one batch of backward, so that every way of cutting the work is met."""
    spec, n = spec_of(3, 8, layers=1), 70_000
    inputs, d = draw(spec, n, generator), incoming(n, generator)
    d[2][torch.arange(n) % 5 < 2] = 0.0
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 9):
            torch.set_num_threads(threads)
            results.append(run(field, spec, inputs, d, {"dtype": torch.float32}))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    exact = run(reference.field, spec, inputs, d, {"dtype": torch.float64})
    compare(results[0], exact, 1e-5)


def test_level_of_weight_zero_is_not_read(generator: torch.Generator) -> None:
    inputs = draw(TINY, 50, generator)
    inputs["table"][TINY.grid.offsets[1] :] = torch.nan
    levels = torch.tensor([1.0, 0.0], dtype=torch.float64)
    d = incoming(50, generator)
    got = run(field, TINY, inputs, d, {"dtype": torch.float64}, level_weights=levels)
    assert all(g.isfinite().all() for g in got)
    assert (got[3][TINY.grid.offsets[1] :] == 0).all()


def test_points_outside_and_at_the_origin(generator: torch.Generator) -> None:
    inputs = draw(TINY, 4, generator)
    inputs["x"] = torch.tensor([[-3.0, 0.5, 9.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]).double()
    d = incoming(3, generator)
    for blob in ("none", "linear", "gaussian"):
        spec = replace(TINY, blob=blob)  # type: ignore[arg-type]
        got = run(field, spec, inputs, d, {"dtype": torch.float64})
        compare(got, run(reference.field, spec, inputs, d, {"dtype": torch.float64}), 1e-12)


def test_exp_is_clamped_and_nan_comes_through(generator: torch.Generator) -> None:
    inputs = draw(TINY, 6, generator)
    like, d = {"dtype": torch.float32}, incoming(6, generator)
    spec = replace(TINY, activation="exp", density_bias=1e4)
    loud = run(field, spec, inputs, d, like)
    torch.testing.assert_close(loud[0], torch.full((6,), 2.0 * math.exp(exp_limit())))
    assert all(g.isfinite().all() for g in loud)
    poisoned = [d[0].clone(), d[1], d[2]]
    poisoned[0][3] = torch.nan  # sample 3 receives nothing else
    got = run(field, TINY, inputs, poisoned, like)
    assert got[3].isnan().any() and got[4].isnan().any()
    bad = {**inputs, "mlp": torch.full_like(inputs["mlp"], torch.nan)}
    assert all(g.isnan().all() for g in run(field, TINY, bad, d, like)[:2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(4, 2)}, r"x must have shape \[\*, 3\], got \[4, 2\]"),
        ({"x": torch.zeros(4, 3).half()}, "x must be float32 or float64"),
        ({"table": torch.zeros(5, 2)}, r"table must have shape \[\d+, 2\], got \[5, 2\]"),
        ({"mlp": torch.zeros(3)}, r"mlp must have shape \[43\], got \[3\]"),
        ({"mlp": torch.zeros(43).double()}, "mlp must be torch.float32"),
        ({"level_weights": torch.ones(3)}, r"level_weights must have shape \[2\]"),
        ({"table_half": torch.zeros(TINY.grid.entries, 2)}, "table_half must be float16"),
        ({"count": torch.tensor([4.0])}, r"count must be int64 \[1\] on cpu, got torch.float32"),
        ({"count": torch.tensor(4)}, r"count must be int64 \[1\]"),
    ],
)
def test_bad_input(change: dict[str, Tensor], message: str) -> None:
    assert TINY.parameters == 43 and TINY.inputs == 4
    arguments: dict[str, Any] = {
        "x": torch.zeros(4, 3), "table": torch.zeros(TINY.grid.entries, 2),
        "mlp": torch.zeros(43), **change,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        field(spec=TINY, **arguments)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", 0), ("width", 257), ("layers", 4), ("activation", "relu"), ("blob", "cube"),
        ("density_scale", 0.0), ("density_bias", math.nan), ("blob_width", -1.0),
        ("blob_height", math.inf),
    ],
)  # fmt: skip
def test_spec_rejects(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name} must be"):
        replace(TINY, **{name: value})  # type: ignore[arg-type]


def test_unsupported_says_why() -> None:
    spec, cuda = replace(TINY, width=32), torch.device("cuda")
    f32 = torch.float32
    assert unsupported(spec_of(0, 7, features=8), CPU, torch.float64, table_half=False) is None
    assert "float16" in str(unsupported(spec, CPU, torch.float16, table_half=False))
    assert "meta" in str(unsupported(spec, torch.device("meta"), f32, table_half=True))
    wide, deep = replace(spec.grid, features=4), replace(spec.grid, levels=17)
    for changed, dtype, table_half, word in (
        (replace(spec, grid=wide), f32, True, "features"),
        (replace(spec, grid=deep), f32, True, "levels"),
        (replace(spec, width=48), f32, True, "width"),
        (spec, torch.float64, True, "float32"),
        (spec, f32, False, "half copy"),
    ):
        assert word in str(unsupported(changed, cuda, dtype, table_half))
    torch.use_deterministic_algorithms(True)
    try:
        assert "deterministic" in str(unsupported(spec, cuda, f32, table_half=True))
    finally:
        torch.use_deterministic_algorithms(False)


def test_level_weights_do_not_learn(generator: torch.Generator) -> None:
    inputs = draw(TINY, 5, generator)
    levels = torch.ones(TINY.grid.levels, dtype=torch.float64, requires_grad=True)
    sample = field(inputs["x"], inputs["table"], inputs["mlp"], TINY, level_weights=levels)
    assert not sample.density.requires_grad
