"""Multiresolution hash encoding (Instant-NGP, arXiv 2201.05989), with its position gradient and
second order.

The encoding of level l is ``lw_l * sum_c w_c(x) T[c]`` over the 8 corners c of x's cell.
:func:`hash_encode` returns it for all levels, :func:`hash_encode_grad` returns ``J(x)^T a`` with
``J = d hash_encode / dx``, which is what a normal needs; a loss on that result differentiates to
the table and to ``a`` (and to x).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cache, cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import transforms


@dataclass(frozen=True)
class GridSpec:
    """The shape of a hash grid.

    Level l has ``base_resolution * b^l`` cells a side, b growing that to ``max_resolution`` at the
    last level. A point sits at ``x * scale_l + 0.5`` with scale one less than the cells, so that
    the outer cells are half outside [0, 1] and no vertex of one level lies on a face of the cube.
    Levels whose vertices fit in ``2^log2_entries`` rows are dense, the others are hashed. All
    levels share one table [entries, features].

    Raises:
        ValueError: naming the field that is out of range.
    """

    levels: int = 8
    """1..32"""
    features: int = 2
    """numbers a table row holds: 1, 2, 4 or 8"""
    log2_entries: int = 15
    """4..24, log2 of the most rows a level may have"""
    base_resolution: int = 8
    """cells a side of the coarsest level, >= 2"""
    max_resolution: int = 128
    """cells a side of the finest level, base_resolution..65536"""
    interpolation: Literal["linear", "smoothstep"] = "linear"
    """smoothstep has a continuous gradient, zero at cell faces; linear's jumps there"""
    dimensions: Literal[2, 3] = 3
    """of the points; in two dimensions a dense level has resolution^2 rows"""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("levels", 1, 32),
            ("log2_entries", 4, 24),
            ("base_resolution", 2, 65536),
            ("max_resolution", self.base_resolution, 65536),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be in [{low}, {high}], got {value}")
        if self.features not in (1, 2, 4, 8):
            raise ValueError(f"features must be 1, 2, 4 or 8, got {self.features}")
        if self.dimensions not in (2, 3):
            raise ValueError(f"dimensions must be 2 or 3, got {self.dimensions}")
        if self.interpolation not in ("linear", "smoothstep"):
            raise ValueError(
                f"interpolation must be 'linear' or 'smoothstep', got {self.interpolation!r}"
            )

    @cached_property
    def scales(self) -> tuple[float, ...]:
        """Cells per unit of x, level by level: the grid position of x is x * scale + 0.5."""
        ratio = self.max_resolution / self.base_resolution
        last = max(self.levels - 1, 1)
        return tuple(self.base_resolution * ratio ** (l / last) - 1.0 for l in range(self.levels))

    @cached_property
    def resolutions(self) -> tuple[int, ...]:
        """Vertices a side, level by level: one more than the cells that [0, 1] touches."""
        return tuple(math.floor(scale + 0.5) + 2 for scale in self.scales)

    @cached_property
    def dense(self) -> tuple[bool, ...]:
        """Whether a level is indexed directly instead of hashed."""
        return tuple(r**self.dimensions <= 2**self.log2_entries for r in self.resolutions)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First row of each level, and the row past the last: levels + 1 numbers."""
        rows = [0]
        for resolution, dense in zip(self.resolutions, self.dense, strict=True):
            # Whole groups of 8 rows, so that neighbours along x can be read together.
            vertices = resolution**self.dimensions
            size = -(-vertices // 8) * 8 if dense else 2**self.log2_entries
            rows.append(rows[-1] + size)
        return tuple(rows)

    @property
    def entries(self) -> int:
        """Rows of the table."""
        return self.offsets[-1]

    @property
    def outputs(self) -> int:
        """Width of the encoding, levels * features."""
        return self.levels * self.features

    @property
    def smooth(self) -> bool:
        """Whether the interpolation is smoothstep."""
        return self.interpolation == "smoothstep"


def hash_encode(
    x: Tensor,
    table: Tensor,
    spec: GridSpec,
    level_weights: Tensor | None = None,
    *,
    storage: Tensor | None = None,
) -> Tensor:
    """Encode points.

    Args:
        x: [N, 3] in [0, 1], float32 or float64. Outside, the border cell is carried on; nothing is
            read out of range.
        table: [spec.entries, spec.features], dtype of x.
        spec: the grid.
        level_weights: [levels] in [0, 1], dtype of x, or None for all ones. Not differentiable.
        storage: half copy of ``table`` to read from; x must then be float32. The gradient goes to
            ``table``.

    Returns:
        [N, spec.outputs], levels outside, features inside. Differentiable twice in x and table.

    Raises:
        ValueError: on a wrong shape, dtype or device, naming the argument.
    """
    x, table = transforms.widen(x, table)
    level_weights = transforms.widen_optional(level_weights)
    _check(x, table, spec, level_weights, storage)
    out: Tensor = transforms.call(
        _encode, _lifted(x, spec), table, _pack(spec), level_weights, storage
    )
    return out


def hash_encode_grad(
    x: Tensor,
    table: Tensor,
    a: Tensor,
    spec: GridSpec,
    level_weights: Tensor | None = None,
    *,
    storage: Tensor | None = None,
) -> Tensor:
    """Return J(x)^T a with J = d hash_encode / dx.

    Args:
        x, table, spec, level_weights, storage: as for :func:`hash_encode`.
        a: [N, spec.outputs], dtype of x.

    Returns:
        [N, 3], per unit of x. Differentiable once in x, table and a; with linear interpolation the
        derivative in x is that of the interior of a cell.

    Raises:
        ValueError: on a wrong shape, dtype or device, naming the argument.
        RuntimeError: when differentiated a second time.
    """
    x, table, a = transforms.widen(x, table, a)
    level_weights = transforms.widen_optional(level_weights)
    _check(x, table, spec, level_weights, storage)
    _native.contiguous("a", a, (x.shape[0], spec.outputs), x)
    g: Tensor = transforms.call(
        _encode_grad, _lifted(x, spec), table, a, _pack(spec), level_weights, storage
    )
    return g if spec.dimensions == 3 else g[:, :2]


def _lifted(x: Tensor, spec: GridSpec) -> Tensor:
    """Return points as the kernels take them: in two dimensions z is 0, which no row depends on."""
    return x if spec.dimensions == 3 else torch.nn.functional.pad(x, (0, 1))


def _check(
    x: Tensor, table: Tensor, spec: GridSpec, level_weights: Tensor | None, storage: Tensor | None
) -> None:
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x must be float32 or float64, got {x.dtype}")
    _native.contiguous("x", x.detach(), (None, spec.dimensions), x)
    shape = (spec.entries, spec.features)
    _native.contiguous("table", table.detach(), shape, x)
    if level_weights is not None:
        _native.contiguous("level_weights", level_weights.detach(), (spec.levels,), x)
    if storage is None:
        return
    if x.dtype != torch.float32:
        raise ValueError(f"storage needs float32 x, got {x.dtype}")
    if (
        storage.dtype != torch.float16
        or tuple(storage.shape) != shape
        or storage.device != x.device
    ):
        raise ValueError(
            f"storage must be float16 of shape {list(shape)} on {x.device}, got {storage.dtype} "
            f"{list(storage.shape)} on {storage.device}"
        )


def _pack(spec: GridSpec) -> list[int]:
    """The spec as the integers an op's schema can carry."""
    return [*astuple(spec)[:5], int(spec.smooth), spec.dimensions]


