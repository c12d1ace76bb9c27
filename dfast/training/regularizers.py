"""Losses on a rendering beside the guidance, each a scalar; `dfast.training.losses` weighs them."""

from __future__ import annotations

import torch
from torch import Tensor

from dfast import ops

EDGE = 0.3
"""Length of the difference of two unit normals beyond which it counts as an edge: 17 degrees."""
DEPTH_STEP = 0.1
"""Difference in depth beyond which neighbouring pixels show different surfaces, world units."""


def orientation(facing_away: Tensor) -> Tensor:
    """Return the mean over rays of the penalty on visible normals that face away from the camera.

    Equation 11 of Ref-NeRF (Verbin et al. 2022, arXiv 2112.03907), with the weights constant as in
    DreamFusion (Poole et al. 2022, arXiv 2209.14988).

    Args:
        facing_away: [R], sum_i stop(w_i) max(0, n_i . v)^2 of each ray: `RayRender.orientation`.
            Differentiable.
    """
    return facing_away.sum() / max(len(facing_away), 1)


def normal_variation(normal: Tensor, opacity: Tensor, depth: Tensor) -> Tensor:
    """Return how much the normals of neighbouring pixels differ: lumps cost, edges hardly do.

    See `dfast.ops.normal_variation`, which computes it. The mean is over all pixels.

    Args:
        normal: [B, 3, H, W] sum of w n, H, W >= 2. Differentiable.
        opacity: [B, 1, H, W] in [0, 1]; a constant here.
        depth: [B, 1, H, W] sum of w t; a constant here.
    """
    constants = opacity.detach(), depth.detach()
    return ops.normal_variation(normal, *constants, edge=EDGE, step=DEPTH_STEP)


def darkness(image: Tensor, opacity: Tensor, unlit: Tensor) -> Tensor:
    """Return minus the brightness of what images show without light, summed over the channels.

    An image prior takes a dark surface for a shaded one, so that it hardly objects to an albedo
    that is too dark, while it does object to one that no light can explain. Of the albedos that the
    prior accepts, the brightest is the right one.

    Args:
        image: [B, 3, H, W] in [0, 1]. Differentiable.
        opacity: [B, 1, H, W] in [0, 1]; a constant here.
        unlit: [B] 1 for images of the albedo alone, else 0.
    """
    shown = image * opacity.detach() * unlit.view(-1, 1, 1, 1)
    return -shown.sum(1).mean()


def opacity(opacity: Tensor) -> Tensor:
    """Return the mean of sqrt(o^2 + 0.01), which keeps space empty that the images do not need.

    From DreamFusion (Poole et al. 2022, arXiv 2209.14988). It is 0.1 at o = 0 and 1.00499 at o = 1.

    Args:
        opacity: o in [0, 1], any shape. Differentiable.
    """
    return torch.sqrt(opacity * opacity + 0.01).mean()


def transmittance(opacity: Tensor, most: Tensor) -> Tensor:
    """Return minus the mean transmittance of images, as far as it is below 1 - `most`.

    From Dream Fields (Jain et al. 2022, arXiv 2112.01455): without it a CLIP is content with haze
    that fills the image.

    Args:
        opacity: [B, 1, H, W] in [0, 1]. Differentiable.
        most: [B] in [0, 1], mean opacity of an image that costs nothing.

    Returns:
        Scalar in [-1, 0].
    """
    clear = 1.0 - opacity.mean((1, 2, 3))
    return -torch.minimum(clear, 1.0 - most).mean()


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
