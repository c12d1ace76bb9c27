"""Losses on images in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def normal_variation(
    normal: Tensor, opacity: Tensor, depth: Tensor, *, edge: float, step: float
) -> Tensor:
    """Compare neighbours as :func:`dfast.ops.normal_variation.normal_variation` does."""
    opacity = opacity.detach()
    distance = depth.detach() / opacity.clamp(min=1e-3)
    cost = normal.new_zeros(())
    for axis in (2, 3):
        count = normal.shape[axis] - 1
        d2 = normal.diff(dim=axis).square().sum(1, keepdim=True)
        both = torch.minimum(opacity.narrow(axis, 0, count), opacity.narrow(axis, 1, count))
        both = both * (distance.diff(dim=axis).abs() < step)
        cost = cost + (both * d2 / (d2 + edge**2)).mean()
    return cost
