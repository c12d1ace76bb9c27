"""Adam (arXiv 1412.6980) over a list of tensors in two launches without host synchronisation.

These are plain functions, not custom operators: they only write in place, nothing differentiates or
traces them, and a list of tensors costs a custom operator more than the work itself. The version
counters of the written tensors are incremented, so that autograd still refuses a backward pass over
old values.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dfast import _native

NORM, STEP, SKIPPED, STREAK = range(4)
"""Entries of `status` [4]: the norm of the gradients, the number of steps taken, the number of
steps skipped because the norm was not finite, and the number of steps skipped in a row. Checkpoints
store them in this order."""


def max_tensors() -> int:
    """Return the largest number of tensors per call."""
    count: int = _native.constant("adam_max_tensors")
    return count


def workspace(device: torch.device) -> Tensor:
    """Return the scratch memory of :func:`gradient_norm`.

    It can be reused, but not by two calls that run at the same time.
    """
    return torch.zeros(_native.constant("adam_workspace"), dtype=torch.float64, device=device)


@torch.no_grad()
def gradient_norm(grads: Sequence[Tensor], status: Tensor, space: Tensor) -> None:
    """Compute the norm of all gradients together and update the counters in `status`.

    ``status[NORM]`` is the norm, infinite also where the sum of the squares is. If it is finite
    ``status[STEP]`` grows by one and ``status[STREAK]`` becomes 0, else ``status[SKIPPED]`` and
    ``status[STREAK]`` grow by one. The same gradients give the same bits, on the CPU for any number
    of threads.

    Args:
        grads: at most :func:`max_tensors` tensors of one dtype, float32 or float64.
        status: [4] of that dtype, zeros before the first step.
        space: from :func:`workspace`.

    Raises:
        ValueError: on a wrong shape, dtype, device or number of tensors.
    """
    like = _check_status(status)
    grads = _checked("grads", grads, None, like)
    size = _native.constant("adam_workspace")
    if space.dtype != torch.float64 or space.shape != (size,) or space.device != like.device:
        raise ValueError(
            f"space must be float64 [{size}] on {like.device}, from workspace(), got "
            f"{space.dtype} {list(space.shape)} on {space.device}"
        )
    _native.call(
        "gradient_norm",
        like=status,
        grads=grads,
        entries=[g.numel() for g in grads],
        workspace=space,
        status=status,
    )
    _written([status])


@torch.no_grad()
def adam_step(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avg: Sequence[Tensor],
    exp_avg_sq: Sequence[Tensor],
    half_copies: Sequence[Tensor | None],
    rates: Sequence[float],
    factor: Tensor,
    status: Tensor,
    *,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """Update `params` and their moments in place, unless ``status[NORM]`` is not finite.

    With t = ``status[STEP]``: ``m += (1 - b1) (g - m)``, ``v = b2 v + (1 - b2) g^2`` and
    ``p -= rate factor / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps)``.

    Args:
        params: at most :func:`max_tensors` contiguous tensors of one dtype, float32 or float64.
        grads: shaped like `params`.
        exp_avg: shaped like `params`; the moments m, zeros before the first step.
        exp_avg_sq: shaped like `params`; the moments v, zeros before the first step.
        half_copies: for each parameter a float16 copy to update, or None.
        rates: base learning rates, one per parameter.
        factor: [1] of that dtype, multiplies all rates. It lies on the device, so that a schedule
            changes no launch parameter.
        status: [4] as :func:`gradient_norm` left it for these gradients.
        betas: (b1, b2), each in [0, 1).
        eps: added to the denominator, >= 0.

    Raises:
        ValueError: on a wrong shape, dtype, device, range or number of tensors.
    """
    like = _check_status(status)
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas must be in [0, 1), got {betas}")
    if not eps >= 0:
        raise ValueError(f"eps must not be negative, got {eps}")
    factor = _native.contiguous("factor", factor, (1,), like)
    params = _checked("params", params, None, like, written=True)
    grads = _checked("grads", grads, params, like)
    exp_avg = _checked("exp_avg", exp_avg, params, like, written=True)
    exp_avg_sq = _checked("exp_avg_sq", exp_avg_sq, params, like, written=True)
    if len(rates) != len(params) or len(half_copies) != len(params):
        raise ValueError(
            f"rates and half_copies must have one item for each of {len(params)} params, got "
            f"{len(rates)} and {len(half_copies)}"
        )
    halves = [half for half in half_copies if half is not None]
    for p, half in zip(params, half_copies, strict=True):
        if half is not None:
            _native.contiguous(
                "half_copies", half, tuple(p.shape), p.new_empty(0, dtype=torch.float16)
            )
            _in_place("half_copies", half)
    _native.call(
        "adam_step",
        like=status,
        params=params,
        grads=grads,
        exp_avg=exp_avg,
        exp_avg_sq=exp_avg_sq,
        half_copies=list(half_copies),
        rates=[float(rate) for rate in rates],
        entries=[p.numel() for p in params],
        beta1=float(betas[0]),
        beta2=float(betas[1]),
        eps=float(eps),
        factor=factor,
        status=status,
    )
    _written([*params, *exp_avg, *exp_avg_sq, *halves])


def _check_status(status: Tensor) -> Tensor:
    """Return `status` if it has the right shape and can be written in place."""
    _in_place("status", _native.contiguous("status", status, (4,), status))
    return status


def _checked(
    name: str,
    tensors: Sequence[Tensor],
    params: Sequence[Tensor] | None,
    like: Tensor,
    *,
    written: bool = False,
) -> list[Tensor]:
    """Return the tensors contiguous, checked against the shapes of `params` and against `like`."""
    if len(tensors) > max_tensors() or (params is not None and len(tensors) != len(params)):
        expected = f"at most {max_tensors()}" if params is None else str(len(params))
        raise ValueError(f"{name} must hold {expected} tensors, got {len(tensors)}")
    checked = []
    for i, tensor in enumerate(tensors):
        shape = tuple((tensor if params is None else params[i]).shape)
        checked.append(_native.contiguous(f"{name}[{i}]", tensor, shape, like))
        if written:
            _in_place(f"{name}[{i}]", tensor)
    return checked


def _in_place(name: str, tensor: Tensor) -> None:
    """Raise unless the tensor is contiguous."""
    if not tensor.is_contiguous():
        raise ValueError(
            f"{name} is written in place and must be contiguous, got strides {tensor.stride()}"
        )


def _written(tensors: Sequence[Tensor]) -> None:
    """Tell autograd that the tensors were written in place."""
    for tensor in tensors:
        torch.autograd.graph.increment_version(tensor)
