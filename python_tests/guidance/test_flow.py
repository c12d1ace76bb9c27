"""Score distillation from flows whose velocity is known in closed form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from oracle import guidance_batch
from torch import Tensor
from torch.testing import assert_close

from dfast.config import GuidanceConfig
from dfast.errors import ConfigError
from dfast.guidance import DiffusionGuidance
from dfast.priors.base import Condition
from dfast.priors.diffusion import add_noise, ddim_step, eps_from_flow
from dfast.priors.flow_schedule import flow_sigmas
from dfast.scene.cameras import CameraBatch

CPU, SIZE = torch.device("cpu"), 5
MEANS = {"text": 0.5, "negative": -0.2, "null": 0.1}


def _column(v: Tensor) -> Tensor:
    return v.view(-1, 1, 1, 1)


class GaussianFlow:
    """The data under each condition is a Gaussian around one colour.

    Attributes:
        spread: standard deviation of the data; 0 is a point mass.
        calls: conditions of each call.
    """

    name, image_size = "gaussian flow", SIZE
    conditions: tuple[Condition, ...] = ("text", "negative", "null")

    def __init__(self, spread: float = 0.0, shift: float = 3.0) -> None:
        self.spread = spread
        self.sigma = flow_sigmas({"num_train_timesteps": 100, "shift": shift})
        self.calls: list[tuple[str, ...]] = []

    def noise_schedule(self, device: torch.device) -> tuple[Tensor, Tensor]:
        return 1.0 - self.sigma, self.sigma

    def encode_prompt(self, prompt: str, *, views: str = "camera", negative: str = "") -> None:
        return None

    def velocity(self, noisy: Tensor, sigma: Tensor, condition: str) -> Tensor:
        """E[eps - x | z] of the Gaussian."""
        alpha, mean = 1.0 - sigma, MEANS[condition]
        v = alpha**2 * self.spread**2 + sigma**2
        away = noisy - alpha * mean
        return sigma * away / v - (mean + alpha * self.spread**2 * away / v)

    def predict_noise(
        self, noisy: Tensor, t: Tensor, prompt: None, *, cameras: CameraBatch | None,
        textureless: Tensor, conditions: tuple[Condition, ...] = ("text",),
    ) -> Tensor:  # fmt: skip
        self.calls.append(conditions)
        sigma = self.sigma[t]
        return torch.stack(
            [
                eps_from_flow(self.velocity(noisy, _column(sigma), c), noisy, 1.0 - sigma)
                for c in conditions
            ]
        )


def gradient_of(prior: GaussianFlow, level: float = 0.6, **options: Any) -> tuple[Tensor, ...]:
    """The gradient of two views, x, alpha and sigma."""
    config = GuidanceConfig(**{"weighting": "uniform", "scale": 0.0} | options)
    guidance = DiffusionGuidance(config, prior, "a thing", CPU)  # type: ignore[arg-type]
    batch = guidance_batch(guidance.noise_schedule, 2, level)
    x = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3)) - 0.5
    found = guidance.gradient(x, batch, torch.Generator().manual_seed(4))
    return found, x, _column(batch.alpha), _column(batch.sigma)


@pytest.mark.parametrize("variant", ["rfds", "rfds_rev"])
@pytest.mark.parametrize("level", [0.02, 0.6, 0.97])
def test_a_point_mass_leads_straight_to_it_whatever_the_noise(variant: Any, level: float) -> None:
    """v = (z - mu) / sigma, hence v - (eps - x) = (x - mu) / sigma for any eps."""
    found, x, _, sigma = gradient_of(GaussianFlow(), level, variant=variant)
    assert_close(found, (x - MEANS["text"]) / sigma, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("variant", ["rfds", "rfds_rev"])
@pytest.mark.parametrize("key", ["t_max", "t_max_end"])
def test_levels_without_a_signal_are_refused(variant: Any, key: str) -> None:
    prior: Any = GaussianFlow()
    alpha = prior.noise_schedule(CPU)[0]
    most = int((alpha >= 1e-4).sum()) / len(alpha)
    assert most < 1.0
    fits = GuidanceConfig(**{"variant": variant, key: most})
    assert DiffusionGuidance(fits, prior, "a thing", CPU)
    with pytest.raises(ConfigError, match=rf"'guidance.{key}': expected at most {most:g} with"):
        DiffusionGuidance(GuidanceConfig(**{"variant": variant, key: 1.0}), prior, "a thing", CPU)
    plain = GuidanceConfig(**{key: 1.0})
    assert DiffusionGuidance(plain, prior, "a thing", CPU)


def test_sds_of_a_point_mass_is_the_error_of_the_velocity_times_alpha() -> None:
    found, x, alpha, sigma = gradient_of(GaussianFlow())
    assert_close(found, alpha * (x - MEANS["text"]) / sigma, rtol=1e-4, atol=1e-4)
    weighted, *_ = gradient_of(GaussianFlow(), weighting="sigma2")
    assert_close(weighted, alpha * sigma * (x - MEANS["text"]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", ["sds", "rfds"])
def test_a_gaussian(variant: Any) -> None:
    """eps_hat - eps = alpha sigma (x - mu) / v - alpha^2 s^2 eps / v, v = alpha^2 s^2 + sigma^2."""
    s = 0.4
    found, x, alpha, sigma = gradient_of(GaussianFlow(s), variant=variant)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
    v = alpha**2 * s**2 + sigma**2
    expected = alpha * sigma * (x - MEANS["text"]) / v - alpha**2 * s**2 * noise / v
    expected = expected / alpha if variant == "rfds" else expected
    assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", ["sds", "rfds", "rfds_rev"])
def test_guidance_moves_the_point_mass(variant: Any) -> None:
    """mu_c + w (mu_c - mu_n) takes the place of mu_c."""
    found, x, alpha, sigma = gradient_of(GaussianFlow(), variant=variant, scale=2.0)
    target = MEANS["text"] + 2.0 * (MEANS["text"] - MEANS["negative"])
    expected = (x - target) / sigma * (alpha if variant == "sds" else 1.0)
    assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_csd_is_a_difference_of_velocities() -> None:
    """eps_c - eps_0 = alpha (v_c - v_0), and v_c - v_0 = (mu_0 - mu_c) / sigma."""
    found, _, alpha, sigma = gradient_of(GaussianFlow(), variant="csd", scale=2.0)
    expected = 2.0 * alpha / sigma * (MEANS["null"] - MEANS["text"])
    assert_close(found, expected.expand_as(found), rtol=1e-4, atol=1e-4)


def test_the_reversed_form_asks_once_more_for_the_text_alone() -> None:
    prior = GaussianFlow(0.4)
    found, x, alpha, sigma = gradient_of(prior, variant="rfds_rev", scale=2.0)
    assert prior.calls == [("text",), ("text", "negative")]
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
    v = prior.velocity(alpha * x + sigma * noise, sigma, "text")
    noise = noise + (1.0 - sigma) * (v + x - noise)  # as RFDS-Rev writes it
    noisy = alpha * x + sigma * noise
    text, negative = (prior.velocity(noisy, sigma, c) for c in ("text", "negative"))
    assert_close(found, text + 2.0 * (text - negative) - (noise - x), rtol=1e-4, atol=1e-4)


def test_a_ddim_step_on_the_levels_of_a_flow_is_an_euler_step(generator: torch.Generator) -> None:
    noisy, velocity = torch.randn(2, 2, 3, SIZE, SIZE, generator=generator)
    sigma, to = torch.tensor([0.3, 0.7]), torch.tensor([0.5, 0.2])
    eps = eps_from_flow(velocity, noisy, 1.0 - sigma)
    stepped = ddim_step(noisy, eps, (1.0 - sigma, sigma), (1.0 - to, to))
    assert_close(stepped, noisy + _column(to - sigma) * velocity)


def test_ism_of_point_masses_is_free_of_noise() -> None:
    """All points of its path look like it, so alpha / sigma (mu_0 - mu_c) is left."""
    found, _, alpha, sigma = gradient_of(GaussianFlow(), variant="ism", inversion_steps=3)
    expected = alpha / sigma * (MEANS["null"] - MEANS["text"])
    assert_close(found, expected.expand_as(found), rtol=1e-3, atol=1e-3)


def test_pure_noise_gives_no_gradient_and_no_nan() -> None:
    prior = GaussianFlow(0.4)
    assert prior.sigma[-1] == 1.0
    for variant in ("sds", "rfds", "rfds_rev", "csd"):
        found, *_ = gradient_of(prior, 1.0, variant=variant, scale=5.0)
        assert found.isfinite().all() and not found[1].any()


@pytest.mark.parametrize("variant", ["sds", "rfds", "rfds_rev"])
def test_an_image_finds_the_prompt(variant: Any, generator: torch.Generator) -> None:
    """Descent from a grey image ends at mu_c + w (mu_c - mu_n)."""
    config = GuidanceConfig(variant=variant, scale=1.0, weighting="uniform")
    guidance = DiffusionGuidance(config, GaussianFlow(), "a thing", CPU)  # type: ignore[arg-type]
    x = torch.zeros(2, 3, SIZE, SIZE)
    for level in torch.linspace(0.9, 0.2, 100):
        batch = guidance_batch(guidance.noise_schedule, 2, float(level))
        x = x - 0.2 * guidance.gradient(x, batch, generator)
    expected = 2.0 * MEANS["text"] - MEANS["negative"]
    assert_close(x, torch.full_like(x, expected), rtol=0, atol=0.01)


def test_noise_is_added_on_the_straight_line(generator: torch.Generator) -> None:
    x, noise = torch.randn(2, 2, 3, SIZE, SIZE, generator=generator)
    sigma = torch.tensor([0.25, 1.0])
    noisy = add_noise(x, noise, 1.0 - sigma, sigma)
    assert_close(noisy[0], 0.75 * x[0] + 0.25 * noise[0])
    assert torch.equal(noisy[1], noise[1])
