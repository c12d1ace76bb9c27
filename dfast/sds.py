"""Score Distillation Sampling as pure functions.

z_t = alpha_t x + sigma_t eps with alpha^2 + sigma^2 = 1; x lives in model space [-1, 1]. The
gradient that reaches the image is w(t) (eps_hat(z_t) - eps), and nothing flows through the
diffusion model. See Poole et al. 2022, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._rng import stratified


def sample_timesteps(
    n: int, low: float, high: float, count: int, generator: torch.Generator
) -> Tensor:
    """[n] int64 timesteps in [low, high] of `count`, one from each n-th of the range, shuffled."""
    t = (low + (high - low) * stratified(n, generator)) * count
    return t.long().clamp(0, count - 1)


def add_noise(x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """alpha x + sigma noise; x, noise [B,C,H,W], alpha, sigma [B]."""
    return alpha.view(-1, 1, 1, 1) * x + sigma.view(-1, 1, 1, 1) * noise


def guided(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance in the paper's convention: (1 + w) eps_c - w eps_u, in float32 at
    least.

    `scale` is w; diffusers' guidance_scale is 1 + w. w = 0 is the conditional prediction alone.
    """
    c = conditional.to(torch.promote_types(conditional.dtype, torch.float32))
    return c + scale * (c - unconditional.to(c.dtype))


def eps_from_v(v: Tensor, noisy: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """eps = alpha v + sigma z of a v-prediction; v, noisy [B,C,H,W], alpha, sigma [B]."""
    return alpha.view(-1, 1, 1, 1) * v + sigma.view(-1, 1, 1, 1) * noisy


def weight(alpha: Tensor, sigma: Tensor, kind: str = "sigma2") -> Tensor:
    """w(t) from alpha, sigma of any one shape: "sigma2" (the paper), "sigma", "alpha_sigma" or
    "uniform".
    """
    if kind == "sigma2":
        return sigma * sigma
    if kind == "sigma":
        return sigma
    if kind == "alpha_sigma":
        return alpha * sigma
    if kind == "uniform":
        return torch.ones_like(sigma)
    raise ValueError(f"kind: expected sigma2, sigma, alpha_sigma or uniform, got {kind!r}")


def sds_gradient(predicted: Tensor, noise: Tensor, w: Tensor) -> Tensor:
    """w (eps_hat - eps), [B,C,H,W]; predicted is already guided, w [B]."""
    return w.view(-1, 1, 1, 1) * (predicted - noise)


def inject(x: Tensor, gradient: Tensor) -> Tensor:
    """A scalar whose gradient with respect to x is exactly `gradient`; its value means nothing."""
    return (gradient.detach() * x).sum()
