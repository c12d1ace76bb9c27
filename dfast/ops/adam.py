"""Adam (arXiv 1412.6980) over a list of tensors in two launches that never ask the host.

These are plain functions, not custom ops: they only write in place, nothing differentiates or
traces them, and a list of tensors costs a custom op more than the work itself. Autograd is told of
the writes, so that a backward pass over old values is still refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dfast import _native

NORM, STEP, SKIPPED, STREAK = range(4)
"""What `status` [4] holds: the gradients' norm, steps taken, steps skipped because the norm was not
finite, and how many of those came last."""

TENSORS = 16
"""Most tensors a call."""

_WORKSPACE = 1 + 1024  # the ticket and the partial sums of csrc/ops/adam.h


def workspace(device: torch.device) -> Tensor:
    """What `gradient_norm` needs beside its arguments: make one, keep it, share it with nobody that
    runs at the same time.
    """
    return torch.zeros(_WORKSPACE, dtype=torch.float64, device=device)


@torch.no_grad()
def gradient_norm(grads: Sequence[Tensor], status: Tensor, space: Tensor) -> None:
    """Bring `status` up to date: the norm of all gradients together, and what follows from it.

    ``status[NORM]`` is the norm. If it is finite ``status[STEP]`` grows by one and
    ``status[STREAK]`` becomes 0, else ``status[SKIPPED]`` and ``status[STREAK]`` grow by one. The
    same gradients give the same bits, on the CPU for any number of threads.

    Args:
        grads: up to 16 tensors of one dtype, float32 or float64.
        status: [4] of that dtype, zeros at first.
        space: from :func:`workspace`.

    Raises:
        ValueError: on a wrong shape, dtype, device or number of tensors.
    """
    like = _check_status(status)
    grads = _checked("grads", grads, None, like)
    if space.dtype != torch.float64 or space.shape != (_WORKSPACE,) or space.device != like.device:
        raise ValueError(
            f"space must be float64 [{_WORKSPACE}] on {like.device}, from workspace(), got "
            f"{space.dtype} {list(space.shape)} on {space.device}"
        )
    _native.call("gradient_norm", status, grads, [g.numel() for g in grads], space, status)
    _written([status])


@torch.no_grad()
def adam_step(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avg: Sequence[Tensor],
    exp_avg_sq: Sequence[Tensor],
    storage: Sequence[Tensor | None],
    rates: Sequence[float],
    factor: Tensor,
    status: Tensor,
    *,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """Move `params` and their moments in place, unless ``status[NORM]`` is not finite.

    With t = ``status[STEP]``: ``m += (1 - b1) (g - m)``, ``v = b2 v + (1 - b2) g^2`` and
    ``p -= rate factor / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps)``.

    Args:
        params: up to 16 contiguous tensors of one dtype, float32 or float64.
        grads, exp_avg, exp_avg_sq: shaped like `params`; the moments m and v are zeros at first.
        storage: for each parameter a float16 copy to keep up to date, or None.
        rates: base learning rates, one a parameter.
        factor: [1] of that dtype, multiplies all rates; on the device, so that a schedule needs no
            new launch parameters.
        status: [4] as :func:`gradient_norm` left it for these gradients.
        betas: (b1, b2), each in [0, 1).
        eps: >= 0, under the fraction.

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
    if len(rates) != len(params) or len(storage) != len(params):
        raise ValueError(
            f"rates and storage must have one item for each of {len(params)} params, got "
            f"{len(rates)} and {len(storage)}"
        )
    halves = [half for half in storage if half is not None]
    for p, half in zip(params, storage, strict=True):
        if half is not None:
            _native.contiguous("storage", half, tuple(p.shape), p.new_empty(0, dtype=torch.float16))
            _in_place("storage", half)
    _native.call(
        "adam_step", status,
        params, grads, exp_avg, exp_avg_sq, list(storage), [float(rate) for rate in rates],
        [p.numel() for p in params], *betas, eps, factor, status,
    )  # fmt: skip
    _written([*params, *exp_avg, *exp_avg_sq, *halves])


def _check_status(status: Tensor) -> Tensor:
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
    """The tensors, contiguous, shaped like `params` if given, dtype and device those of `like`."""
    if len(tensors) > TENSORS or (params is not None and len(tensors) != len(params)):
        expected = f"at most {TENSORS}" if params is None else str(len(params))
        raise ValueError(f"{name} must hold {expected} tensors, got {len(tensors)}")
    checked = []
    for i, tensor in enumerate(tensors):
        shape = tuple((tensor if params is None else params[i]).shape)
        checked.append(_native.contiguous(f"{name}[{i}]", tensor, shape, like))
        if written:
            _in_place(f"{name}[{i}]", tensor)
    return checked


def _in_place(name: str, tensor: Tensor) -> None:
    if not tensor.is_contiguous():
        raise ValueError(
            f"{name} is written in place and must be contiguous, got strides {tensor.stride()}"
        )


def _written(tensors: Sequence[Tensor]) -> None:
    for tensor in tensors:
        torch.autograd.graph.increment_version(tensor)
