"""Score distillation where its answer is known in closed form.

docs/math.md, "Score distillation", derives the formulas.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfast.guidance.sds import csd, ism, nfsd, perp_neg, rescaled, scaled, sds, sds_loss, weight
from dfast.priors.diffusion import add_noise, classifier_free_guidance, ddim_step, eps_from_v

F64 = torch.float64


def _levels(*angles: float) -> tuple[Tensor, Tensor]:
    angle = torch.tensor(angles, dtype=F64)
    return torch.cos(angle), torch.sin(angle)


def _images(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    x, target, noise = (torch.randn(n, 3, 4, 4, dtype=F64, generator=generator) for _ in range(3))
    return x, target, noise


def _column(v: Tensor) -> Tensor:
    return v.view(-1, 1, 1, 1)


def test_oracle_gradient_has_no_variance(generator: torch.Generator) -> None:
    """eps_hat - eps = (alpha/sigma)(x - x*); with w = sigma^2 the gradient is alpha sigma
    (x - x*).
    """
    alpha, sigma = _levels(0.1, 0.7, 1.5)
    x, target, noise = _images(3, generator)
    noisy = add_noise(x, noise, alpha, sigma)
    predicted = (noisy - _column(alpha) * target) / _column(sigma)
    assert_close(predicted - noise, _column(alpha / sigma) * (x - target))
    gradient = scaled(predicted - noise, weight(alpha, sigma, "sigma2"))
    assert_close(gradient, _column(alpha * sigma) * (x - target))


def test_gaussian_prior(generator: torch.Generator) -> None:
    """N(mu, s^2) gives alpha sigma (x - mu)/v - (alpha^2 s^2/v) eps, v = alpha^2 s^2 +
    sigma^2.
    """
    alpha, sigma = _levels(0.3, 0.8, 1.2)
    x, mu, noise = _images(3, generator)
    s2 = 0.4**2
    v = _column(alpha**2 * s2 + sigma**2)
    noisy = add_noise(x, noise, alpha, sigma)
    predicted = _column(sigma) * (noisy - _column(alpha) * mu) / v  # -sigma grad log p
    expected = _column(alpha * sigma) * (x - mu) / v - _column(alpha**2 * s2) / v * noise
    assert_close(scaled(predicted - noise, torch.ones_like(alpha)), expected)


@pytest.mark.parametrize("scale", [0.0, 1.0, 7.5])
def test_guided_fixed_point(scale: float, generator: torch.Generator) -> None:
    """two equal-variance Gaussians under guidance w settle at mu_c + w (mu_c - mu_u)."""
    alpha, sigma = _levels(0.9)
    _, mu_c, mu_u = _images(1, generator)
    v = _column(alpha**2 * 0.3**2 + sigma**2)
    x = mu_c + scale * (mu_c - mu_u)

    def predict(noisy: Tensor, mu: Tensor) -> Tensor:
        return _column(sigma) * (noisy - _column(alpha) * mu) / v

    zero = torch.zeros_like(x)  # the mean over eps: everything is linear
    noisy = add_noise(x, zero, alpha, sigma)
    predicted = classifier_free_guidance(predict(noisy, mu_c), predict(noisy, mu_u), scale)
    assert_close(scaled(predicted - zero, weight(alpha, sigma)), zero, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("k", "stable"), [(1.40, True), (1.46, True), (1.4616, False), (1.6, False)]
)
def test_two_deltas_bifurcate(k: float, stable: bool) -> None:
    """between deltas at +-m the origin is stable iff k^2 E[sech^2(k eps)] < 1; critical k
    = 1.4608.
    """
    m, n = 1.0, 4001
    alpha = torch.tensor([k / math.hypot(k, 1.0)], dtype=F64)  # k = alpha m / sigma
    sigma = torch.sqrt(1.0 - alpha**2)
    eps = torch.linspace(-9.0, 9.0, n, dtype=F64).view(1, 1, 1, n)
    density = torch.exp(-0.5 * eps**2) / math.sqrt(2 * math.pi) * (18.0 / (n - 1))
    x = torch.full_like(eps, 1e-4)
    noisy = add_noise(x, eps, alpha, sigma)
    clean = m * torch.tanh(_column(alpha * m / sigma**2) * noisy)  # the posterior mean of x0
    predicted = (noisy - _column(alpha) * clean) / _column(sigma)
    pull = (scaled(predicted - eps, weight(alpha, sigma)) * density).sum()
    assert bool(pull > 0) is stable  # descent goes back to the origin
    slope = (k**2 * density / torch.cosh(k * eps) ** 2).sum()
    assert_close(pull / 1e-4, (alpha * sigma * (1.0 - slope))[0], rtol=1e-5, atol=1e-8)


def test_guidance_convention_and_precision() -> None:
    """(1 + w) eps_c - w eps_u is diffusers' eps_u + s (eps_c - eps_u) at s = 1 + w, in fp32."""
    c, u = torch.randn(2, 3), torch.randn(2, 3)
    assert_close(classifier_free_guidance(c, u, 7.5), u + 8.5 * (c - u))
    half = classifier_free_guidance(c.half(), u.half(), 100.0)
    assert half.dtype == torch.float32
    assert_close(half, 101.0 * c.half().float() - 100.0 * u.half().float(), rtol=1e-5, atol=1e-4)


