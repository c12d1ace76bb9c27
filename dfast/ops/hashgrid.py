"""Multiresolution hash encoding (Instant-NGP, arXiv 2201.05989) with exact second order.

The encoding of level l is ``lw_l * sum_c w_c(x) T[c]`` over the 8 corners c of x's cell, where lw_l
is the level's weight, w_c a corner's interpolation weight and T the table. :func:`hash_encode`
returns it for all levels. :func:`hash_encode_grad` returns ``J(x)^T a`` with ``J = d hash_encode /
dx``, which a normal needs; a loss on that result differentiates to the table, to ``a`` and to x.

The functions without prefix (``encode``, ``encode_grad``, ``jvp``, ``hvp``, ``scatter``) are the
operators themselves. Their argument ``grid`` is :func:`dfast.ops.grid_spec.pack` of the spec; the
formulas of all derivatives are in csrc/ops/hashgrid.h and csrc/math/hashgrid.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import transforms
from dfast.ops.grid_spec import GridSpec, aligned, check_inputs, pack, unpack

__all__ = ["GridSpec", "hash_encode", "hash_encode_grad"]


def hash_encode(
    x: Tensor,
    table: Tensor,
    spec: GridSpec,
    level_weights: Tensor | None = None,
    *,
    table_half: Tensor | None = None,
) -> Tensor:
    """Encode points.

    Args:
        x: [N, spec.dimensions] in [0, 1], float32 or float64. Outside, the border cell is
            extrapolated; no row out of range is read.
        table: [spec.entries, spec.features], dtype of x.
        spec: the grid.
        level_weights: [levels] in [0, 1], dtype of x, or None for all ones. Not differentiable.
        table_half: float16 copy of ``table`` to read from; x must then be float32. The gradient
            goes to ``table``.

    Returns:
        [N, spec.outputs], levels outside, features inside. Differentiable twice in x and table.

    Raises:
        ValueError: on a wrong shape, dtype or device, naming the argument.
    """
    x, table = transforms.widen(x, table)
    level_weights = transforms.widen_optional(level_weights)
    check_inputs(x, table, spec, level_weights, table_half)
    out: Tensor = transforms.call(
        encode, _lifted(x, spec), table, pack(spec), level_weights, table_half
    )
    return out


def hash_encode_grad(
    x: Tensor,
    table: Tensor,
    a: Tensor,
    spec: GridSpec,
    level_weights: Tensor | None = None,
    *,
    table_half: Tensor | None = None,
) -> Tensor:
    """Return ``J(x)^T a`` with ``J = d hash_encode / dx``.

    Args:
        x: [N, spec.dimensions], as for :func:`hash_encode`.
        table: [spec.entries, spec.features], dtype of x.
        a: [N, spec.outputs], dtype of x.
        spec: the grid.
        level_weights: [levels], as for :func:`hash_encode`.
        table_half: as for :func:`hash_encode`.

    Returns:
        [N, spec.dimensions], per unit of x. Differentiable once in x, table and a; with linear
        interpolation the derivative in x is that of the interior of a cell.

    Raises:
        ValueError: on a wrong shape, dtype or device, naming the argument.
        RuntimeError: when differentiated a second time.
    """
    x, table, a = transforms.widen(x, table, a)
    level_weights = transforms.widen_optional(level_weights)
    check_inputs(x, table, spec, level_weights, table_half)
    _native.contiguous("a", a, (x.shape[0], spec.outputs), x)
    g: Tensor = transforms.call(
        encode_grad, _lifted(x, spec), table, a, pack(spec), level_weights, table_half
    )
    return g if spec.dimensions == 3 else g[:, :2]


def _lifted(x: Tensor, spec: GridSpec) -> Tensor:
    """Return points as the kernels take them: in two dimensions z is 0, which no row depends on."""
    return x if spec.dimensions == 3 else torch.nn.functional.pad(x, (0, 1))


# --------------------------------------------------------------------------------------------------
# Operators.

_COMMON = "int[] grid, Tensor? level_weights, Tensor? table_half"


def _run(
    op: str,
    x: Tensor,
    table: Tensor,
    grid: Sequence[int],
    level_weights: Tensor | None,
    table_half: Tensor | None,
    *,
    width: int,
    **vectors: Tensor,
) -> Tensor:
    """Call a launcher that reads the table and writes [N, width]."""
    out = x.new_empty(x.shape[0], width)
    _native.call(
        op,
        like=x,
        grid=unpack(tuple(grid))[1],
        n=x.shape[0],
        x=aligned(x),
        table=aligned(table) if table_half is None else None,
        table_half=aligned(table_half),
        level_weights=aligned(level_weights),
        out=out,
        **{name: aligned(vector) for name, vector in vectors.items()},
    )
    return out


@torch.library.custom_op(
    "dfast::hash_encode", mutates_args=(), schema=f"(Tensor x, Tensor table, {_COMMON}) -> Tensor"
)
def encode(x, table, grid, level_weights, table_half):  # type: ignore[no-untyped-def]
    width = grid[0] * grid[1]
    return _run("hash_encode", x, table, grid, level_weights, table_half, width=width)


@torch.library.custom_op(
    "dfast::hash_encode_grad",
    mutates_args=(),
    schema=f"(Tensor x, Tensor table, Tensor a, {_COMMON}) -> Tensor",
)
def encode_grad(x, table, a, grid, level_weights, table_half):  # type: ignore[no-untyped-def]
    return _run("hash_encode_grad", x, table, grid, level_weights, table_half, width=3, a=a)


@torch.library.custom_op(
    "dfast::hash_jvp",
    mutates_args=(),
    schema=f"(Tensor x, Tensor table, Tensor u, {_COMMON}) -> Tensor",
)
def jvp(x, table, u, grid, level_weights, table_half):  # type: ignore[no-untyped-def]
    width = grid[0] * grid[1]
    return _run("hash_jvp", x, table, grid, level_weights, table_half, width=width, u=u)


@torch.library.custom_op(
    "dfast::hash_hvp",
    mutates_args=(),
    schema=f"(Tensor x, Tensor table, Tensor a, Tensor u, {_COMMON}) -> Tensor",
)
def hvp(x, table, a, u, grid, level_weights, table_half):  # type: ignore[no-untyped-def]
    return _run("hash_hvp", x, table, grid, level_weights, table_half, width=3, a=a, u=u)


@torch.library.custom_op(
    "dfast::hash_scatter",
    mutates_args=(),
    schema="(Tensor x, Tensor? d0, Tensor? u, Tensor? a0, int[] grid, Tensor? level_weights)"
    " -> Tensor",
)
def scatter(x, d0, u, a0, grid, level_weights):  # type: ignore[no-untyped-def]
    """Return dT [entries, F], dT[c] += lw (w_c d0 + (u . grad w_c) a0) over samples and corners.

    On the CPU each row is summed in sample order. On CUDA the order is that of the atomics, unless
    torch.use_deterministic_algorithms is on. Sums are then kept in 64-bit fixed point, so that the
    order does not matter. The unit is 2^-61 of a bound on the largest possible sum. A non-finite
    term makes all sums NaN.
    """
    spec, native = unpack(tuple(grid))
    out = x.new_zeros(spec.entries, spec.features)
    fixed = unit = None
    if x.is_cuda and torch.are_deterministic_algorithms_enabled() and x.shape[0]:
        fixed = torch.zeros_like(out, dtype=torch.int64)
        unit = _fixed_unit(spec, x.shape[0], d0, u, a0, level_weights)
    _native.call(
        "hash_scatter",
        like=x,
        grid=native,
        n=x.shape[0],
        x=aligned(x),
        level_weights=aligned(level_weights),
        d0=aligned(d0),
        u=aligned(u),
        a0=aligned(a0),
        entries=spec.entries,
        out=out,
        fixed=fixed,
        fixed_unit=unit,
    )
    return out


def _fixed_unit(
    spec: GridSpec,
    samples: int,
    d0: Tensor | None,
    u: Tensor | None,
    a0: Tensor | None,
    level_weights: Tensor | None,
) -> Tensor:
    """Return the value of one count [1], float64, so that all terms sum to at most 2^61 counts."""
    bound: Any = 0.0
    if d0 is not None:
        bound = bound + d0.abs().amax().double()
    if u is not None and a0 is not None:
        # |u . grad w_c| summed over corners is at most 2 |w'| |u|_1 <= 6 |w'| |u|_max
        steepest = max(spec.scales) * (1.5 if spec.smooth else 1.0)
        bound = bound + 6.0 * steepest * u.abs().amax().double() * a0.abs().amax().double()
    if level_weights is not None:
        bound = bound * level_weights.abs().amax().double()
    return (bound * (samples * 2.0**-61)).clamp_min(2.0**-900).reshape(1)


@torch.library.register_fake("dfast::hash_encode")
def _(x, table, grid, level_weights, table_half):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], grid[0] * grid[1])


@torch.library.register_fake("dfast::hash_encode_grad")
def _(x, table, a, grid, level_weights, table_half):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], 3)


@torch.library.register_fake("dfast::hash_jvp")
def _(x, table, u, grid, level_weights, table_half):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], grid[0] * grid[1])


@torch.library.register_fake("dfast::hash_hvp")
def _(x, table, a, u, grid, level_weights, table_half):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], 3)


@torch.library.register_fake("dfast::hash_scatter")
def _(x, d0, u, a0, grid, level_weights):  # type: ignore[no-untyped-def]
    spec, _ = unpack(tuple(grid))
    return x.new_empty(spec.entries, spec.features)


# --------------------------------------------------------------------------------------------------
# Autograd. With e = encode, g = encode_grad = J^T a, the gradient e' of e, u of g and V of scatter:
#   e:            dx = J^T e', dT = scatter(d0 = e')
#   g:            da = J u,    dT = scatter(u, a),  dx = H u
#   scatter(d0):  d d0 = encode(x, V),  dx = encode_grad(x, V, d0)


def _encode_setup(ctx: Any, inputs: Any, output: Tensor) -> None:
    x, table, ctx.grid, level_weights, table_half = inputs
    ctx.save_for_backward(x, table, level_weights, table_half)


def _encode_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, table, level_weights, table_half = ctx.saved_tensors
    dx = dtable = None
    if ctx.needs_input_grad[0]:
        dx = transforms.call(encode_grad, x, table, grad, ctx.grid, level_weights, table_half)
    if ctx.needs_input_grad[1]:
        dtable = transforms.call(scatter, x, grad, None, None, ctx.grid, level_weights)
    return dx, dtable, None, None, None  # grid, level_weights, table_half


def _encode_grad_setup(ctx: Any, inputs: Any, output: Tensor) -> None:
    x, table, a, ctx.grid, level_weights, table_half = inputs
    ctx.save_for_backward(x, table, a, level_weights, table_half)


def _encode_grad_backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
    x, table, a, level_weights, table_half = ctx.saved_tensors
    dx = dtable = da = None
    if ctx.needs_input_grad[0]:
        dx = transforms.call(hvp, x, table, a, u, ctx.grid, level_weights, table_half)
    if ctx.needs_input_grad[1]:
        dtable = transforms.call(scatter, x, None, u, a, ctx.grid, level_weights)
    if ctx.needs_input_grad[2]:
        da = transforms.call(jvp, x, table, u, ctx.grid, level_weights, table_half)
    return dx, dtable, da, None, None, None  # grid, level_weights, table_half


def _scatter_setup(ctx: Any, inputs: Any, output: Tensor) -> None:
    x, d0, u, _, ctx.grid, level_weights = inputs
    ctx.second_order = u is not None
    ctx.save_for_backward(x, d0, level_weights)


def _scatter_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    if ctx.second_order:
        _no_third_order(ctx, grad)
    x, d0, level_weights = ctx.saved_tensors
    dx = dd0 = None
    if ctx.needs_input_grad[0]:
        dx = transforms.call(encode_grad, x, grad, d0, ctx.grid, level_weights, None)
    if ctx.needs_input_grad[1]:
        dd0 = transforms.call(encode, x, grad, ctx.grid, level_weights, None)
    return dx, dd0, None, None, None, None  # u, a0, grid, level_weights


def _no_third_order(ctx: Any, *grads: Tensor) -> None:
    raise RuntimeError("dfast.ops.hashgrid.hash_encode_grad is differentiable once, not twice")


# Forward mode, with t the tangents. Both orders are linear in everything but x:
#   e:   J tx + encode(tT)
#   g:   H tx + encode_grad(tT, a) + encode_grad(T, ta)
#   scatter(d0):  scatter(tx, d0) + scatter(td0)


def _sum(*terms: Tensor | None) -> Tensor | None:
    """Return the sum of those that are there."""
    total = None
    for term in terms:
        if term is not None:
            total = term if total is None else total + term
    return total


def _encode_jvp(inputs: Sequence[Any], outputs: Sequence[Any], tangents: Sequence[Any]) -> Any:
    x, table, grid, level_weights, table_half = inputs
    tx, ttable, *_ = tangents
    call, rest = transforms.call, (grid, level_weights)
    return _sum(
        None if tx is None else call(jvp, x, table, tx, *rest, table_half),
        None if ttable is None else call(encode, x, ttable, *rest, None),
    )


def _encode_grad_jvp(inputs: Sequence[Any], outputs: Sequence[Any], tangents: Sequence[Any]) -> Any:
    x, table, a, grid, level_weights, table_half = inputs
    tx, ttable, ta, *_ = tangents
    call, rest = transforms.call, (grid, level_weights)
    return _sum(
        None if tx is None else call(hvp, x, table, a, tx, *rest, table_half),
        None if ttable is None else call(encode_grad, x, ttable, a, *rest, None),
        None if ta is None else call(encode_grad, x, table, ta, *rest, table_half),
    )


def _scatter_jvp(inputs: Sequence[Any], outputs: Sequence[Any], tangents: Sequence[Any]) -> Any:
    x, d0, u, a0, *rest = inputs
    tx, td0, tu, ta0, *_ = tangents
    if u is not None and tx is not None:
        _no_third_order(None)
    call = transforms.call
    return _sum(
        None if tx is None else call(scatter, x, None, tx, d0, *rest),
        None if td0 is None else call(scatter, x, td0, None, None, *rest),
        None if tu is None else call(scatter, x, None, tu, a0, *rest),
        None if ta0 is None else call(scatter, x, None, u, ta0, *rest),
    )


def _fold(op: Any, points: Sequence[int]) -> transforms.VmapRule:
    """Return the rule that runs batches of points through one table as one list of points."""

    def rule(batch: int, in_dims: Sequence[Any], args: Sequence[Any]) -> Any:
        if any(isinstance(dim, int) for i, dim in enumerate(in_dims) if i not in points):
            return None
        flat = list(args)
        for i in points:
            dim, rows = in_dims[i], args[i]
            rows = rows.movedim(dim, 0) if isinstance(dim, int) else rows.expand(batch, -1, -1)
            flat[i] = rows.flatten(0, 1)
        return transforms.call(op, *flat).unflatten(0, (batch, -1)), 0

    return rule


transforms.register(
    encode,
    differentiable=("x", "table"),
    setup_context=_encode_setup,
    backward=_encode_backward,
    jvp=_encode_jvp,
    vmap=_fold(encode, (0,)),
)
transforms.register(
    encode_grad,
    differentiable=("x", "table", "a"),
    setup_context=_encode_grad_setup,
    backward=_encode_grad_backward,
    jvp=_encode_grad_jvp,
    vmap=_fold(encode_grad, (0, 2)),
)
transforms.register(
    scatter,
    differentiable=("x", "d0", "u", "a0"),
    setup_context=_scatter_setup,
    backward=_scatter_backward,
    jvp=_scatter_jvp,
)
transforms.register_backward(jvp, _no_third_order, vmap=_fold(jvp, (0, 2)))
transforms.register_backward(hvp, _no_third_order, vmap=_fold(hvp, (0, 2, 3)))
