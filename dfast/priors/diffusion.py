"""Diffusion algebra: forward process, parameterisations, classifier-free guidance, DDIM steps.

z_t = alpha_t x + sigma_t eps, where alpha_t^2 + sigma_t^2 = 1 in a diffusion model and
alpha_t + sigma_t = 1 in a flow. docs/math.md, "Score distillation" and "Flow matching".
"""

from __future__ import annotations

import torch
from torch import Tensor


def add_noise(x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return z = alpha x + sigma eps.

    Args:
        x: [B, C, H, W].
        noise: eps, [B, C, H, W].
        alpha: [B].
        sigma: [B].
    """
    return alpha.view(-1, 1, 1, 1) * x + sigma.view(-1, 1, 1, 1) * noise


def classifier_free_guidance(
    conditional: Tensor, unconditional: Tensor, scale: float | Tensor
) -> Tensor:
    """Return (1 + w) eps_c - w eps_u, in float32 at least (Ho and Salimans 2022).

    Args:
        conditional: eps_c, [B, C, H, W].
        unconditional: eps_u, [B, C, H, W], or the prediction for a negative prompt.
        scale: w, or one for each image, [B, 1, 1, 1]; the `guidance_scale` of diffusers is 1 + w.
            0 is the conditional prediction.
    """
    c = at_least_float32(conditional)
    return c + scale * (c - at_least_float32(unconditional))


def eps_from_v(v: Tensor, noisy: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return eps = alpha v + sigma z of a v-prediction (Salimans and Ho 2022).

    It holds where alpha^2 + sigma^2 = 1; `eps_from_flow` is its counterpart for flows.

    Args:
        v: [B, C, H, W].
        noisy: z, [B, C, H, W].
        alpha: [B].
        sigma: [B].
    """
    return alpha.view(-1, 1, 1, 1) * v + sigma.view(-1, 1, 1, 1) * noisy


def eps_from_flow(velocity: Tensor, noisy: Tensor, alpha: Tensor) -> Tensor:
    """Return eps = z + alpha u of a flow's velocity u = eps - x, where alpha + sigma = 1.

    Args:
        velocity: u, [B, C, H, W].
        noisy: z, [B, C, H, W].
        alpha: [B].
    """
    return noisy + alpha.view(-1, 1, 1, 1) * velocity


def ddim_step(
    noisy: Tensor, predicted: Tensor, start: tuple[Tensor, Tensor], end: tuple[Tensor, Tensor]
) -> Tensor:
    """Return z at another noise level by a deterministic DDIM step (Song et al. 2020).

    A step towards more noise is DDIM inversion. On the levels of a flow it is the Euler step
    z + (sigma' - sigma) u.

    Args:
        noisy: z at `start`, [B, C, H, W].
        predicted: eps there, [B, C, H, W].
        start: (alpha [B], sigma [B]).
        end: (alpha [B], sigma [B]).
    """
    (a, s), (to_a, to_s) = ([v.view(-1, 1, 1, 1) for v in level] for level in (start, end))
    predicted = at_least_float32(predicted)
    return to_a * ((noisy - s * predicted) / a) + to_s * predicted


def at_least_float32(x: Tensor) -> Tensor:
    """Return x in float32, or as it is if it is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
