"""Diffusion algebra: forward process, parameterisations, classifier-free guidance, DDIM steps."""

from __future__ import annotations

import torch
from torch import Tensor


def add_noise(x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """alpha x + sigma noise; x, noise [B,C,H,W], alpha, sigma [B]."""
    return alpha.view(-1, 1, 1, 1) * x + sigma.view(-1, 1, 1, 1) * noise


def classifier_free_guidance(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance in the paper's convention: (1 + w) eps_c - w eps_u.

    `scale` is w; diffusers' guidance_scale is 1 + w. w = 0 is the conditional prediction alone. A
    negative prompt takes the place of no words in eps_u.
    """
    c = _wide(conditional)
    return c + scale * (c - _wide(unconditional))


def eps_from_v(v: Tensor, noisy: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """eps = alpha v + sigma z of a v-prediction; v, noisy [B,C,H,W], alpha, sigma [B]."""
    return alpha.view(-1, 1, 1, 1) * v + sigma.view(-1, 1, 1, 1) * noisy


def ddim_step(
    noisy: Tensor, predicted: Tensor, start: tuple[Tensor, Tensor], end: tuple[Tensor, Tensor]
) -> Tensor:
    """DDIM without noise (Song et al. 2020) from one level to another, in either direction.

    noisy, predicted [B,C,H,W]; start, end: (alpha, sigma) [B] each. The step towards more noise is
    its inversion.
    """
    (a, s), (to_a, to_s) = ([v.view(-1, 1, 1, 1) for v in level] for level in (start, end))
    predicted = _wide(predicted)
    return to_a * ((noisy - s * predicted) / a) + to_s * predicted


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