@cache
def _unpack(packed: tuple[int, ...]) -> tuple[GridSpec, Any]:
    """The spec and its native twin."""
    levels, features, log2_entries, base, finest, smooth, dimensions = packed
    kind: Literal["linear", "smoothstep"] = "smoothstep" if smooth else "linear"
    planar: Literal[2, 3] = 2 if dimensions == 2 else 3
    spec = GridSpec(levels, features, log2_entries, base, finest, kind, planar)
    native = _native.library().HashGrid(
        features=spec.features,
        smooth=spec.smooth,
        scales=spec.scales,
        resolutions=spec.resolutions,
        offsets=spec.offsets,
        dense=spec.dense,
        dimensions=spec.dimensions,
    )
    return spec, native


def _ready(tensor: Tensor | None) -> Tensor | None:
    """Contiguous, and starting where a whole table row can be read at once."""
    if tensor is None:
        return None
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


# --------------------------------------------------------------------------------------------------
# The ops. `grid` is _pack(spec); derivatives in math/hashgrid.h.

_COMMON = "int[] grid, Tensor? level_weights, Tensor? storage"


def _run(
    name: str,
    x: Tensor,
    table: Tensor,
    grid: Sequence[int],
    level_weights: Tensor | None,
    storage: Tensor | None,
    *rest: Tensor,
    width: int,
) -> Tensor:
    """Call a launcher that reads the table and writes [N, width]."""
    out = x.new_empty(x.shape[0], width)
    tensors = [_ready(t) for t in (x, None if storage is not None else table, storage)]
    more = [_ready(t) for t in (level_weights, *rest)]
    _native.call(name, x, _unpack(tuple(grid))[1], x.shape[0], *tensors, *more, out)
    return out


