"""The whole field in one operator: hash grid, MLP, density, albedo and the density's gradient.

``density = density_scale * phi(o_0 + density_bias + blob(x))`` and ``albedo = sigmoid(o_1..3)``,
where o are the MLP's four outputs on the encoded point and phi is softplus or exp. The gradient is
that of the logit, ``g = grad_x (o_0 + blob)``: because phi' > 0 cancels in the normal ``-g / |g|``,
nothing overflows. The derivation of both orders is in csrc/ops/field.h and docs/math.md ("Field").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import transforms
from dfast.ops.custom_op import custom_op
from dfast.ops.field_spec import (
    Activation,
    Blob,
    FieldSample,
    FieldSpec,
    exp_limit,
    pack,
    unpack,
    unsupported,
)
from dfast.ops.grid_spec import GridSpec, aligned, check_inputs

__all__ = [
    "Activation",
    "Blob",
    "FieldSample",
    "FieldSpec",
    "GridSpec",
    "exp_limit",
    "field",
    "unsupported",
]

CHUNK = 1 << 22
"""Points that CUDA's backward pass takes at a time. Each needs 132 bytes with 16 levels, 68 without
normals."""

KEPT = 1 << 22
"""Largest number of points whose Jacobians CUDA's forward pass keeps for the backward pass, with
256 bytes each for 16 levels. Beyond it, the backward pass reads the table again."""


def field(
    x: Tensor,
    table: Tensor,
    mlp: Tensor,
    spec: FieldSpec,
    *,
    level_weights: Tensor | None = None,
    table_half: Tensor | None = None,
    count: Tensor | None = None,
    want_gradient: bool = False,
) -> FieldSample:
    """Evaluate density, albedo and gradient at points.

    Differentiable once in ``table`` and ``mlp`` through all three results, which through the
    gradient is the exact second order. ``x`` is a constant. Reverse torch.func transforms and vmap
    work, forward mode is refused. Under autocast 16-bit inputs are cast to float32.

    Args:
        x: [N, 3] world points in the cube [-1, 1]^3, float32 or float64 (CUDA: float32). Outside,
            the CPU extrapolates the table's border, and CUDA takes the values at the border.
        table: [spec.grid.entries, spec.grid.features], dtype of x.
        mlp: [spec.parameters], dtype of x, as described in :class:`FieldSpec`.
        spec: the field's shape; :func:`dfast.ops.field_spec.unsupported` says what CUDA takes.
        level_weights: [levels] in [0, 1], dtype of x, or None for all ones. Not differentiable. A
            level of weight 0 is not read.
        table_half: float16 copy of ``table`` to read from; the gradient goes to ``table``. CUDA
            needs it, and computes the MLP in half precision with float32 sums.
        count: int64 [1] on the device of x: only the first ``count`` points are evaluated. The
            rows of the results past it are UNINITIALISED, and gradients given for them are not
            read.
        want_gradient: whether to compute the gradient.

    Returns:
        density [N], albedo [N, 3], and the gradient [N, 3] or None. On the CPU the same input
        gives the same bytes, forward and backward, with any number of threads.

    Raises:
        ValueError: on a wrong shape, dtype or device, naming the argument, or if unsupported.
        RuntimeError: when differentiated a second time.
    """
    x, table, mlp = transforms.widen(x, table, mlp)
    level_weights = transforms.widen_optional(level_weights)
    check_inputs(x, table, spec.grid, level_weights, table_half)
    _native.contiguous("mlp", mlp.detach(), (spec.parameters,), x)
    if count is not None and (
        count.dtype != torch.int64 or count.shape != (1,) or count.device != x.device
    ):
        raise ValueError(
            f"count must be int64 [1] on {x.device}, got {count.dtype} {list(count.shape)} "
            f"on {count.device}"
        )
    if reason := unsupported(spec, x.device, x.dtype, table_half is not None):
        raise ValueError(f"dfast.ops.field cannot take this: {reason}")
    net, numbers = pack(spec)
    learns = torch.is_grad_enabled() and (table.requires_grad or mlp.requires_grad)
    learns = learns or transforms.active()
    density, albedo, gradient, _ = transforms.call(
        _field,
        transforms.constant(x),
        table,
        mlp,
        None if level_weights is None else transforms.constant(level_weights),
        table_half,
        count,
        net,
        numbers,
        want_gradient,
        learns and x.device.type == "cuda",
    )
    return FieldSample(density, albedo, gradient if want_gradient else None)


# --------------------------------------------------------------------------------------------------
# Operators. `net` and `numbers` are the packed spec.

_COMMON = (
    "Tensor x, Tensor table, Tensor mlp, Tensor? level_weights, Tensor? table_half, Tensor? count,"
    " int[] net, float[] numbers"
)


def _arguments(
    x: Tensor,
    table: Tensor,
    mlp: Tensor,
    level_weights: Tensor | None,
    table_half: Tensor | None,
    count: Tensor | None,
    net: Sequence[int],
    numbers: Sequence[float],
) -> dict[str, Any]:
    """Return the fields that both launchers share."""
    return {
        "net": unpack(tuple(net), tuple(numbers)),
        "n": x.shape[0],
        "count": count,
        "x": aligned(x),
        "table": aligned(table) if table_half is None else None,
        "table_half": aligned(table_half),
        "level_weights": aligned(level_weights),
        "mlp": aligned(mlp),
    }


@custom_op(
    "field",
    f"({_COMMON}, bool want_gradient, bool learns) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _field(  # type: ignore[no-untyped-def]
    x, table, mlp, level_weights, table_half, count, net, numbers, want_gradient, learns
):
    """Return density [N], albedo [N, 3], gradient [N, 3] or [0, 3], and what CUDA's backward reads.

    The last result holds which units were active, one bit each, the encoded points in half
    precision, and the Jacobians of at most KEPT points.
    """
    results = _empty_results(x, net, want_gradient, learns)
    density, albedo, gradient, saved = results
    _native.call(
        "field_forward",
        like=x,
        **_arguments(x, table, mlp, level_weights, table_half, count, net, numbers),
        density=density,
        albedo=albedo,
        gradient=gradient if want_gradient else None,
        saved=saved if learns else None,
        keeps_jacobian=x.shape[0] <= KEPT,
    )
    return results


def _empty_results(
    x: Tensor, net: Sequence[int], want_gradient: bool, learns: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Allocate the results of the forward pass."""
    n, levels, (width, layers) = x.shape[0], net[0], net[7:9]
    kept = bool(n <= KEPT)  # bool: n may be symbolic
    words = _native.library().field_saved_words(
        levels=levels, width=width, layers=layers, gradient=want_gradient, keeps_jacobian=kept
    )
    return (
        x.new_empty(n),
        x.new_empty(n, 3),
        x.new_empty(n if want_gradient else 0, 3),
        x.new_empty((n + 15) // 16 if learns else 0, words, 32, dtype=torch.int32),
    )


@custom_op(
    "field_backward",
    f"({_COMMON}, Tensor saved, bool want_gradient, Tensor? d_density,"
    " Tensor? d_albedo, Tensor? d_gradient)"
    " -> (Tensor, Tensor)",
)
def _field_backward(  # type: ignore[no-untyped-def]
    x, table, mlp, level_weights, table_half, count, net, numbers, saved, want_gradient, *given
):
    """Return d_table and d_mlp for d_density, d_albedo and d_gradient, of which None is zero."""
    if x.device.type == "cuda" and torch.are_deterministic_algorithms_enabled():
        raise RuntimeError(
            "dfast.ops.field: deterministic algorithms were turned on after the forward pass; the "
            "backward pass on CUDA has none"
        )
    d_density, d_albedo, d_gradient = (None if d is None else d.contiguous() for d in given)
    if want_gradient and d_gradient is None and x.device.type == "cuda":
        d_gradient = x.new_zeros(x.shape)
    points, parameters = x.shape[0], mlp.shape[0]
    chunk = parts = words = 0
    if x.device.type == "cuda":
        multiple = _native.constant("field_chunk_multiple")
        chunk = min(-(-points // multiple) * multiple, CHUNK)
        parts = min(max((1 << 22) // parameters, 64), 512)
        words = _native.library().field_workspace_words(
            levels=net[0],
            chunk=chunk,
            parts=parts,
            parameters=parameters,
            gradient=d_gradient is not None,
        )
    d_table, d_mlp = _native.zeros(table.shape, x), x.new_zeros(mlp.shape)
    _native.call(
        "field_backward",
        like=x,
        **_arguments(x, table, mlp, level_weights, table_half, count, net, numbers),
        saved=saved,
        keeps_jacobian=points <= KEPT,
        d_density=d_density,
        d_albedo=d_albedo,
        d_gradient=d_gradient,
        chunk=chunk,
        parts=parts,
        workspace=x.new_empty(words, dtype=torch.int32),
        entries=table.shape[0],
        d_table=d_table,
        d_mlp=d_mlp,
    )
    return d_table, d_mlp


@torch.library.register_fake("dfast::field")
def _(  # type: ignore[no-untyped-def]
    x, table, mlp, level_weights, table_half, count, net, numbers, want_gradient, learns
):
    return _empty_results(x, net, want_gradient, learns)


@torch.library.register_fake("dfast::field_backward")
def _(x, table, mlp, *_):  # type: ignore[no-untyped-def]
    return x.new_empty(table.shape), x.new_empty(mlp.shape)


# --------------------------------------------------------------------------------------------------
# Autograd.


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.net, ctx.numbers, ctx.want_gradient, _ = inputs
    ctx.save_for_backward(*tensors, output[3])
    ctx.set_materialize_grads(False)


def _backward(
    ctx: Any, d_density: Tensor | None, d_albedo: Tensor | None, d_gradient: Tensor | None, _: None
) -> tuple[Tensor | None, ...]:
    if not ctx.want_gradient:
        d_gradient = None
    *tensors, saved = ctx.saved_tensors
    d_table, d_mlp = transforms.call(
        _field_backward,
        *tensors,
        ctx.net,
        ctx.numbers,
        saved,
        ctx.want_gradient,
        d_density,
        d_albedo,
        d_gradient,
    )
    return (
        None,  # x
        d_table,
        d_mlp,
        None,  # level_weights
        None,  # table_half
        None,  # count
        None,  # net
        None,  # numbers
        None,  # want_gradient
        None,  # learns
    )


def _once(ctx: Any, *grads: Tensor | None) -> None:
    raise RuntimeError("dfast.ops.field.field is differentiable once, not twice")


def _no_jvp(inputs: Sequence[Any], outputs: Sequence[Any], tangents: Sequence[Any]) -> Any:
    raise RuntimeError(
        "dfast.ops.field has no forward-mode derivative; the module dfast.nn.Field has one"
    )


transforms.register(
    _field,
    differentiable=("table", "mlp"),
    setup_context=_setup_context,
    backward=_backward,
    jvp=_no_jvp,
)
transforms.register_backward(_field_backward, _once)