def _five(generator: torch.Generator) -> list[Tensor]:
    return [torch.randn(2, 3, 4, 4, dtype=F64, generator=generator) for _ in range(5)]


def test_csd_is_sds_without_its_generative_part(generator: torch.Generator) -> None:
    """SDS = CSD + (eps_c - eps), and no sampled noise enters CSD."""
    c, u, n, noise, _ = _five(generator)
    assert_close(csd(c, u, u, 7.0, 1.0), 7.0 * (c - u))
    guided = classifier_free_guidance(c, n, 7.0)
    assert_close(sds(guided, noise), csd(c, u, n, 7.0, 1.0) + c - noise)
    assert_close(csd(c, u, n, 7.0, 0.0), csd(c, u, u, 7.0, 1.0))
    against = torch.tensor([0.25], dtype=F64)  # w_1 c + (w_2 - w_1) u - w_2 n of the paper
    assert_close(csd(c, u, n, 8.0, against), 8.0 * c - 6.0 * u - 2.0 * n)


def test_nfsd_in_its_known_parts(generator: torch.Generator) -> None:
    c, u, n, _, _ = _five(generator)
    late = torch.tensor([False, True])
    got = nfsd(c, u, n, late, 7.5)
    assert_close(got[0], u[0] + 7.5 * (c - u)[0])  # little noise: CFG with nothing subtracted
    assert_close(got[1], (u - n)[1] + 7.5 * (c - u)[1])
    assert_close(nfsd(c, u, u, late, 2.0)[1], csd(c, u, u, 2.0, 1.0)[1])


def test_nfsd_has_no_variance_where_the_noise_is_high(generator: torch.Generator) -> None:
    """Three oracles: eps cancels, and w (x* - x_0) + (x_0 - x_n) is left, times alpha/sigma."""
    alpha, sigma = _levels(0.4, 1.2)
    c, u, n, x, noise = _five(generator)
    noisy = add_noise(x, noise, alpha, sigma)
    predicted = [(noisy - _column(alpha) * m) / _column(sigma) for m in (c, u, n)]
    got = nfsd(*predicted, torch.tensor([True, True]), 3.0)
    assert_close(got, _column(alpha / sigma) * (3.0 * (u - c) + n - u))


def test_ddim_keeps_the_noise_of_an_oracle(generator: torch.Generator) -> None:
    """With data at one image m, every path is alpha m + sigma eps, and a step is exact."""
    alpha, sigma = _levels(0.3, 0.8)
    to = _levels(1.1, 0.2)
    _, m, noise = _images(2, generator)
    z = add_noise(m, noise, alpha, sigma)
    there = ddim_step(z, noise, (alpha, sigma), to)
    assert_close(there, add_noise(m, noise, *to))
    assert_close(ddim_step(there, noise, to, (alpha, sigma)), z)


def test_ism_points_at_the_delta(generator: torch.Generator) -> None:
    """A step of inversion from x_s without words, then an oracle at m: the gradient is
    alpha_t/sigma_t (x0_hat - m), where x0_hat is what x_s looked like without words.
    """
    start, end = _levels(0.5, 0.7), _levels(0.6, 0.9)
    x, m, _ = _images(2, generator)
    inverted = 0.3 * x  # whatever the model says without words
    x_s = add_noise(x, inverted, *start)  # so that x0_hat is x
    x_t = ddim_step(x_s, inverted, start, end)
    text = (x_t - _column(end[0]) * m) / _column(end[1])
    assert_close(ism(text, inverted), _column(end[0] / end[1]) * (x - m))


def test_perp_neg_is_perpendicular_sample_by_sample(generator: torch.Generator) -> None:
    c, u, a, b, _ = _five(generator)
    weights = torch.tensor([[2.0, 0.5], [0.3, 0.0]], dtype=F64)
    got = perp_neg(c, u, torch.stack([a, b]), weights)
    toward, moved = (c - u).flatten(1), (got - c).flatten(1)
    assert_close((toward * moved).sum(1), torch.zeros(2, dtype=F64), atol=1e-12, rtol=0)
    away = torch.stack([a, b]).flatten(2) - u.flatten(1)
    for k in range(2):  # Gram and Schmidt by hand
        expected = torch.zeros_like(moved[k])
        for i in range(2):
            d = away[i, k]
            expected -= weights[i, k] * (d - (d @ toward[k]) / (toward[k] @ toward[k]) * toward[k])
        assert_close(moved[k], expected)
    # With guidance w this is the paper's eps_u + s (d - sum w_i d_i^perp), s = 1 + w.
    assert_close(classifier_free_guidance(got, u, 6.0), u + 7.0 * (c - u + moved.view_as(c)))