@torch.library.custom_op(
    "dfast::hash_encode", mutates_args=(), schema=f"(Tensor x, Tensor table, {_COMMON}) -> Tensor"
)
def _encode(x, table, grid, level_weights, storage):  # type: ignore[no-untyped-def]
    width = grid[0] * grid[1]
    return _run("hash_encode", x, table, grid, level_weights, storage, width=width)


@torch.library.custom_op(
    "dfast::hash_encode_grad",
    mutates_args=(),
    schema=f"(Tensor x, Tensor table, Tensor a, {_COMMON}) -> Tensor",
)
def _encode_grad(x, table, a, grid, level_weights, storage):  # type: ignore[no-untyped-def]
    return _run("hash_encode_grad", x, table, grid, level_weights, storage, a, width=3)


@torch.library.custom_op(
    "dfast::hash_jvp",
    mutates_args=(),
    schema=f"(Tensor x, Tensor table, Tensor u, {_COMMON}) -> Tensor",
)
def _jvp(x, table, u, grid, level_weights, storage):  # type: ignore[no-untyped-def]
    width = grid[0] * grid[1]
    return _run("hash_jvp", x, table, grid, level_weights, storage, u, width=width)


@torch.library.custom_op(
    "dfast::hash_hvp",
    mutates_args=(),
    schema=f"(Tensor x, Tensor table, Tensor a, Tensor u, {_COMMON}) -> Tensor",
)
def _hvp(x, table, a, u, grid, level_weights, storage):  # type: ignore[no-untyped-def]
    return _run("hash_hvp", x, table, grid, level_weights, storage, a, u, width=3)


@torch.library.custom_op(
    "dfast::hash_scatter",
    mutates_args=(),
    schema="(Tensor x, Tensor? d0, Tensor? u, Tensor? a0, int[] grid, Tensor? level_weights)"
    " -> Tensor",
)
def _scatter(x, d0, u, a0, grid, level_weights):  # type: ignore[no-untyped-def]
    """dT[c] += lw (w_c d0 + (u . grad w_c) a0) over samples and corners: [entries, F].

    On the CPU each row is summed in sample order. On CUDA the order is that of the atomics, unless
    torch.use_deterministic_algorithms is on: then sums are kept in 64-bit fixed point, whose unit
    is chosen from a bound of the largest possible sum (2^-61 of it), so that order cannot matter; a
    non-finite term makes all NaN.
    """
    spec, native = _unpack(tuple(grid))
    out = x.new_zeros(spec.entries, spec.features)
    fixed = unit = None
    if x.is_cuda and torch.are_deterministic_algorithms_enabled() and x.shape[0]:
        fixed = torch.zeros_like(out, dtype=torch.int64)
        unit = _fixed_unit(spec, x.shape[0], d0, u, a0, level_weights)
    tensors = [_ready(t) for t in (x, level_weights, d0, u, a0)]
    _native.call("hash_scatter", x, native, x.shape[0], *tensors, spec.entries, out, fixed, unit)
    return out


def _fixed_unit(
    spec: GridSpec,
    samples: int,
    d0: Tensor | None,
    u: Tensor | None,
    a0: Tensor | None,
    level_weights: Tensor | None,
) -> Tensor:
    """[1] float64: the value of one count, so that all terms together stay below 2^61 counts."""
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
def _(x, table, grid, level_weights, storage):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], grid[0] * grid[1])


@torch.library.register_fake("dfast::hash_encode_grad")
def _(x, table, a, grid, level_weights, storage):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], 3)


@torch.library.register_fake("dfast::hash_jvp")
def _(x, table, u, grid, level_weights, storage):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], grid[0] * grid[1])


@torch.library.register_fake("dfast::hash_hvp")
def _(x, table, a, u, grid, level_weights, storage):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], 3)


@torch.library.register_fake("dfast::hash_scatter")
def _(x, d0, u, a0, grid, level_weights):  # type: ignore[no-untyped-def]
    spec, _ = _unpack(tuple(grid))
    return x.new_empty(spec.entries, spec.features)


