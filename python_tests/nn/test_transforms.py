"""torch.func and forward mode through every op: as in plain torch, or refused in one clear line."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vjp, vmap

from dfast import ops, reference
from dfast.nn import Field
from dfast.ops.field import FieldSpec
from dfast.ops.hashgrid import GridSpec

pytestmark = pytest.mark.usefixtures("needs_native")

SPEC = GridSpec(levels=3, features=2, log2_entries=8, base_resolution=3, max_resolution=13)
SMOOTH = GridSpec(2, 2, 8, 3, 9, "smoothstep")
PLANAR = GridSpec(3, 2, 5, 3, 13, dimensions=2)
Case = tuple[Callable[..., Any], Callable[..., Any], tuple[Tensor, ...]]


def numbers(*shape: int, seed: int = 0, device: torch.device | str = "cpu") -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator).to(device)


def samples(device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
    """Return the samples of six rays, two of them empty, with slots of no ray behind them."""
    counts = torch.tensor([4, 0, 7, 1, 0, 6])
    offsets = torch.cat([torch.zeros(1), counts.cumsum(0)]).to(torch.int32).to(device)
    made = {
        "dt": numbers(18, seed=1, device=device).abs() * 0.3,
        "t": numbers(18, seed=2, device=device).abs(),
        "x": numbers(18, 3, seed=3, device=device),
    }
    return made, offsets


def hash_encode_case(device: torch.device, spec: GridSpec = SPEC) -> Case:
    x = numbers(7, spec.dimensions, seed=4, device=device).sigmoid()
    table = numbers(spec.entries, spec.features, seed=5, device=device)
    weights = numbers(spec.levels, seed=6, device=device).sigmoid()
    return (
        lambda x, table: ops.hash_encode(x, table, spec, weights),
        lambda x, table: reference.hash_encode(x, table, spec, weights),
        (x, table),
    )


def hash_encode_grad_case(device: torch.device) -> Case:
    x = numbers(5, 3, seed=4, device=device).sigmoid()
    table = numbers(SMOOTH.entries, 2, seed=5, device=device)
    a = numbers(5, SMOOTH.outputs, seed=7, device=device)

    def expected(x: Tensor, table: Tensor, a: Tensor) -> Tensor:
        return vjp(lambda v: reference.hash_encode(v, table, SMOOTH), x)[1](a)[0]

    return lambda x, table, a: ops.hash_encode_grad(x, table, a, SMOOTH), expected, (x, table, a)


def composite_case(device: torch.device, early_stop_eps: float = 0.0) -> Case:
    made, offsets = samples(device)
    density, rgb = numbers(18, seed=8, device=device).exp(), numbers(18, 3, device=device)
    rest = (made["t"], offsets)

    def run(composite: Callable[..., Any]) -> Callable[..., Any]:
        return lambda density, rgb: composite(density, made["dt"], rgb, *rest)

    return run(ops.composite), run(reference.composite), (density, rgb)


def lights(device: torch.device) -> tuple[Tensor, ...]:
    one = numbers(2, seed=11, device=device).sigmoid()
    return (numbers(2, 3, seed=10, device=device) * 3, one, 1 - one, one / 2)


def shade_case(device: torch.device) -> Case:
    made, _ = samples(device)
    light = lights(device)
    gradient, albedo = numbers(18, 3, seed=9, device=device), numbers(18, 3, device=device)
    ids = (torch.arange(18, device=device) % 2).to(torch.int32)

    def run(shade: Callable[..., Any]) -> Callable[..., Any]:
        return lambda g, albedo: shade(g, albedo, made["x"], *light, ids)

    return run(ops.shade), run(reference.shade), (gradient, albedo.sigmoid())


def shade_composite_case(device: torch.device) -> Case:
    made, offsets = samples(device)
    whole = torch.zeros(1, dtype=torch.int64, device=device)
    given = ops.Samples(
        made["t"], made["dt"], whole.int(), made["x"], offsets, whole, whole.bool(), whole
    )
    directions = torch.nn.functional.normalize(numbers(6, 3, seed=12, device=device), dim=-1)
    inputs = (
        numbers(18, seed=8, device=device).exp(),
        numbers(18, 3, device=device).sigmoid(),
        numbers(18, 3, seed=9, device=device),
    )
    behind, light = numbers(2, 3, seed=13, device=device), lights(device)

    def run(op: Callable[..., Any]) -> Callable[..., Any]:
        return lambda density, albedo, g: tuple(
            op(density, albedo, g, given, directions, None, *light, background=behind)
        )

    return run(ops.shade_composite), run(reference.shade_composite), inputs


def group_norm_case(device: torch.device, activation: str = "silu") -> Case:
    x, weight, bias = numbers(2, 6, 5, device=device), *numbers(2, 6, device=device)
    extra = {
        "add": numbers(2, 6, seed=14, device=device),
        "scale_shift": numbers(2, 12, device=device),
        "activation": activation,
    }

    def run(op: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x: op(x, 3, weight, bias, **extra)

    return run(ops.group_norm), run(reference.group_norm), (x,)


def merge_case(device: torch.device) -> Case:
    a, b, bias = numbers(2, 3, 4, device=device), numbers(2, 3, 4, seed=15), numbers(3)
    b, bias = b.to(device), bias.to(device)
    return (
        lambda a, b: ops.merge(a, b, bias, factor=0.7),
        lambda a, b: reference.merge(a, b, bias, factor=0.7),
        (a, b),
    )


CASES: dict[str, Callable[[torch.device], Case]] = {
    "hash_encode": hash_encode_case,
    "hash_encode_smooth": lambda device: hash_encode_case(device, SMOOTH),
    "hash_encode_2d": lambda device: hash_encode_case(device, PLANAR),
    "hash_encode_grad": hash_encode_grad_case,
    "composite": composite_case,
    "shade": shade_case,
    "shade_composite": shade_composite_case,
    "group_norm": group_norm_case,
    "group_norm_gelu": lambda device: group_norm_case(device, "gelu"),
    "group_norm_plain": lambda device: group_norm_case(device, "none"),
    "merge": merge_case,
}


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest, device: torch.device) -> Case:
    """Return an op, its twin in plain torch, and inputs that both differentiate."""
    return CASES[request.param](device)


def owned(results: Any) -> tuple[Tensor, ...]:
    """Return results as a tuple, without the slots of no ray, which hold anything."""
    results = results if isinstance(results, tuple) else (results,)
    return tuple(r[..., :18] if r.shape[-1:] == (18,) else r for r in results)


def close(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(owned(actual), owned(expected), rtol=1e-9, atol=1e-10)


def cotangents(results: Any) -> Any:
    if isinstance(results, tuple):
        return tuple(numbers(*r.shape, seed=20, device=r.device) for r in results)
    return numbers(*results.shape, seed=20, device=results.device)


def test_vjp(case: Case) -> None:
    op, twin, inputs = case
    found, pull = vjp(op, *inputs)
    expected, pull_twin = vjp(twin, *inputs)
    close(found, expected)
    close(pull(cotangents(expected)), pull_twin(cotangents(expected)))


def test_grad_is_that_of_plain_autograd(case: Case) -> None:
    op, _, inputs = case

    def loss(*given: Tensor) -> Tensor:
        return sum((r * r).sum() for r in owned(op(*given)))  # type: ignore[return-value]

    leaves = [i.clone().requires_grad_() for i in inputs]
    expected = torch.autograd.grad(loss(*leaves), leaves)
    close(grad(loss, argnums=tuple(range(len(inputs))))(*inputs), expected)


def test_jvp(case: Case) -> None:
    op, twin, inputs = case
    directions = tuple(numbers(*i.shape, seed=21, device=i.device) for i in inputs)
    close(jvp(op, inputs, directions)[1], jvp(twin, inputs, directions)[1])
    for i in range(len(inputs)):  # one input alone: the others have no tangent

        def along(f: Callable[..., Any], i: int = i) -> Any:
            def alone(one: Tensor) -> Any:
                return f(*inputs[:i], one, *inputs[i + 1 :])

            return jvp(alone, (inputs[i],), (directions[i],))[1]

        assert any(bool(r.abs().max() > 0) for r in owned(along(op)))
        close(along(op), along(twin))


def test_dual_numbers_of_plain_autograd(case: Case) -> None:
    op, twin, inputs = case
    directions = tuple(numbers(*i.shape, seed=21, device=i.device) for i in inputs)
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(i, d) for i, d in zip(inputs, directions, strict=True)]
        found = tuple(forward_ad.unpack_dual(r).tangent for r in owned(op(*duals)))
    close(found, jvp(twin, inputs, directions)[1])


def test_jacobians_agree(case: Case) -> None:
    op, _, inputs = case
    first = [lambda one, f=op: owned(f(one, *inputs[1:]))[0], inputs[0]]
    close(jacrev(first[0])(first[1]), jacfwd(first[0])(first[1]))


def test_vmap(case: Case) -> None:
    op, _, inputs = case
    stacked = tuple(torch.stack([i, i * 0.5, i * 0.9]) for i in inputs)
    found = vmap(op)(*stacked)
    for b in range(3):
        row = tuple(r[b] for r in found) if isinstance(found, tuple) else found[b]
        close(row, op(*[s[b] for s in stacked]))
    shared = vmap(op, in_dims=(0, *[None] * (len(inputs) - 1)))(stacked[0], *inputs[1:])
    row = tuple(r[1] for r in shared) if isinstance(shared, tuple) else shared[1]
    close(row, op(stacked[0][1], *inputs[1:]))


def test_gradients_of_each_element(case: Case) -> None:
    op, _, inputs = case
    stacked = torch.stack([inputs[0], inputs[0] * 0.5])

    def loss(one: Tensor) -> Tensor:
        return owned(op(one, *inputs[1:]))[0].square().sum()

    close(vmap(grad(loss))(stacked), torch.stack([grad(loss)(one) for one in stacked]))


def test_hessian_of_an_encoding(device: torch.device) -> None:
    op, twin, (x, table) = hash_encode_case(device, SMOOTH)
    loss = [lambda v, f=f: f(v, table).square().sum() for f in (op, twin)]
    found, expected = (jacfwd(grad(f))(x[:2]) for f in loss)
    close(found, expected)
    close(jacrev(grad(loss[0]))(x[:2]), expected)


def test_the_example_that_was_zero() -> None:
    x = numbers(1, 4, 3)
    weight, bias = torch.ones(4, dtype=x.dtype), torch.zeros(4, dtype=x.dtype)
    tangent = jvp(lambda v: ops.group_norm(v, 2, weight, bias), (x,), (x * x,))[1]
    expected = jvp(lambda v: torch.nn.functional.group_norm(v, 2), (x,), (x * x,))[1]
    assert bool(tangent.abs().max() > 0)
    close(tangent, expected)


FIELD = FieldSpec(SPEC, width=16, layers=2, blob="gaussian", blob_height=1.0, blob_width=0.5)


def field_inputs(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    x = numbers(6, 3, seed=30, device=device).tanh()
    table = numbers(SPEC.entries, SPEC.features, seed=31, device=device)
    return x, table, numbers(FIELD.parameters, seed=32, device=device) * 0.3


def test_reverse_mode_of_the_field() -> None:
    x, table, mlp = field_inputs(torch.device("cpu"))

    def results(field: Callable[..., Any]) -> Callable[..., Any]:
        return lambda table, mlp: tuple(field(x, table, mlp, FIELD, want_gradient=True))

    leaves = [table.clone().requires_grad_(), mlp.clone().requires_grad_()]
    expected = results(reference.field)(*leaves)
    given = cotangents(expected)
    found, pull = vjp(results(ops.field), table, mlp)
    close(found, tuple(e.detach() for e in expected))
    close(pull(given), torch.autograd.grad(expected, leaves, given))


def test_forward_mode_of_the_field() -> None:
    x, table, mlp = field_inputs(torch.device("cpu"))
    with pytest.raises(RuntimeError, match=r"ops\.field has no forward-mode derivative"):
        jvp(lambda table: ops.field(x, table, mlp, FIELD).albedo, (table,), (table,))
    module = Field(FIELD).double()
    parameters = {"table": table, "mlp": mlp}

    def results(table: Tensor, mlp: Tensor) -> tuple[Tensor, ...]:
        given = {"table": table, "mlp": mlp}
        return tuple(functional_call(module, given, (x,), {"want_gradient": True}))

    directions = tuple(numbers(*p.shape, seed=33) for p in parameters.values())
    found = jvp(results, (table, mlp), directions)[1]
    h = 1e-6
    ahead = results(table + h * directions[0], mlp + h * directions[1])
    behind = results(table - h * directions[0], mlp - h * directions[1])
    expected = tuple((a - b) / (2 * h) for a, b in zip(ahead, behind, strict=True))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_fields_of_stacked_parameters() -> None:
    x, table, mlp = field_inputs(torch.device("cpu"))
    tables, mlps = torch.stack([table, -table]), torch.stack([mlp, mlp * 0.5])
    found = vmap(lambda t, m: ops.field(x, t, m, FIELD).density, in_dims=(0, 0))(tables, mlps)
    close(found[1], ops.field(x, -table, mlp * 0.5, FIELD).density)


def refusals() -> dict[str, tuple[Callable[[Tensor], Any], Tensor, str]]:
    """Return functions of an input without derivative, a value for it, and what they say."""
    cpu = torch.device("cpu")
    made, offsets = samples(cpu)
    density, rgb = numbers(18).exp(), numbers(18, 3)
    x, table, mlp = field_inputs(cpu)
    rows, level_weights = numbers(7, 3).sigmoid(), numbers(3).sigmoid()
    weight = numbers(6)
    bits = torch.full((8,), 255, dtype=torch.uint8)
    rays = torch.nn.functional.normalize(numbers(4, 3), dim=-1)
    march = {"resolution": 4, "radius": 1.0}
    step = {"step_size": 0.1}
    eye = torch.eye(3, dtype=x.dtype)[None]
    ids = torch.zeros(18, dtype=torch.int32)
    return {
        "composite dt": (
            lambda v: ops.composite(density, v, rgb, made["t"], offsets)[0],
            made["dt"],
            "composite has no derivative in dt",
        ),
        "hash_encode level_weights": (
            lambda v: ops.hash_encode(rows, table, SPEC, v),
            level_weights,
            "hash_encode has no derivative in level_weights",
        ),
        "field x": (
            lambda v: ops.field(v, table, mlp, FIELD).albedo,
            x,
            "field has no derivative in x",
        ),
        "shade light": (
            lambda v: ops.shade(rgb, rgb, made["x"], v, *lights(cpu)[1:], ids)[0],
            lights(cpu)[0],
            "shade has no derivative in light_position",
        ),
        "group_norm weight": (
            lambda v: ops.group_norm(numbers(2, 6, 5), 3, v, weight),
            weight,
            "weight",
        ),
        "merge bias": (lambda v: ops.merge(numbers(2, 6), numbers(2, 6), v), weight, "bias"),
        "geglu": (ops.geglu, numbers(3, 4), "geglu|must not require"),
        "march": (
            lambda v: ops.march(v, rays, bits, **march, **step).t,
            -2 * rays,
            "march has no derivative in origins",
        ),
        "pixel_rays": (
            lambda v: ops.pixel_rays(v, eye, numbers(1).abs() * 40, resolution=2)[0],
            numbers(1, 3),
            "pixel_rays has no derivative in origin",
        ),
    }


@pytest.mark.parametrize("name", list(refusals()))
@pytest.mark.parametrize("mode", ["grad", "jvp", "dual"])
def test_derivatives_in_constants_are_refused(name: str, mode: str) -> None:
    f, value, message = refusals()[name]
    f(value)
    with pytest.raises((RuntimeError, ValueError), match=message):
        if mode == "grad":
            grad(lambda v: f(v).sum())(value)
        elif mode == "jvp":
            jvp(f, (value,), (value,))
        else:
            with forward_ad.dual_level():
                f(forward_ad.make_dual(value, value))


def test_march_is_not_vmapped() -> None:
    f, value, _ = refusals()["march"]
    with pytest.raises(RuntimeError, match="pass them flat"):
        vmap(f)(torch.stack([value, value]))


def test_second_order_is_refused_where_there_is_none() -> None:
    op, _, (density, rgb) = composite_case(torch.device("cpu"))
    first = grad(lambda d: op(d, rgb)[0].square().sum())
    with pytest.raises(RuntimeError, match="composite_backward cannot be differentiated"):
        jacrev(first)(density)
    with pytest.raises(RuntimeError, match="composite_backward has no forward-mode"):
        jacfwd(first)(density)


@pytest.mark.parametrize("name", ["hash_encode", "composite", "group_norm"])
def test_compile(name: str) -> None:
    op, _, inputs = CASES[name](torch.device("cpu"))
    compiled = torch.compile(lambda *given: owned(op(*given))[0] * 2, backend="aot_eager")
    leaves = [i.clone().requires_grad_() for i in inputs]
    close(compiled(*leaves), owned(op(*inputs))[0] * 2)
    compiled(*leaves).sum().backward()
    assert all(leaf.grad is not None for leaf in leaves)


@pytest.mark.filterwarnings("error:Dynamo")
@pytest.mark.parametrize("name", ["field", *CASES])
def test_compile_says_nothing_and_keeps_one_graph(name: str) -> None:
    if name == "field":
        op, inputs = (
            partial(ops.field, spec=FIELD, want_gradient=True),
            field_inputs(torch.device("cpu")),
        )
    else:
        op, _, inputs = CASES[name](torch.device("cpu"))
    expected = op(*inputs)  # the first call imports the extension, which cannot be traced
    close(torch.compile(op, backend="aot_eager", fullgraph=True)(*inputs), expected)


def test_composed_function_is_never_silently_zero_when_compiled() -> None:
    op, _, inputs = CASES["group_norm"](torch.device("cpu"))

    def derivative(x: Tensor) -> Tensor:
        return jvp(op, (x,), (torch.ones_like(x) * x,))[1]

    expected = derivative(inputs[0])
    try:
        found = torch.compile(derivative, backend="aot_eager")(inputs[0])
    except RuntimeError:
        return  # refused
    close(found, expected)
