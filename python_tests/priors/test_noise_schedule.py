"""Noise schedules and parameterisations against diffusers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import (
    CPU,
)

from dfast.errors import PriorError
from dfast.priors.noise_schedule import NoiseSchedule

SCHEDULES = [
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    {"beta_schedule": "linear"},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True},
    {"trained_betas": [0.1, 0.2, 0.3], "num_train_timesteps": 3},
]


@pytest.mark.parametrize("settings", SCHEDULES)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_schedules_are_those_of_diffusers(
    settings: dict[str, Any], prediction: str, generator: torch.Generator
) -> None:
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(**settings, prediction_type=prediction)
    ours = NoiseSchedule(theirs.config)
    count = theirs.config.num_train_timesteps
    x = torch.randn(2, 3, 4, 4, generator=generator)
    noise = torch.randn(2, 3, 4, 4, generator=generator)
    t = torch.tensor([0, count - 1])
    alpha, sigma = (table[t].view(-1, 1, 1, 1) for table in ours.to(CPU))
    noisy = alpha * x + sigma * noise
    torch.testing.assert_close(noisy, theirs.add_noise(x, noise, t), rtol=0, atol=0)
    outputs = {"epsilon": noise, "v_prediction": theirs.get_velocity(x, noise, t), "sample": x}
    torch.testing.assert_close(ours.eps(outputs[prediction], noisy, t), noise, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta_schedule": "magic"}, "noise schedule"),
        ({"prediction_type": "flow"}, "prediction_type of epsilon, v_prediction, sample"),
        (
            {"_class_name": "EDMEulerScheduler", "sigma_data": 0.5, "prediction_type": "epsilon"},
            "a beta_schedule or trained_betas, got EDMEulerScheduler without",
        ),
    ],
)
def test_schedules_that_are_unknown(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(PriorError, match=message):
        NoiseSchedule(settings)
