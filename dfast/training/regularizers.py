"""Terms beside the guidance, each a scalar. The caller skips those whose weight is 0."""

from __future__ import annotations

import torch
from torch import Tensor


def orientation(facing_away: Tensor) -> Tensor:
    """Mean over rays of the penalty on visible normals that face away (Ref-NeRF).

    facing_away: [R], sum_i stop(w_i) max(0, n_i . v)^2 of each ray (`RayRender.orientation`).
    """
    return facing_away.sum() / max(len(facing_away), 1)


def opacity(opacity: Tensor) -> Tensor:
    """Mean of sqrt(o^2 + 0.01) over rays (the paper): it is 0.1 at o = 0 and 1.00499 at o = 1."""
    return torch.sqrt(opacity * opacity + 0.01).mean()


def entropy(opacity: Tensor, margin: float = 1e-3) -> Tensor:
    """Mean binary entropy of the opacity in bits, in [0, 1]: pushes each ray towards empty or
    solid.
    """
    o = opacity.clamp(margin, 1.0 - margin)
    return -(o * torch.log2(o) + (1.0 - o) * torch.log2(1.0 - o)).mean()


def total_variation(image: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, both ways; image [B,C,H,W]."""
    down = (image[:, :, 1:] - image[:, :, :-1]).abs().mean()
    return down + (image[:, :, :, 1:] - image[:, :, :, :-1]).abs().mean()
