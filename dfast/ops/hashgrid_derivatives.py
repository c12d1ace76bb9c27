"""Derivatives of the hash grid's operators, for autograd, torch.func and forward mode.

With e = encode, g = encode_grad = J^T a, and the gradient e' of e, u of g and V of scatter:
  e:            dx = J^T e', dT = scatter(d0 = e')
  g:            da = J u,    dT = scatter(u, a),  dx = H u
  scatter(d0):  d d0 = encode(x, V),  dx = encode_grad(x, V, d0)
In forward mode, with the tangents tx, tT, ta; all are linear in everything but x:
  e:            J tx + encode(tT)
  g:            H tx + encode_grad(tT, a) + encode_grad(T, ta)
  scatter(d0):  scatter(tx, d0) + scatter(td0)
Importing the package `dfast.ops` registers them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from dfast.ops import transforms
from dfast.ops.hashgrid import encode, encode_grad, hvp, jvp, scatter


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