def test_perp_neg_leaves_alone_what_is_not_against(generator: torch.Generator) -> None:
    c, u, a, _, _ = _five(generator)
    ones = torch.ones(1, 2, dtype=F64)
    assert torch.equal(perp_neg(c, u, a[None], 0 * ones), c)
    assert_close(perp_neg(c, u, (u + 3.0 * (c - u))[None], ones), c)  # parallel
    assert_close(perp_neg(u, u, a[None], ones), u - (a - u))  # no direction of its own: all of it


def test_a_negative_prompt_is_led_away_from() -> None:
    c, n = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    assert float(classifier_free_guidance(c, n, 10.0)) == -10.0


def test_guidance_arithmetic_of_half_predictions_is_in_float32() -> None:
    """At w = 100 half arithmetic would be off by more than 0.01; it is exact to float32 here."""
    c, u, n = (torch.randn(1, 4, 8, 8).half() for _ in range(3))
    noise, ones = torch.randn(1, 4, 8, 8), torch.ones(1, 1)
    late = torch.tensor([True])
    d, e, m = (v.double() for v in (c, u, n))
    exact = [
        (sds(classifier_free_guidance(c, u, 100.0), noise), 101.0 * d - 100.0 * e - noise),
        (csd(c, u, n, 100.0, 0.5), 100.0 * (d - e) + 50.0 * (e - m)),
        (nfsd(c, u, n, late, 100.0), e - m + 100.0 * (d - e)),
        (ism(classifier_free_guidance(c, u, 100.0), n), 101.0 * d - 100.0 * e - m),
        (perp_neg(c, u, n[None], ones), perp_neg(d, e, m[None], ones.double())),
    ]
    for got, expected in exact:
        assert got.dtype == torch.float32
        assert_close(got.double(), expected.double(), rtol=1e-5, atol=1e-4)


def test_v_prediction(generator: torch.Generator) -> None:
    alpha, sigma = _levels(0.2, 1.1, 1.5)
    x, _, noise = _images(3, generator)
    v = _column(alpha) * noise - _column(sigma) * x
    assert_close(eps_from_v(v, add_noise(x, noise, alpha, sigma), alpha, sigma), noise)


def test_inject_is_exact() -> None:
    x = torch.ones(2, 3, 4, 4, requires_grad=True)
    gradient = torch.randn(2, 3, 4, 4) * 1e-6
    sds_loss(x, gradient).backward()
    assert torch.equal(x.grad, gradient)  # bit for bit, where 0.5 |x - (x - g)|^2 loses it
    of_half = torch.func.grad(lambda z: 2 * sds_loss(z, gradient))(x.detach().half())
    assert of_half.dtype == torch.float16 and torch.equal(of_half, (2 * gradient).half())


def test_weights() -> None:
    alpha, sigma = _levels(0.5, 1.0)
    assert_close(weight(alpha, sigma, "sigma"), sigma)
    assert_close(weight(alpha, sigma, "alpha_sigma"), alpha * sigma)
    assert_close(weight(alpha, sigma, "uniform"), torch.ones(2, dtype=F64))
    assert_close(weight(alpha, sigma, "x0"), sigma / alpha)
    assert weight(torch.zeros(1), torch.ones(1), "x0").isfinite()
    with pytest.raises(ValueError, match="kind: expected"):
        weight(alpha, sigma, "cubic")


def test_the_weight_x0_gives_the_error_of_the_denoised_image(generator: torch.Generator) -> None:
    alpha, sigma = _levels(0.2, 0.9, 1.4)
    x, predicted, noise = _images(3, generator)
    noisy = add_noise(x, noise, alpha, sigma)
    denoised = (noisy - _column(sigma) * predicted) / _column(alpha)
    x.requires_grad_(True)
    loss = 0.5 * (x - denoised.detach()).square().sum()
    (wanted,) = torch.autograd.grad(loss, x)
    assert_close(scaled(sds(predicted, noise), weight(alpha, sigma, "x0")), wanted)


@pytest.mark.parametrize("views", [1, 2, 4])
@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_rescaled_guidance_keeps_the_spread_of_a_group(
    part: float, views: int, generator: torch.Generator
) -> None:
    alpha, sigma = (v.repeat_interleave(2) for v in _levels(0.4, 1.1))
    noisy, text, null = _images(4, generator)
    guided = classifier_free_guidance(text, null, 7.5)

    def denoised(eps: Tensor) -> Tensor:
        return (noisy - _column(sigma) * eps) / _column(alpha)

    def spread(eps: Tensor) -> Tensor:
        return torch.stack([group.std() for group in denoised(eps).split(views)])

    got = rescaled(guided, text, noisy, (alpha, sigma), part, views)
    factor = part * spread(text) / spread(guided) + 1.0 - part
    assert_close(spread(got), factor * spread(guided))
    direction = denoised(got) / denoised(guided)  # one number for a group
    assert_close(direction, _column(factor.repeat_interleave(views)).expand_as(direction))
    if part == 0.0:
        assert_close(got, guided)
    if part == 1.0:
        assert_close(spread(got), spread(text))
