"""Images of several prompts in one call are predicted as in calls of their own."""

from __future__ import annotations

import pytest
import torch
from tiny_models import CPU, FAMILIES, TRANSFORMERS, load_tiny, noise_like

from dfast.priors.base import Prior
from dfast.priors.embedded.prior import ShapesPrior
from dfast.scene.cameras import orbit

PROMPTS = ("a red chair", "a blue mug", "a green car")


def check(prior: Prior, noisy: torch.Tensor) -> None:
    """Compare R prompts of two images each, under two conditions."""
    cameras, t = orbit(6, azimuth=15.0), torch.tensor([100, 300, 500, 700, 200, 900])
    textureless = torch.tensor([False, True, False, False, True, False])
    each = [prior.encode_prompt(prompt) for prompt in PROMPTS]
    conditions = ("text", "negative")
    joint = prior.predict_noise(
        noisy, t, prior.join_prompts(each), cameras=cameras, textureless=textureless,
        conditions=conditions,
    )  # fmt: skip
    assert joint.shape == (2, *noisy.shape)
    for i, condition in enumerate(each):
        own = slice(2 * i, 2 * i + 2)
        seen = type(cameras)(*(getattr(cameras, name)[own] for name in vars(cameras)))
        alone = prior.predict_noise(
            noisy[own], t[own], condition, cameras=seen, textureless=textureless[own],
            conditions=conditions,
        )  # fmt: skip
        torch.testing.assert_close(joint[:, own], alone, rtol=1e-4, atol=1e-4)
    assert (joint[0] - joint[1]).abs().max() > 1e-4


@pytest.mark.parametrize("family", [*FAMILIES, *TRANSFORMERS])
def test_pipelines_take_several_prompts(family: str) -> None:
    prior = load_tiny(family)
    assert prior.joins_prompts
    check(prior, noise_like(prior, 6))


def test_the_embedded_prior_takes_several_prompts() -> None:
    prior = ShapesPrior(CPU, dtype=torch.float32)
    check(prior, torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
