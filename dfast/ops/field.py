"""The whole field in one op: hash grid, MLP, density, albedo and the gradient behind the normal.

``tau = density_scale * phi(o_0 + density_bias + blob(x))`` and ``albedo = sigmoid(o_1..3)``, o the
MLP's four outputs on the encoded point, phi softplus or exp. The gradient is that of the logit,
``g = grad_x (o_0 + blob)``: phi' > 0 cancels in the normal ``-g / |g|``, so nothing overflows. The
derivation of both orders is in csrc/ops/field.h.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import hashgrid, transforms
from dfast.ops.hashgrid import GridSpec

OUTPUTS = 4
"""Of the MLP: the density's logit and three of the albedo."""

EXP_LIMIT = 15.0
"""Where the exp activation is clamped: 3.3e6 per unit length is as opaque as anything."""

CHUNK = 1 << 22
"""Points that CUDA's backward takes at a time: it needs 132 bytes for each with 16 levels."""

KEPT = 1 << 22
"""Most points whose Jacobians CUDA's forward pass keeps for the backward pass, 256 bytes for each
with 16 levels; beyond, it gathers again."""

SHARED_OF_LARGEST = 170_000
"""Bytes of shared memory that CUDA's kernels need for three layers of width 128; every other shape
fits on GPUs of compute capability 8.0 and newer."""

Activation = Literal["softplus", "exp"]
Blob = Literal["none", "linear", "gaussian"]


class FieldSample(NamedTuple):
    """The field at N points."""

    tau: Tensor
    """[N] density per unit length, >= 0"""
    albedo: Tensor
    """[N, 3] in [0, 1]"""
    gradient: Tensor | None
    """[N, 3] grad_x of the density's logit; the normal is -gradient normalised"""


