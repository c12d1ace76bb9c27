"""Adam in plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dfast.ops.adam import NORM, SKIPPED, STEP, STREAK


@torch.no_grad()
def gradient_norm(grads: Sequence[Tensor], status: Tensor, space: Tensor) -> None:
    """Update `status` as :func:`dfast.ops.adam.gradient_norm` does; `space` is not used."""
    status[NORM] = torch.sqrt(sum((g.double().square().sum() for g in grads), torch.zeros(())))
    if torch.isfinite(status[NORM]):
        status[STEP] += 1
        status[STREAK] = 0
    else:
        status[SKIPPED] += 1
        status[STREAK] += 1


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
    """Update tensors as :func:`dfast.ops.adam.adam_step` does, one after the other."""
    if not torch.isfinite(status[NORM]):
        return
    (b1, b2), t = betas, float(status[STEP])
    every = zip(params, grads, exp_avg, exp_avg_sq, half_copies, rates, strict=True)
    for p, g, m, v, half, rate in every:
        m.copy_(b1 * m + (1 - b1) * g)
        v.copy_(b2 * v + (1 - b2) * g * g)
        corrected = (v / (1 - b2**t)).sqrt() + eps
        p.sub_((rate * factor / (1 - b1**t)).reshape(()) * m / corrected)
        if half is not None:
            half.copy_(p)
