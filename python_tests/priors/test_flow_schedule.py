"""The noise levels of flows, and their shift, against the schedulers of diffusers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import CPU

from dfast.errors import PriorError
from dfast.priors.flow_schedule import dynamic_mu, empirical_mu, is_flow
from dfast.priors.noise_schedule import NoiseSchedule

EULER = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
SOLVER = {"_class_name": "DPMSolverMultistepScheduler", "prediction_type": "flow_prediction"}


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_static_shift_is_that_of_training(shift: float, generator: torch.Generator) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    theirs = FlowMatchEulerDiscreteScheduler(shift=shift)
    ours = NoiseSchedule({**theirs.config, **EULER})
    alpha, sigma = ours.to(CPU)
    torch.testing.assert_close(sigma, theirs.sigmas.flip(0))
    torch.testing.assert_close(alpha + sigma, torch.ones(1000))
    t = torch.tensor([0, 400, 999])
    torch.testing.assert_close(ours.time(t), theirs.timesteps.flip(0)[t])
    x, noise = torch.randn(2, 3, 4, 2, 2, generator=generator)
    level = theirs.timesteps.flip(0)[t]
    noisy = theirs.scale_noise(x, level, noise)
    a, s = alpha[t].view(-1, 1, 1, 1), sigma[t].view(-1, 1, 1, 1)
    torch.testing.assert_close(a * x + s * noise, noisy)
    torch.testing.assert_close(ours.eps(noise - x, noisy, t), noise)


def test_solvers_that_sample_flows_have_the_same_levels() -> None:
    from diffusers import DPMSolverMultistepScheduler

    options: dict[str, Any] = {"use_flow_sigmas": True, "flow_shift": 3.0}
    theirs = DPMSolverMultistepScheduler(prediction_type="flow_prediction", **options)
    theirs.set_timesteps(999)
    sigma = NoiseSchedule({**SOLVER, **options}).to(CPU)[1]
    torch.testing.assert_close(sigma[:-1], theirs.sigmas[:-1].flip(0).float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["exponential", "linear"])
@pytest.mark.parametrize("tokens", [16, 1024])
def test_a_dynamic_shift_follows_the_size_of_the_image(kind: str, tokens: int) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift

    theirs = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type=kind)
    mu = calculate_shift(tokens)
    assert dynamic_mu(theirs.config, tokens) == pytest.approx(mu)
    theirs.set_timesteps(sigmas=np.linspace(1.0, 1e-3, 1000), mu=mu)
    sigma = NoiseSchedule({**theirs.config, **EULER}, shift=lambda _: mu).to(CPU)[1]
    torch.testing.assert_close(sigma, theirs.sigmas[:-1].flip(0), rtol=0, atol=1e-6)
    smallest = NoiseSchedule({**theirs.config, **EULER}).to(CPU)[1]
    assert (smallest[500] < sigma[500]) == (mu > 0.5)


@pytest.mark.parametrize("tokens", [256, 4096, 5000])
def test_the_shift_of_flux_2_is_that_of_its_pipeline(tokens: int) -> None:
    from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

    assert empirical_mu(tokens) == pytest.approx(compute_empirical_mu(tokens, 50))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"invert_sigmas": True}, "invert_sigmas: expected false, got true"),
        ({"shift": -1.0}, "shift: expected a positive number, got -1.0"),
        ({"num_train_timesteps": 1}, "num_train_timesteps: expected at least 2, got 1"),
        ({"use_dynamic_shifting": True, "base_shift": "x"}, "base_shift: expected a number"),
        (
            {"use_dynamic_shifting": True, "time_shift_type": "magic"},
            "expected exponential or linear, got 'magic'",
        ),
    ],
)
def test_levels_that_cannot_be_used(settings: dict[str, Any], message: str) -> None:
    assert is_flow(EULER | settings)
    with pytest.raises(PriorError, match=message):
        NoiseSchedule(EULER | settings, "x")


@pytest.mark.parametrize(
    "settings", [{"base_image_seq_len": 4096}, {"max_shift": 1e9}, {"max_shift": "x"}]
)
def test_shifts_that_cannot_be_computed(settings: dict[str, Any]) -> None:
    config = EULER | {"use_dynamic_shifting": True} | settings
    with pytest.raises(PriorError, match="cannot use its noise schedule") as caught:
        NoiseSchedule(config, "x", shift=lambda c: dynamic_mu(c, 1024))
    assert "\n" not in str(caught.value)
