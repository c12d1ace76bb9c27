"""Priors of pipelines with a transformer, tiny and random, against diffusers' own pipelines."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import (
    NEGATIVE,
    PLAIN,
    PROMPT,
    TRANSFORMERS,
    image_gradient,
    load_tiny,
    noise_like,
    pipeline,
)
from torch import Tensor

from dfast.priors.diffusion import classifier_free_guidance, ddim_step
from dfast.scene.cameras import orbit

CPU = torch.device("cpu")
LEVELS = (0.9, 0.5, 0.2)
"""Noise levels of the three steps, before the shift."""
FLOWS = tuple(family for family in TRANSFORMERS if family != "pixart")


class Decoded(Exception):
    """Ends a pipeline where it would decode its latents."""


def opened(family: str, **options: Any) -> Any:
    """The prior of a family at 64 pixels."""
    return load_tiny(family, **{"image_size": 64} | options)


def call_pipeline(pipe: Any, family: str, x: Tensor, w: float, patch: pytest.MonkeyPatch) -> Tensor:
    """What the pipeline's own call hands to its VAE after three guided steps from x."""
    import diffusers

    options: dict[str, Any] = {
        "latents": x, "num_inference_steps": len(LEVELS), "output_type": "pt", "height": 64,
        "width": 64, "guidance_scale": w if family == "z-image" else 1 + w,
    }  # fmt: skip
    if family == "pixart":
        config = {"timestep_spacing": "leading", "clip_sample": False, "variance_type": "fixed"}
        config = {**pipe.scheduler.config, **config}
        pipe.scheduler = diffusers.DDIMScheduler.from_config(config)
        options |= {"clean_caption": False}
    elif family == "prx":  # it takes no noise levels, and mends texts by a package
        from diffusers.pipelines.prx import pipeline_prx

        set_timesteps = pipe.scheduler.set_timesteps
        patch.setattr(
            pipe.scheduler, "set_timesteps", lambda *_, **__: set_timesteps(sigmas=list(LEVELS))
        )
        mend = SimpleNamespace(fix_text=lambda text: text)
        patch.setattr(pipeline_prx, "ftfy", mend, raising=False)
    else:
        options |= {"sigmas": list(LEVELS)}
    if family == "sana":
        pipe.scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    if family in ("pixart", "sana", "prx"):
        options |= {"use_resolution_binning": False}
    if family == "lumina2":
        options |= {"cfg_normalization": False}
    if family == "flux2":  # it has no negative prompt, and its shift depends on the steps
        from diffusers.pipelines.flux2 import pipeline_flux2_klein as module

        mu = module.compute_empirical_mu
        patch.setattr(
            module, "compute_empirical_mu", lambda image_seq_len, num_steps: mu(image_seq_len, 50)
        )
    else:
        options |= {"negative_prompt": NEGATIVE}
    seen: list[Tensor] = []

    def decode(latents: Tensor, **_: Any) -> None:
        seen.append(latents)
        raise Decoded

    patch.setattr(pipe.vae, "decode", decode)
    with torch.no_grad(), pytest.raises(Decoded):
        pipe(prompt=PROMPT, **options)
    return seen[0]


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_sampling_with_the_prior_is_the_pipelines_own_call(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text, masks, noise levels, signs, packing, shift and the VAE's statistics, all at once."""
    prior, pipe, w = opened(family), pipeline(family), 1.5
    x = start = noise_like(prior, 1)
    negative = "" if family == "flux2" else NEGATIVE
    condition = prior.encode_prompt(PROMPT, views="none", negative=negative)
    alpha, sigma = prior.noise_schedule(CPU)
    steps = [round(1000 * level) - 1 for level in LEVELS]
    wanted = call_pipeline(pipe, family, start, w, monkeypatch)
    if family == "pixart":
        pipe.scheduler.set_timesteps(len(LEVELS))
        steps = pipe.scheduler.timesteps.tolist()
    ends = [(alpha[t], sigma[t]) for t in steps[1:]] + [(torch.ones(()), torch.zeros(()))]
    for t, end in zip(steps, ends, strict=True):
        text, against = prior.predict_noise(
            x, torch.tensor([t]), condition, cameras=None, textureless=PLAIN[:1],
            conditions=("text", "negative"),
        )  # fmt: skip
        assert (text - against).abs().max() > 1e-3  # the text has an effect
        eps = classifier_free_guidance(text, against, w)
        x = ddim_step(x, eps, (alpha[t], sigma[t]), end)
    assert (x - start).abs().max() > 0.1
    torch.testing.assert_close(x, prior.latents.normalized(wanted), rtol=1e-5, atol=3e-5)


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_images_are_encoded_as_by_the_pipelines_vae(
    family: str, generator: torch.Generator
) -> None:
    prior, pipe = opened(family), pipeline(family)
    image = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
    with torch.no_grad():
        encoded = pipe.vae.encode(image, return_dict=False)[0]
        got = prior.encode_images(image)
    encoded = encoded if isinstance(encoded, Tensor) else encoded.mean
    assert got.shape == (1, prior.unet_config.get("in_channels", 16), *(prior.latent_size,) * 2)
    torch.testing.assert_close(got, prior.latents.normalized(encoded), rtol=1e-5, atol=1e-5)
    assert image_gradient(prior, image, torch.ones_like(got)).abs().max() > 0


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_one_call_predicts_under_all_conditions(family: str) -> None:
    prior = opened(family)
    condition = prior.encode_prompt(PROMPT)
    noisy, t, cameras = noise_like(prior), torch.tensor([500, 20]), orbit(2, azimuth=20.0)

    def predict(*conditions: str) -> Tensor:
        return prior.predict_noise(
            noisy, t, condition, cameras=cameras, textureless=PLAIN, conditions=conditions
        )

    together = predict("text", "null", "negative")
    assert together.shape == (3, *noisy.shape) and together.dtype == torch.float32
    for name, row in zip(("text", "null", "negative"), together, strict=True):
        torch.testing.assert_close(predict(name)[0], row, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[1], together[2])  # no negative prompt: no words