@dataclass(frozen=True)
class FieldSpec:
    """The shape of a field: grid, MLP and density head.

    The MLP's parameters are one flat tensor [parameters]: W [out, in] row-major and b [out] of the
    first hidden layer, then of the next, the output layer last.

    Raises:
        ValueError: naming the member that is out of range.
    """

    grid: GridSpec = dataclasses.field(default_factory=GridSpec)
    width: int = 64
    """of the hidden layers, 1..256"""
    layers: int = 2
    """hidden layers, 1..3"""
    activation: Activation = "softplus"
    density_scale: float = 1.0
    """> 0"""
    density_bias: float = 0.0
    blob: Blob = "none"
    """linear: height (1 - |x| / width); gaussian: height exp(-|x|^2 / (2 width^2))"""
    blob_height: float = 0.0
    blob_width: float = 1.0
    """> 0, world units"""

    def __post_init__(self) -> None:
        if self.grid.dimensions != 3:
            raise ValueError(f"grid must have 3 dimensions, got {self.grid.dimensions}")
        for name, low, high in (("width", 1, 256), ("layers", 1, 3)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in [{low}, {high}], got {getattr(self, name)}")
        for name, kinds in (("activation", Activation), ("blob", Blob)):
            if getattr(self, name) not in get_args(kinds):
                expected = " or ".join(repr(kind) for kind in get_args(kinds))
                raise ValueError(f"{name} must be {expected}, got {getattr(self, name)!r}")
        for name in ("density_scale", "blob_width"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive and finite, got {value}")
        for name in ("density_bias", "blob_height"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, got {getattr(self, name)}")

    @property
    def inputs(self) -> int:
        """Width of the encoding."""
        return self.grid.outputs

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(out, in) of each layer's W, the output layer's last."""
        widths = (self.inputs, *[self.width] * self.layers, OUTPUTS)
        return tuple(zip(widths[1:], widths[:-1], strict=True))

    @property
    def parameters(self) -> int:
        """Numbers in the MLP."""
        return sum(out * (inputs + 1) for out, inputs in self.shapes)

    def split(self, mlp: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Views (W [out, in], b [out]) of a flat mlp [parameters], layer by layer."""
        views, at = [], 0
        for out, inputs in self.shapes:
            bias = at + out * inputs
            views.append((mlp[at:bias].view(out, inputs), mlp[bias : bias + out]))
            at = bias + out
        return views


def unsupported(
    spec: FieldSpec, device: torch.device, dtype: torch.dtype, storage: bool
) -> str | None:
    """Why :func:`field` cannot run like this, or None if it can.

    Args:
        spec: the field's shape.
        device: where; the CPU takes every shape in float32 and float64.
        dtype: of the parameters.
        storage: whether a half copy of the table is at hand.
    """
    if device.type not in ("cpu", "cuda"):
        return f"it runs on cpu and cuda, not on {device}"
    if device.type == "cpu":
        if dtype not in (torch.float32, torch.float64):
            return f"it takes float32 or float64, not {dtype}"
        return None
    if spec.grid.features != 2:
        return f"on CUDA it takes 2 features a level, not {spec.grid.features}"
    if spec.grid.levels > 16:
        return f"on CUDA it takes at most 16 levels, not {spec.grid.levels}"
    if spec.grid.max_resolution > 4096:  # its slopes are halves
        return f"on CUDA it takes at most 4096 cells a side, not {spec.grid.max_resolution}"
    if spec.width not in (16, 32, 64, 128):
        return f"on CUDA it takes layers of width 16, 32, 64 or 128, not {spec.width}"
    if dtype != torch.float32:
        return f"on CUDA it takes float32, not {dtype}"
    if not storage:
        return "on CUDA it reads a half copy of the table, and there is none"
    if torch.are_deterministic_algorithms_enabled():
        return "on CUDA its sums depend on the order of atomics (deterministic algorithms are on)"
    if not _native.build_info()["cuda"]:
        return "dfast was built without CUDA kernels"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "it needs a GPU of compute capability 8.0 or newer"
    properties = torch.cuda.get_device_properties(device)
    shared = getattr(properties, "shared_memory_per_block_optin", 0)
    if spec.width == 128 and spec.layers == 3 and shared < SHARED_OF_LARGEST:
        return f"three layers of width 128 need {SHARED_OF_LARGEST} bytes of shared memory"
    return None


def field(
    x: Tensor,
    table: Tensor,
    mlp: Tensor,
    spec: FieldSpec,
    *,
    level_weights: Tensor | None = None,
    storage: Tensor | None = None,
    count: Tensor | None = None,
    want_gradient: bool = False,
) -> FieldSample:
    """Density, albedo and gradient at points.

    Differentiable once in ``table`` and ``mlp`` through all three results, which through the
    gradient is the exact second order. x is a constant. Reverse torch.func transforms and vmap
    work; forward mode is refused. Under autocast 16-bit inputs are cast to float32.

    Args:
        x: [N, 3] world points, meant to lie in the cube [-1, 1]^3, float32 or float64 (CUDA:
            float32). Outside, the value and slope of the table's border are carried on (CPU), or
            the border's are taken (CUDA).
        table: [spec.grid.entries, spec.grid.features], dtype of x.
        mlp: [spec.parameters], dtype of x, as described in :class:`FieldSpec`.
        spec: the field's shape; see :func:`unsupported` for what CUDA takes.
        level_weights: [levels] in [0, 1], dtype of x, or None for all ones. Not differentiable. A
            level of weight 0 is not read.
        storage: half copy of ``table`` to read from; the gradient goes to ``table``. CUDA needs
            it, and computes the MLP in half precision with float32 sums.
        count: int64 [1] on the device of x: only the first ``count`` points are looked at. The
            rows of the results past it are UNINITIALISED, and gradients given for them are not
            read.
        want_gradient: whether to compute the gradient.

    Returns:
        tau [N], albedo [N, 3], and the gradient [N, 3] or None. On the CPU the same input gives
        the same bytes, forward and backward, with any number of threads.

    Raises:
        ValueError: on a wrong shape, dtype or device, naming the argument, or if ``unsupported``.
        RuntimeError: when differentiated a second time.
    """
    x, table, mlp = transforms.widen(x, table, mlp)
    level_weights = transforms.widen_optional(level_weights)
    hashgrid._check(x, table, spec.grid, level_weights, storage)
    _native.contiguous("mlp", mlp.detach(), (spec.parameters,), x)
    if count is not None and (
        count.dtype != torch.int64 or count.shape != (1,) or count.device != x.device
    ):
        raise ValueError(
            f"count must be int64 [1] on {x.device}, got {count.dtype} {list(count.shape)} "
            f"on {count.device}"
        )
    if reason := unsupported(spec, x.device, x.dtype, storage is not None):
        raise ValueError(f"dfast.ops.field cannot take this: {reason}")
    numbers = [spec.density_scale, spec.density_bias, spec.blob_height, spec.blob_width]
    learns = torch.is_grad_enabled() and (table.requires_grad or mlp.requires_grad)
    learns = learns or transforms.active()
    constant = transforms.constant
    tau, albedo, gradient, _ = transforms.call(
        _field, constant(x), table, mlp,
        None if level_weights is None else constant(level_weights), storage,
        count, _pack(spec), numbers, want_gradient,
        learns and x.device.type == "cuda",
    )  # fmt: skip
    return FieldSample(tau, albedo, gradient if want_gradient else None)


def _pack(spec: FieldSpec) -> list[int]:
    """The integers of the spec, the grid's first."""
    kinds = get_args(Activation).index(spec.activation), get_args(Blob).index(spec.blob)
    return [*hashgrid._pack(spec.grid), spec.width, spec.layers, *kinds]


@cache
def _unpack(packed: tuple[int, ...], numbers: tuple[float, ...]) -> Any:
    """The native twin of a spec."""
    *grid, width, layers, activation, blob = packed
    scale, bias, height, blob_width = numbers
    return _native.library().FieldNet(
        grid=hashgrid._unpack(tuple(grid))[1],
        width=width,
        layers=layers,
        activation=activation,
        scale=scale,
        bias=bias,
        blob=blob,
        blob_height=height,
        blob_width=blob_width,
    )


# --------------------------------------------------------------------------------------------------
# The ops. `net` and `numbers` are the spec.

_COMMON = (
    "Tensor x, Tensor table, Tensor mlp, Tensor? level_weights, Tensor? storage, Tensor? count,"
    " int[] net, float[] numbers"
)


def _arguments(
    x: Tensor,
    table: Tensor,
    mlp: Tensor,
    level_weights: Tensor | None,
    storage: Tensor | None,
    count: Tensor | None,
    net: Sequence[int],
    numbers: Sequence[float],
) -> list[Any]:
    """What both launchers start with."""
    ready = hashgrid._ready
    native = _unpack(tuple(net), tuple(numbers))
    rows = [ready(None if storage is not None else table), ready(storage)]
    return [native, x.shape[0], count, ready(x), *rows, ready(level_weights), ready(mlp)]


@torch.library.custom_op(
    "dfast::field",
    mutates_args=(),
    schema=f"({_COMMON}, bool want_gradient, bool learns) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _field(  # type: ignore[no-untyped-def]
    x, table, mlp, level_weights, storage, count, net, numbers, want_gradient, learns
):
    """tau [N], albedo [N, 3], gradient [N, 3] or [0, 3], and what CUDA's backward wants kept:
    which units were active, a bit each, the encoded points in half, and up to KEPT points'
    Jacobians."""
    results = _empty_results(x, net, want_gradient, learns)
    tau, albedo, gradient, saved = results
    arguments = _arguments(x, table, mlp, level_weights, storage, count, net, numbers)
    _native.call(
        "field_forward", x, *arguments, tau, albedo, gradient if want_gradient else None,
        saved if learns else None, x.shape[0] <= KEPT,
    )  # fmt: skip
    return results


def _empty_results(
    x: Tensor, net: Sequence[int], want_gradient: bool, learns: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    n, (width, layers) = x.shape[0], net[7:9]
    kept = 4 if not want_gradient else 16 if n <= KEPT else 0  # words for each 8 levels
    words = layers * ((width + 63) // 64) + kept * ((net[0] + 7) // 8)
    return (
        x.new_empty(n),
        x.new_empty(n, 3),
        x.new_empty(n if want_gradient else 0, 3),
        x.new_empty((n + 15) // 16 if learns else 0, words, 32, dtype=torch.int32),
    )


@torch.library.custom_op(
    "dfast::field_backward",
    mutates_args=(),
    schema=f"({_COMMON}, Tensor saved, bool want_gradient, Tensor? d_tau,"
    " Tensor? d_albedo, Tensor? d_gradient)"
    " -> (Tensor, Tensor)",
)
def _field_backward(  # type: ignore[no-untyped-def]
    x, table, mlp, level_weights, storage, count, net, numbers, saved, want_gradient, *given
):
    """d_table, d_mlp. given: d_tau, d_albedo, d_gradient; those that are None are zero."""
    if x.device.type == "cuda" and torch.are_deterministic_algorithms_enabled():
        raise RuntimeError(
            "dfast.ops.field: deterministic algorithms were turned on after the forward pass; the "
            "backward pass on CUDA has none"
        )
    d_tau, d_albedo, d_gradient = (None if d is None else d.contiguous() for d in given)
    if want_gradient and d_gradient is None and x.device.type == "cuda":
        d_gradient = x.new_zeros(x.shape)
    arguments = _arguments(x, table, mlp, level_weights, storage, count, net, numbers)
    chunk = parts = 0
    if x.device.type == "cuda":
        chunk = min(-(-x.shape[0] // 128) * 128, CHUNK)
        parts = min(max((1 << 22) // mlp.shape[0], 64), 512)
    workspace = x.new_empty((2 * net[0] + 1) * chunk + parts * mlp.shape[0], dtype=torch.int32)
    d_table, d_mlp = x.new_zeros(table.shape), x.new_zeros(mlp.shape)
    _native.call(
        "field_backward", x, *arguments, saved, x.shape[0] <= KEPT, d_tau, d_albedo, d_gradient,
        chunk, parts, workspace, table.shape[0], d_table, d_mlp,
    )  # fmt: skip
    return d_table, d_mlp


@torch.library.register_fake("dfast::field")
def _(  # type: ignore[no-untyped-def]
    x, table, mlp, level_weights, storage, count, net, numbers, want_gradient, learns
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
    ctx: Any, d_tau: Tensor | None, d_albedo: Tensor | None, d_gradient: Tensor | None, _: None
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
        d_tau,
        d_albedo,
        d_gradient,
    )
    return (
        None,  # x
        d_table,
        d_mlp,
        None,  # level_weights
        None,  # storage
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
