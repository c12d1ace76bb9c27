"""Score distillation as pure functions: what each variant does with the prior's predictions.

z_t = alpha_t x + sigma_t eps, where x is what the prior diffuses; the formulas hold for diffusion
models (alpha^2 + sigma^2 = 1) and for flows (alpha + sigma = 1). The gradient at x is w(t) times a
direction made of noise predictions; nothing is backpropagated through the prior. Predictions
[B, C, H, W] may be in half precision: arithmetic is in float32 at least.

eps_c, eps_u, eps_0 and eps_n are the predictions under the prompt, what guidance moves away from,
the empty prompt and the negative prompt. docs/math.md, "Score distillation", derives the formulas.
Sources: SDS, Poole et al. 2022 (section 3); CSD, Yu et al. 2023; NFSD, Katzir et al. 2023; ISM,
Liang et al. 2023; RFDS and RFDS-Rev, Yang et al. 2024; VSD, Wang et al. 2023 (ProlificDreamer);
Perp-Neg, Armandpour et al. 2023.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dfast.priors.diffusion import at_least_float32

LEAST_SIGNAL = 1e-4
"""The signal level below which predictions of noise, in float32, say nothing of the image."""


def perp_neg(text: Tensor, base: Tensor, negatives: Tensor, weights: Tensor) -> Tensor:
    """Move a prediction away from other prompts without weakening it (Perp-Neg).

    Returns eps_c - sum_i w_i d_i, where d_i is the part of eps_i - eps_u that is perpendicular,
    over a whole sample, to eps_c - eps_u. In `classifier_free_guidance` it takes the place of
    eps_c, which gives the paper's eps_u + s (eps_c - eps_u - sum_i w_i d_i) with s = 1 + w.

    Args:
        text: eps_c, [B, C, H, W].
        base: eps_u, [B, C, H, W].
        negatives: eps_i, [k, B, C, H, W].
        weights: w_i >= 0, [k, B]; those of the paper have the other sign.
    """
    text, base = at_least_float32(text), at_least_float32(base)
    toward, away = text - base, at_least_float32(negatives) - base
    over = tuple(range(2, away.ndim))
    length = toward.square().sum([axis - 1 for axis in over], keepdim=True)
    share = (away * toward).sum(over, keepdim=True) / length.clamp(min=1e-30)
    return text - (weights.view(*weights.shape, 1, 1, 1) * (away - share * toward)).sum(0)


def weight(alpha: Tensor, sigma: Tensor, kind: str = "sigma2") -> Tensor:
    """Return w(t).

    Args:
        alpha: signal level at t, of any shape.
        sigma: noise level at t, of the same shape.
        kind: "sigma2" (DreamFusion), "sigma", "alpha_sigma", "uniform" or "x0", sigma / alpha.

    Raises:
        ValueError: for any other kind.
    """
    if kind == "sigma2":
        return sigma * sigma
    if kind == "sigma":
        return sigma
    if kind == "alpha_sigma":
        return alpha * sigma
    if kind == "uniform":
        return torch.ones_like(sigma)
    if kind == "x0":
        return sigma / alpha.clamp(min=1e-4)  # pure noise says nothing of x
    raise ValueError(f"kind: expected sigma2, sigma, alpha_sigma, uniform or x0, got {kind!r}")


def rescaled(
    guided: Tensor,
    text: Tensor,
    noisy: Tensor,
    level: tuple[Tensor, Tensor],
    part: float,
    views: int = 1,
) -> Tensor:
    """Return guided noise whose denoised image keeps the spread that it has under the prompt.

    Guidance makes the denoised image x-hat = (z - sigma eps) / alpha too contrasty. It is scaled by
    part (std of x-hat under eps_c / std of x-hat guided) + 1 - part, as Lin et al. 2023 (arXiv
    2305.08891) scale predictions and MVDream denoised images (Shi et al. 2023).

    Args:
        guided: (1 + w) eps_c - w eps_u, [B, C, H, W].
        text: eps_c, [B, C, H, W].
        noisy: z, [B, C, H, W].
        level: (alpha [B], sigma [B]).
        part: in [0, 1].
        views: neighbouring images whose spread is one number; B is a multiple.
    """
    alpha, sigma = (v.clamp(min=1e-4).view(-1, 1, 1, 1) for v in level)
    guided = at_least_float32(guided)

    def spread(eps: Tensor) -> Tensor:
        clean = (noisy - sigma * eps) / alpha
        return clean.view(-1, views, *clean.shape[1:]).std((1, 2, 3, 4)) + 1e-8

    factor = spread(at_least_float32(text)) / spread(guided)
    factor = (part * factor + 1.0 - part).repeat_interleave(views, output_size=len(guided))
    # eps of z = alpha factor x-hat + sigma eps
    return noisy / sigma + factor.view(-1, 1, 1, 1) * (guided - noisy / sigma)


def sds(guided: Tensor, noise: Tensor) -> Tensor:
    """Return the direction of SDS: (1 + w) eps_c - w eps_u - eps.

    Args:
        guided: (1 + w) eps_c - w eps_u, [B, C, H, W].
        noise: eps, [B, C, H, W].
    """
    return at_least_float32(guided) - noise


def csd(
    text: Tensor, null: Tensor, negative: Tensor, scale: float, negative_weight: Tensor | float
) -> Tensor:
    """Return the direction of CSD: w ((eps_c - eps_0) + a (eps_0 - eps_n)).

    This is the classifier's part of SDS: SDS is CSD with a = 1, plus eps_c - eps.

    Args:
        text: eps_c, [B, C, H, W].
        null: eps_0, [B, C, H, W].
        negative: eps_n, [B, C, H, W].
        scale: w, which the paper calls w_1.
        negative_weight: a; the paper's w_2 is a w.
    """
    null = at_least_float32(null)
    classifier = at_least_float32(text) - null
    return scale * (classifier + negative_weight * (null - at_least_float32(negative)))


def nfsd(text: Tensor, null: Tensor, negative: Tensor, high_noise: Tensor, scale: float) -> Tensor:
    """Return the direction of NFSD, which contains no sampled noise: delta_D + w (eps_c - eps_0).

    delta_D leads into the domain of natural images. It is eps_0 where the noise is low, and
    eps_0 - eps_n where it is high.

    Args:
        text: eps_c, [B, C, H, W].
        null: eps_0, [B, C, H, W].
        negative: eps_n, [B, C, H, W], for a prompt that describes bad images.
        high_noise: [B] bool; t >= 200 of 1000 in the paper.
        scale: w.
    """
    null = at_least_float32(null)
    domain = null - high_noise.view(-1, 1, 1, 1) * at_least_float32(negative)
    return domain + scale * (at_least_float32(text) - null)


def ism(guided: Tensor, inverted: Tensor) -> Tensor:
    """Return the direction of ISM: (1 + w) eps_c - w eps_u at x_t, minus eps_0 at x_s.

    x_s and x_t, s < t, lie on one path of DDIM inversion.

    Args:
        guided: (1 + w) eps_c - w eps_u at x_t, [B, C, H, W].
        inverted: eps_0 at x_s, [B, C, H, W].
    """
    return at_least_float32(guided) - at_least_float32(inverted)


def rfds(guided: Tensor, noise: Tensor, level: tuple[Tensor, Tensor]) -> Tensor:
    """Return the direction of RFDS: u_guided - (eps - x), the error of a velocity.

    With u = eps - x-hat it is (alpha + sigma) / alpha times that of SDS, which for a flow is
    1 / (1 - sigma).

    Args:
        guided: (1 + w) eps_c - w eps_u, [B, C, H, W].
        noise: eps, [B, C, H, W].
        level: (alpha [B], sigma [B]).
    """
    alpha, sigma = level
    # Pure noise says nothing of x: there SDS is 0, and must not be divided by 0. A guidance whose
    # range of t reaches such levels is refused when it is made.
    factor = (alpha + sigma) / alpha.clamp(min=LEAST_SIGNAL)
    return scaled(sds(guided, noise), factor)


def vsd(guided: Tensor, rendered: Tensor) -> Tensor:
    """Return the direction of VSD: (1 + w) eps_c - w eps_u - eps_phi.

    It is SDS with the sampled noise replaced by what a model of the renderings predicts in it
    (Wang et al. 2023, arXiv 2305.16213, section 3.2).

    Args:
        guided: (1 + w) eps_c - w eps_u, [B, C, H, W].
        rendered: eps_phi, [B, C, H, W].
    """
    return at_least_float32(guided) - at_least_float32(rendered)


def scaled(direction: Tensor, w: Tensor) -> Tensor:
    """Return w(t) times a direction.

    Args:
        direction: [B, C, H, W].
        w: [B].
    """
    return w.view(-1, 1, 1, 1) * direction


def sds_loss(x: Tensor, gradient: Tensor) -> Tensor:
    """Return a scalar whose gradient with respect to x is exactly `gradient`.

    Its value means nothing; it is 0.

    Args:
        x: of any shape; differentiable.
        gradient: of the same shape; its graph is not used.
    """
    loss: Tensor = _Seed.apply(x, gradient.detach())
    return loss


class _Seed(torch.autograd.Function):
    """A scalar with a given gradient. The sum of a product has it too, and costs a reduction."""

    @staticmethod
    def forward(x: Tensor, gradient: Tensor) -> Tensor:
        return torch.zeros((), dtype=torch.promote_types(x.dtype, gradient.dtype), device=x.device)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        x, gradient = inputs
        ctx.save_for_backward(gradient)
        ctx.dtype = x.dtype

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return (grads[0] * ctx.saved_tensors[0]).to(ctx.dtype), None
