"""Score distillation as pure functions.

z_t = alpha_t x + sigma_t eps with alpha^2 + sigma^2 = 1; x is what the model diffuses. The gradient
that reaches x is w(t) times a direction made of the model's noise predictions, and nothing flows
through the model. Predictions [B,C,H,W] may come in half precision: all arithmetic is in float32 at
least. Sources: SDS, Poole et al. 2022 (section 3); CSD, Yu et al. 2023; NFSD, Katzir et al. 2023;
ISM, Liang et al. 2023; Perp-Neg, Armandpour et al. 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dfast.priors.diffusion import _wide, classifier_free_guidance


def perp_neg(text: Tensor, base: Tensor, negatives: Tensor, weights: Tensor) -> Tensor:
    """Perp-Neg: the prediction for a text, led away from other texts without weakening it.

    eps_c - sum_i w_i d_i^perp, where d_i^perp is the part of eps_i - eps_u that is perpendicular,
    over a whole sample, to eps_c - eps_u. To be given to `classifier_free_guidance` in place of eps_c, which makes
    the paper's eps_u + s (d - sum_i w_i d_i^perp), s = 1 + w.

    text, base (eps_u) [B,C,H,W]; negatives [k,B,C,H,W]; weights [k,B] >= 0, the paper's with the
    sign turned.
    """
    text, base = _wide(text), _wide(base)
    toward, away = text - base, _wide(negatives) - base
    over = tuple(range(2, away.ndim))
    length = toward.square().sum([axis - 1 for axis in over], keepdim=True)
    share = (away * toward).sum(over, keepdim=True) / length.clamp(min=1e-30)
    return text - (weights.view(*weights.shape, 1, 1, 1) * (away - share * toward)).sum(0)


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


def sds(text: Tensor, base: Tensor, noise: Tensor, scale: float) -> Tensor:
    """SDS: eps_hat - eps, with eps_hat guided; base is what guidance leads away from."""
    return classifier_free_guidance(text, base, scale) - noise


def csd(
    text: Tensor, null: Tensor, negative: Tensor, scale: float, against: Tensor | float
) -> Tensor:
    """CSD, the classifier's part of SDS alone: w ((eps_c - eps_0) + a (eps_0 - eps_n)).

    against: a, how much of the pull away from the negative prompt is left; the paper's w_1 is w and
    its w_2 is a w. SDS is this with a = 1 plus eps_c - eps.
    """
    null = _wide(null)
    return scale * (_wide(text) - null + against * (null - _wide(negative)))


def nfsd(text: Tensor, null: Tensor, negative: Tensor, late: Tensor, scale: float) -> Tensor:
    """NFSD: delta_D + w (eps_c - eps_0), where no sampled noise is left to average out.

    delta_D, the part that leads into the domain of pictures, is eps_0 where the noise is low (late
    [B] is False; t < 200 of 1000 in the paper) and eps_0 - eps_n where it is high, with n a prompt
    for bad pictures.
    """
    null = _wide(null)
    domain = null - late.view(-1, 1, 1, 1) * _wide(negative)
    return domain + scale * (_wide(text) - null)


def ism(text: Tensor, base: Tensor, inverted: Tensor, scale: float) -> Tensor:
    """ISM: eps_hat(x_t) - eps_0(x_s), where x_s and x_t lie on one path of DDIM inversion.

    text, base: at x_t, guided with w = scale; inverted: no words, at x_s, the step before x_t.
    """
    return classifier_free_guidance(text, base, scale) - _wide(inverted)


def scaled(direction: Tensor, w: Tensor) -> Tensor:
    """The gradient w(t) direction, [B,C,H,W]; w [B]."""
    return w.view(-1, 1, 1, 1) * direction


def sds_loss(x: Tensor, gradient: Tensor) -> Tensor:
    """A scalar whose gradient with respect to x is exactly `gradient`; its value means nothing."""
    return (gradient.detach() * x).sum()
