"""Group normalisation fused with its neighbours in a diffusion model, on channels-last pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import jvp_rules, transforms
from dfast.ops.custom_op import custom_op

Activation = Literal["none", "silu", "gelu"]


def group_norm(
    x: Tensor,
    groups: int,
    weight: Tensor,
    bias: Tensor,
    *,
    eps: float = 1e-5,
    add: Tensor | None = None,
    scale_shift: Tensor | None = None,
    activation: Activation = "none",
) -> Tensor:
    """Return ``activation((norm(x + add) * weight + bias) * (1 + scale) + shift)``.

    ``norm`` subtracts the mean of a sample's group and divides by ``sqrt(variance + eps)`` (arXiv
    1803.08494); a group is ``C / groups`` neighbouring channels of all pixels. ``add`` fuses the
    bias of a convolution and a time embedding in front of the normalisation, ``scale`` and
    ``shift`` a time embedding after it. Statistics and arithmetic are float32 (float64 for
    float64). They are computed from differences, so that a mean far from zero costs no accuracy.
    The order of all sums is fixed.

    Differentiable once in `x`. The other tensors must be frozen, as a prior's weights are.

    Args:
        x: [B, C, ...], float16, bfloat16, float32 or float64. Channels-last memory (channels next
            to each other: ``torch.channels_last``, or [B, N, C] transposed) is read directly, any
            other layout is copied first.
        groups: number of groups, a divisor of C, with at most 256 channels per group on CUDA.
        weight: [C].
        bias: [C].
        eps: added to the variance, >= 0.
        add: [C], or [B, C] with one row per sample. Rows may lie apart, as parts of longer ones do.
        scale_shift: [B, 2 C], the scales, then the shifts; rows may lie apart.
        activation: "none", "silu" (``z sigmoid(z)``) or "gelu" (the exact one).

    Returns:
        [B, C, ...] in channels-last memory.

    Raises:
        ValueError: on a wrong shape, dtype, device or value, or if a tensor other than `x`
            requires a gradient.
    """
    pixels, arguments = _arguments(x, groups, weight, bias, eps, add, scale_shift, activation)
    y: Tensor = transforms.call(_group_norm, *arguments)[0]
    return y.view(pixels).movedim(-1, 1)


def group_norm_and_input(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, **options: Any
) -> tuple[Tensor, Tensor]:
    """Return `group_norm` of x, and x itself for the residual connection around it.

    Where gradients reach both results they are added in the launch that computes the first one's.
    Differentiable once in `x`, by plain autograd.

    Args:
        x: as for `group_norm`.
        groups: as for `group_norm`.
        weight: as for `group_norm`.
        bias: as for `group_norm`.
        options: further arguments of `group_norm`.
    """
    if not (torch.is_grad_enabled() and x.requires_grad) or transforms.active():
        return group_norm(x, groups, weight, bias, **options), x
    pixels, arguments = _arguments(x, groups, weight, bias, **options)
    y, same = _AndInput.apply(*arguments)
    return tuple(rows.view(pixels).movedim(-1, 1) for rows in (y, same))


class _AndInput(torch.autograd.Function):
    """The arguments of `_group_norm` to its first result, and its input."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        y, stats = _group_norm(*arguments)
        ctx.set_materialize_grads(False)
        *tensors, ctx.groups, _, ctx.activation = arguments
        ctx.save_for_backward(*tensors, stats)
        return y, tensors[0].view_as(tensors[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        dy, other = grads
        if dy is not None:
            saved = ctx.saved_tensors
            other = _group_norm_backward(*saved, dy, other, ctx.groups, ctx.activation)
        return other, *7 * (None,)


def _arguments(
    x: Tensor,
    groups: int,
    weight: Tensor,
    bias: Tensor,
    eps: float = 1e-5,
    add: Tensor | None = None,
    scale_shift: Tensor | None = None,
    activation: Activation = "none",
) -> tuple[torch.Size, tuple[Any, ...]]:
    """Check the arguments of `group_norm`.

    Returns:
        The shape of x with the channels last, and the arguments of `_group_norm`.
    """
    if _native.dense("x", x).ndim < 2:
        raise ValueError(f"x must have shape [B, C, ...], got {list(x.shape)}")
    batch, channels = x.shape[:2]
    groups = _native.whole_number("groups", groups, 1)
    if channels < 1 or channels % groups:
        raise ValueError(f"groups must divide the {channels} channels of x, got {groups}")
    if not eps >= 0:
        raise ValueError(f"eps must not be negative, got {eps}")
    if activation not in get_args(Activation):
        known = ", ".join(get_args(Activation))
        raise ValueError(f"activation must be one of {known}, got {activation!r}")
    frozen = {"weight": weight, "bias": bias, "add": add, "scale_shift": scale_shift}
    if torch.is_grad_enabled():
        for name, tensor in frozen.items():
            if tensor is not None and tensor.requires_grad:
                raise ValueError(f"{name} must not require a gradient: group_norm gives x's only")
    if transforms.autocast_enabled(x):
        weight, bias = weight.to(x.dtype), bias.to(x.dtype)
        add = None if add is None else add.to(x.dtype)
        scale_shift = None if scale_shift is None else scale_shift.to(x.dtype)
    weight = _native.contiguous("weight", weight, (channels,), x)
    bias = _native.contiguous("bias", bias, (channels,), x)
    if add is not None:
        shape = (channels,) if add.ndim == 1 else (batch, channels)
        add = _native.rows("add", add, shape, x)
    if scale_shift is not None:
        scale_shift = _native.rows("scale_shift", scale_shift, (batch, 2 * channels), x)
    pixels = x.movedim(1, -1)
    rows = pixels.reshape(batch, pixels.shape[1:-1].numel(), channels).contiguous()
    kind = _native.constant("group_norm_activations")[activation]
    return pixels.shape, (rows, weight, bias, add, scale_shift, groups, eps, kind)


def _scratch(x: Tensor, groups: int) -> Tensor:
    """Return memory for two numbers per group and split of rows; the CPU needs none."""
    splits = _native.constant("group_norm_max_splits") if x.device.type == "cuda" else 0
    return torch.empty(x.shape[0], splits, groups, 2, dtype=_arithmetic(x), device=x.device)


def _arithmetic(x: Tensor) -> torch.dtype:
    """Return the dtype in which numbers like x are computed."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _first(rows: Tensor | None) -> Tensor | None:
    """Return the first row, from which `_pitch` leads to the others."""
    return rows if rows is None or rows.ndim == 1 or len(rows) == 0 else rows[0]


def _pitch(rows: Tensor | None) -> int:
    """Return the distance between the rows of a tensor, 0 where all samples share one row."""
    return 0 if rows is None or rows.ndim == 1 else rows.stride(0)


@custom_op(
    "group_norm",
    "(Tensor x, Tensor weight, Tensor bias, Tensor? add, Tensor? scale_shift, int groups,"
    " float eps, int activation) -> (Tensor, Tensor)",
)
def _group_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    add: Tensor | None,
    scale_shift: Tensor | None,
    groups: int,
    eps: float,
    activation: int,
) -> tuple[Tensor, Tensor]:
    batch, rows, channels = x.shape
    y = torch.empty_like(x)
    stats = torch.empty(batch, groups, 2, dtype=_arithmetic(x), device=x.device)
    _native.call(
        "group_norm",
        like=x,
        x=x,
        weight=weight,
        bias=bias,
        add=_first(add),
        scale_shift=_first(scale_shift),
        batch=batch,
        rows=rows,
        channels=channels,
        groups=groups,
        add_pitch=_pitch(add),
        scale_pitch=_pitch(scale_shift),
        eps=eps,
        activation=activation,
        y=y,
        stats=stats,
        scratch=_scratch(x, groups),
    )
    return y, stats


@_group_norm.register_fake
def _(x, weight, bias, add, scale_shift, groups, eps, activation):  # type: ignore[no-untyped-def]
    stats = torch.empty(x.shape[0], groups, 2, dtype=_arithmetic(x), device=x.device)
    return torch.empty_like(x), stats


@custom_op(
    "group_norm_backward",
    "(Tensor x, Tensor weight, Tensor bias, Tensor? add, Tensor? scale_shift, Tensor stats,"
    " Tensor dy, Tensor? other, int groups, int activation) -> Tensor",
)
def _group_norm_backward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    add: Tensor | None,
    scale_shift: Tensor | None,
    stats: Tensor,
    dy: Tensor,
    other: Tensor | None,
    groups: int,
    activation: int,
) -> Tensor:
    batch, rows, channels = x.shape
    dx = torch.empty_like(x)
    _native.call(
        "group_norm_backward",
        like=x,
        x=x,
        weight=weight,
        bias=bias,
        add=_first(add),
        scale_shift=_first(scale_shift),
        batch=batch,
        rows=rows,
        channels=channels,
        groups=groups,
        add_pitch=_pitch(add),
        scale_pitch=_pitch(scale_shift),
        eps=0.0,  # not used: the statistics are given
        activation=activation,
        stats=stats,
        dy=dy.contiguous(),
        other=None if other is None else other.contiguous(),
        dx=dx,
        scratch=_scratch(x, groups),
    )
    return dx


@_group_norm_backward.register_fake
def _(x, weight, bias, add, scale_shift, stats, dy, other, groups, activation):  # type: ignore[no-untyped-def]
    return torch.empty_like(x)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.groups, _, ctx.activation = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, output[1])


def _backward(ctx: Any, dy: Tensor | None, d_stats: None) -> tuple[Tensor | None, ...]:
    dx = None
    if dy is not None:
        saved = ctx.saved_tensors
        dx = transforms.call(_group_norm_backward, *saved, dy, None, ctx.groups, ctx.activation)
    return (
        dx,
        None,  # weight
        None,  # bias
        None,  # add
        None,  # scale_shift
        None,  # groups
        None,  # eps
        None,  # activation
    )


def _jvp(inputs: Sequence[Any], outputs: Sequence[Any], tangents: transforms.Tangents) -> Any:
    d_x = tangents[0]
    return None if d_x is None else jvp_rules.group_norm(d_x, *inputs), None  # stats


transforms.register(
    _group_norm,
    differentiable=("x",),
    setup_context=_setup_context,
    backward=_backward,
    jvp=_jvp,
)
transforms.register_backward(_group_norm_backward)
