"""Losses on a rendering beside the guidance, each a scalar; `dfast.training.losses` weighs them."""

from __future__ import annotations

import torch
from torch import Tensor


def orientation(facing_away: Tensor) -> Tensor:
    """Return the mean over rays of the penalty on visible normals that face away from the camera.

    Equation 11 of Ref-NeRF (Verbin et al. 2022, arXiv 2112.03907), with the weights constant as in
    DreamFusion (Poole et al. 2022, arXiv 2209.14988).

    Args:
        facing_away: [R], sum_i stop(w_i) max(0, n_i . v)^2 of each ray: `RayRender.orientation`.
            Differentiable.
    """
    return facing_away.sum() / max(len(facing_away), 1)


def opacity(opacity: Tensor) -> Tensor:
    """Return the mean of sqrt(o^2 + 0.01), which keeps space empty that the images do not need.

    From DreamFusion (Poole et al. 2022, arXiv 2209.14988). It is 0.1 at o = 0 and 1.00499 at o = 1.

    Args:
        opacity: o in [0, 1], any shape. Differentiable.
    """
    return torch.sqrt(opacity * opacity + 0.01).mean()


def entropy(opacity: Tensor, margin: float = 1e-3) -> Tensor:
    """Return the mean binary entropy of the opacity in bits, which drives rays to empty or solid.

    The sparsity loss of Latent-NeRF (Metzer et al. 2022, arXiv 2211.07600).

    Args:
        opacity: in [0, 1], any shape. Differentiable.
        margin: the opacity is clamped to [margin, 1 - margin], where the slope is finite.

    Returns:
        Scalar in [0, 1].
    """
    o = opacity.clamp(margin, 1.0 - margin)
    return -(o * torch.log2(o) + (1.0 - o) * torch.log2(1.0 - o)).mean()


def total_variation(image: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbouring pixels, summed over both directions.

    The anisotropic form of Rudin, Osher and Fatemi 1992 (Physica D 60).

    Args:
        image: [B, C, H, W] with H, W >= 2. Differentiable.
    """
    down = (image[:, :, 1:] - image[:, :, :-1]).abs().mean()
    return down + (image[:, :, :, 1:] - image[:, :, :, :-1]).abs().mean()
