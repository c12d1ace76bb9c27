"""Multiresolution hash encoding (Instant-NGP, arXiv 2201.05989) with exact second order.

The encoding of level l is ``lw_l * sum_c w_c(x) T[c]`` over the 8 corners c of x's cell (4 in two
dimensions), where lw_l is the level's weight, w_c a corner's interpolation weight and T the table.
:func:`hash_encode` returns it for all levels. :func:`hash_encode_grad` returns ``J(x)^T a`` with
``J = d hash_encode / dx``, which a normal needs; a loss on that result differentiates to the table,
to ``a`` and to x.

The functions without prefix (``encode``, ``encode_grad``, ``jvp``, ``hvp``, ``scatter``) are the
operators themselves. Their argument ``grid`` is :func:`dfast.ops.grid_spec.pack` of the spec; the
formulas of all derivatives are in csrc/ops/hashgrid.h and csrc/math/hashgrid.h, and
:mod:`dfast.ops.hashgrid_derivatives` puts them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import transforms
from dfast.ops.custom_op import custom_op
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


@custom_op("hash_encode", f"(Tensor x, Tensor table, {_COMMON}) -> Tensor")
def encode(x, table, grid, level_weights, table_half):  # type: ignore[no-untyped-def]
    width = grid[0] * grid[1]
    return _run("hash_encode", x, table, grid, level_weights, table_half, width=width)


@custom_op(
    "hash_encode_grad",
    f"(Tensor x, Tensor table, Tensor a, {_COMMON}) -> Tensor",
)
def encode_grad(x, table, a, grid, level_weights, table_half):  # type: ignore[no-untyped-def]
    return _run("hash_encode_grad", x, table, grid, level_weights, table_half, width=3, a=a)


@custom_op(
    "hash_jvp",
    f"(Tensor x, Tensor table, Tensor u, {_COMMON}) -> Tensor",
)
def jvp(x, table, u, grid, level_weights, table_half):  # type: ignore[no-untyped-def]
    width = grid[0] * grid[1]
    return _run("hash_jvp", x, table, grid, level_weights, table_half, width=width, u=u)


@custom_op(
    "hash_hvp",
    f"(Tensor x, Tensor table, Tensor a, Tensor u, {_COMMON}) -> Tensor",
)
def hvp(x, table, a, u, grid, level_weights, table_half):  # type: ignore[no-untyped-def]
    return _run("hash_hvp", x, table, grid, level_weights, table_half, width=3, a=a, u=u)


@custom_op(
    "hash_scatter",
    "(Tensor x, Tensor? d0, Tensor? u, Tensor? a0, int[] grid, Tensor? level_weights) -> Tensor",
)
def scatter(x, d0, u, a0, grid, level_weights):  # type: ignore[no-untyped-def]
    """Return dT [entries, F], dT[c] += lw (w_c d0 + (u . grad w_c) a0) over samples and corners.

    On the CPU each row is summed in sample order. On CUDA the order is that of the atomics, unless
    torch.use_deterministic_algorithms is on. Sums are then kept in 64-bit fixed point, so that the
    order does not matter. The unit is 2^-61 of a bound on the largest possible sum. A non-finite
    term makes all sums NaN.
    """
    spec, native = unpack(tuple(grid))
    out = _native.zeros((spec.entries, spec.features), x)
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