# --------------------------------------------------------------------------------------------------
# Autograd. e = encode, g = encode_grad = J^T a:
#   e:   dx = J^T e', dT = scatter(d0 = e')
#   g:   da = J u,    dT = scatter(u, a), dx = H u      with u the gradient of g
#   scatter(d0), V the gradient of it:  d d0 = encode(x, V), dx = encode_grad(x, V, d0)


def _encode_setup(ctx: Any, inputs: Any, output: Tensor) -> None:
    x, table, ctx.grid, level_weights, storage = inputs
    ctx.save_for_backward(x, table, level_weights, storage)


def _encode_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, table, level_weights, storage = ctx.saved_tensors
    dx = dtable = None
    if ctx.needs_input_grad[0]:
        dx = transforms.call(_encode_grad, x, table, grad, ctx.grid, level_weights, storage)
    if ctx.needs_input_grad[1]:
        dtable = transforms.call(_scatter, x, grad, None, None, ctx.grid, level_weights)
    return dx, dtable, None, None, None  # grid, level_weights, storage


def _encode_grad_setup(ctx: Any, inputs: Any, output: Tensor) -> None:
    x, table, a, ctx.grid, level_weights, storage = inputs
    ctx.save_for_backward(x, table, a, level_weights, storage)


def _encode_grad_backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
    x, table, a, level_weights, storage = ctx.saved_tensors
    dx = dtable = da = None
    if ctx.needs_input_grad[0]:
        dx = transforms.call(_hvp, x, table, a, u, ctx.grid, level_weights, storage)
    if ctx.needs_input_grad[1]:
        dtable = transforms.call(_scatter, x, None, u, a, ctx.grid, level_weights)
    if ctx.needs_input_grad[2]:
        da = transforms.call(_jvp, x, table, u, ctx.grid, level_weights, storage)
    return dx, dtable, da, None, None, None  # grid, level_weights, storage


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
        dx = transforms.call(_encode_grad, x, grad, d0, ctx.grid, level_weights, None)
    if ctx.needs_input_grad[1]:
        dd0 = transforms.call(_encode, x, grad, ctx.grid, level_weights, None)
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
    x, table, grid, level_weights, storage = inputs
    tx, ttable, *_ = tangents
    call, rest = transforms.call, (grid, level_weights)
    return _sum(
        None if tx is None else call(_jvp, x, table, tx, *rest, storage),
        None if ttable is None else call(_encode, x, ttable, *rest, None),
    )


def _encode_grad_jvp(inputs: Sequence[Any], outputs: Sequence[Any], tangents: Sequence[Any]) -> Any:
    x, table, a, grid, level_weights, storage = inputs
    tx, ttable, ta, *_ = tangents
    call, rest = transforms.call, (grid, level_weights)
    return _sum(
        None if tx is None else call(_hvp, x, table, a, tx, *rest, storage),
        None if ttable is None else call(_encode_grad, x, ttable, a, *rest, None),
        None if ta is None else call(_encode_grad, x, table, ta, *rest, storage),
    )


def _scatter_jvp(inputs: Sequence[Any], outputs: Sequence[Any], tangents: Sequence[Any]) -> Any:
    x, d0, u, a0, *rest = inputs
    tx, td0, tu, ta0, *_ = tangents
    if u is not None and tx is not None:
        _no_third_order(None)
    call = transforms.call
    return _sum(
        None if tx is None else call(_scatter, x, None, tx, d0, *rest),
        None if td0 is None else call(_scatter, x, td0, None, None, *rest),
        None if tu is None else call(_scatter, x, None, tu, a0, *rest),
        None if ta0 is None else call(_scatter, x, None, u, ta0, *rest),
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
    _encode,
    differentiable=("x", "table"),
    setup_context=_encode_setup,
    backward=_encode_backward,
    jvp=_encode_jvp,
    vmap=_fold(_encode, (0,)),
)
transforms.register(
    _encode_grad,
    differentiable=("x", "table", "a"),
    setup_context=_encode_grad_setup,
    backward=_encode_grad_backward,
    jvp=_encode_grad_jvp,
    vmap=_fold(_encode_grad, (0, 2)),
)
transforms.register(
    _scatter,
    differentiable=("x", "d0", "u", "a0"),
    setup_context=_scatter_setup,
    backward=_scatter_backward,
    jvp=_scatter_jvp,
)
transforms.register_backward(_jvp, _no_third_order, vmap=_fold(_jvp, (0, 2)))
transforms.register_backward(_hvp, _no_third_order, vmap=_fold(_hvp, (0, 2, 3)))
