"""Priors of pipelines with a transformer, tiny and random, against diffusers' own pipelines."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import (
    NEGATIVE,
    PLAIN,
    PROMPT,
    TRANSFORMERS,
    copied,
    edit_json,
    image_gradient,
    load_tiny,
    noise_like,
    pipeline,
)
from torch import Tensor

from dfast.config import GuidanceConfig
from dfast.guidance import DiffusionGuidance, GuidanceBatch
from dfast.guidance.sds import sds_loss
from dfast.priors import load_prior
from dfast.priors.diffusion import add_noise, classifier_free_guidance, ddim_step
from dfast.priors.pipelines.text import NULL_ROW, NUM_SENTENCES
from dfast.scene.cameras import orbit
from dfast.scene.lighting import fixed_lighting

CPU = torch.device("cpu")
LEVELS = (0.9, 0.5, 0.2)
"""Noise levels of the three steps, before the shift."""
VIDEOS = ("wan", "qwen-image")
"""Families whose VAE encodes videos of one frame."""
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
        "width": 64,
        {"qwen-image": "true_cfg_scale"}.get(family, "guidance_scale"): (
            w if family == "z-image" else 1 + w
        ),
    }  # fmt: skip
    if family == "pixart":
        config = {"timestep_spacing": "leading", "clip_sample": False, "variance_type": "fixed"}
        config = {**pipe.scheduler.config, **config}
        pipe.scheduler = diffusers.DDIMScheduler.from_config(config)
        options |= {"clean_caption": False}
    elif family in ("prx", "wan"):  # they take no noise levels, and mend texts by a package
        from diffusers.pipelines.prx import pipeline_prx
        from diffusers.pipelines.wan import pipeline_wan

        pipe.scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
        set_timesteps = pipe.scheduler.set_timesteps
        patch.setattr(
            pipe.scheduler, "set_timesteps", lambda *_, **__: set_timesteps(sigmas=list(LEVELS))
        )
        mend = SimpleNamespace(fix_text=lambda text: text)
        for module in (pipeline_prx, pipeline_wan):
            patch.setattr(module, "ftfy", mend, raising=False)
    else:
        options |= {"sigmas": list(LEVELS)}
    if family == "wan":
        options |= {"num_frames": 1, "latents": x.unsqueeze(2)}
    if family == "qwen-image":  # without the norms that it gives its sum of predictions
        from diffusers.pipelines.qwenimage import pipeline_qwenimage

        same = SimpleNamespace(**{**vars(torch), "norm": lambda *_, **__: torch.ones(())})
        patch.setattr(pipeline_qwenimage, "torch", same)
        options |= {"latents": pipe._pack_latents(x, *x.shape)}
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
    return seen[0].squeeze(2) if family in VIDEOS else seen[0]


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
        pixels = image.unsqueeze(2) if family in VIDEOS else image
        encoded = pipe.vae.encode(pixels, return_dict=False)[0]
        got = prior.encode_images(image)
    encoded = encoded if isinstance(encoded, Tensor) else encoded.mean
    encoded = encoded.squeeze(2) if family in VIDEOS else encoded
    assert got.shape == noise_like(prior, 1).shape
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


REVERSED, UNIT = ("lumina2", "z-image"), ("flux2", "prx", "qwen-image")
"""Families whose transformer takes 1 - sigma, or sigma; the others take 1000 sigma."""


@pytest.mark.parametrize("family", FLOWS)
@pytest.mark.parametrize("variant", ["sds", "rfds", "rfds_rev", "gaussian"])
def test_a_point_mass_and_a_gaussian_behind_the_adapter(
    family: str, variant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transformer that knows its data answers with their velocity, in the terms of its family.

    For one image mu it is (z - mu) / sigma: RFDS gives (x - mu) / sigma whatever noise was drawn,
    and SDS alpha times that. For N(mu, c^2) and V = alpha^2 c^2 + sigma^2, SDS is
    alpha sigma (x - mu) / V - alpha^2 c^2 eps / V.
    """
    prior, mu, c2 = opened(family), 0.3, 0.25 if variant == "gaussian" else 0.0
    prior.load()

    def exact(network: Any, noisy: Tensor, time: Tensor, texts: Any) -> Tensor:
        assert network is prior.unet and texts
        level = time / {"sana": 500.0}.get(family, 1.0 if family in UNIT + REVERSED else 1000.0)
        sigma = (1.0 - level if family in REVERSED else level).view(-1, 1, 1, 1)
        away, alpha = noisy - (1.0 - sigma) * mu, 1.0 - sigma
        v = alpha**2 * c2 + sigma**2
        velocity = sigma * away / v - (mu + alpha * c2 * away / v)  # E[eps - x | z]
        return -velocity if family in REVERSED else velocity

    monkeypatch.setattr(prior, "conventions", replace(prior.conventions, call=exact))
    asked = "sds" if variant == "gaussian" else variant
    config = GuidanceConfig(variant=asked, scale=3.0, weighting="uniform")
    guidance = DiffusionGuidance(config, prior, PROMPT, CPU)
    alpha, sigma = guidance.noise_schedule
    t, cameras = torch.tensor([250, 700]), orbit(2)
    lighting = fixed_lighting("albedo", cameras)
    batch = GuidanceBatch(cameras, lighting, t, alpha[t], sigma[t], torch.ones(1))
    x = noise_like(prior, seed=3)
    got = guidance.gradient(x, batch, torch.Generator().manual_seed(5))
    a, s = alpha[t].view(-1, 1, 1, 1), sigma[t].view(-1, 1, 1, 1)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
    v = a**2 * c2 + s**2
    expected = a * s * (x - mu) / v - a**2 * c2 * noise / v
    expected = expected / a if variant.startswith("rfds") else expected
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


def test_fifty_steps_lead_towards_the_one_image_that_a_model_was_trained_on() -> None:
    """A tiny Sana learns one image; then noise becomes like it by RFDS through the VAE."""
    prior = opened("sana")
    prior.load()
    along = torch.linspace(-1, 1, 64)
    image = torch.stack(
        [
            along.expand(64, 64),
            along.view(64, 1).expand(64, 64),
            along.view(64, 1) * (3 * along).sin(),
        ]
    )
    with torch.no_grad():
        target = prior.encode_images(0.8 * image[None])
    config = GuidanceConfig(variant="rfds", scale=1.0, weighting="sigma", view_conditioning="none")
    guidance = DiffusionGuidance(config, prior, PROMPT, CPU)
    alpha, sigma = guidance.noise_schedule
    condition = prior.encode_prompt(PROMPT, views="none")
    generator, network = torch.Generator().manual_seed(0), prior.unet.requires_grad_(True)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        t = torch.randint(0, 1000, (8,), generator=generator)
        noise = torch.randn(8, *target.shape[1:], generator=generator)
        noisy = add_noise(target, noise, alpha[t], sigma[t])
        rows = torch.randint(0, 2, (8,), generator=generator) * NULL_ROW  # the prompt or none
        velocity = prior._denoise(
            noisy, t, condition.mix(torch.eye(NUM_SENTENCES)[rows], len(noisy))
        )
        optimizer.zero_grad()
        (velocity - (noise - target)).square().mean().backward()
        optimizer.step()
    network.requires_grad_(False)
    cameras = orbit(1)
    lighting = fixed_lighting("albedo", cameras)
    pixels = (0.5 + 0.3 * torch.randn(1, 3, 64, 64, generator=generator)).requires_grad_(True)
    descent = torch.optim.Adam([pixels], 2e-2)
    errors = []
    for _ in range(50):
        t = torch.randint(100, 700, (1,), generator=generator)
        batch = GuidanceBatch(cameras, lighting, t, alpha[t], sigma[t], torch.ones(1))
        encoded = guidance.encode_images(pixels)
        errors.append(float((encoded - target).square().mean().detach()))
        descent.zero_grad()
        sds_loss(encoded, guidance.gradient(encoded, batch, generator)).backward()
        descent.step()
    assert sum(errors[-10:]) / 10 < 0.7 * errors[0]


def test_blended_views_keep_every_token_of_either() -> None:
    """Between two views the mask is that of both; alone, a view has only its own tokens."""
    prior = opened("pixart")
    condition = prior.encode_prompt(PROMPT)
    lengths = condition.tables["mask"].sum(-1)
    assert lengths.unique().numel() > 1  # the words of the views differ in length
    hidden = condition.tables["hidden"]
    assert not (hidden.abs().sum(-1) > 0)[condition.tables["mask"] == 0].any()
    seen: list[Tensor] = []
    prior.load()
    prior.unet.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["encoder_attention_mask"]), with_kwargs=True
    )
    noisy, t = noise_like(prior), torch.tensor([500, 20])
    prior.predict_noise(noisy, t, condition, cameras=orbit(2, azimuth=30.0), textureless=PLAIN)
    assert seen[0].dtype == torch.bool
    assert set(seen[0].sum(-1).tolist()) <= set(lengths.int().tolist())


def test_stable_diffusion_3_can_do_without_t5(tmp_path: Path) -> None:
    path = copied("sd3", tmp_path)
    for part in ("text_encoder_3", "tokenizer_3"):
        edit_json(path / "model_index.json", **{part: [None, None]})
        shutil.rmtree(path / part)
    prior: Any = load_prior(str(path), CPU)
    hidden = prior.encode_prompt(PROMPT).tables["hidden"]
    whole = load_tiny("sd3").encode_prompt(PROMPT).tables["hidden"]
    assert torch.equal(hidden[:, :77], whole[:, :77]) and whole[:, 77:].any()
    assert hidden.shape == whole.shape and not hidden[:, 77:].any()


def test_prx_as_it_was_published(tmp_path: Path) -> None:
    """Its transformer does not name its class, and its text encoder has only its own settings."""
    path = copied("prx", tmp_path)
    edit_json(path / "transformer/config.json", _class_name=...)
    edit_json(path / "model_index.json", default_sample_size=64)
    file = path / "text_encoder/config.json"
    half = json.loads(file.read_text())["encoder"]
    file.write_text(json.dumps(half | {"model_type": "t5_gemma_module"}))
    prior: Any = load_prior(str(path), CPU)
    assert prior.family == "prx" and prior.image_size == 64
    got, wanted = (p.encode_prompt(PROMPT).tables["hidden"] for p in (prior, load_tiny("prx")))
    assert torch.equal(got, wanted)


@pytest.mark.parametrize("nested", [False, True])
def test_qwen_image_as_it_was_published(nested: bool, tmp_path: Path) -> None:
    """The settings of its language model beside those of the eyes, or its layers inside a model."""
    path = copied("qwen-image", tmp_path)
    file = path / "text_encoder/model.safetensors"
    names = set(load_file(file))
    assert {"lm_head.weight", "model.norm.weight", "visual.merger.ln_q.weight"} <= names
    if nested:
        tensors = {
            k.replace("model.", "model.language_model."): v for k, v in load_file(file).items()
        }
        save_file({k.replace("visual.", "model.visual."): v for k, v in tensors.items()}, file)
    else:
        config = json.loads((path / "text_encoder/config.json").read_text())
        flat = config.pop("text_config") | {"model_type": "qwen2_5_vl"}
        edit_json(path / "text_encoder/config.json", text_config=..., **flat)
    prior: Any = load_prior(str(path), CPU)
    got, wanted = (p.encode_prompt(PROMPT).tables for p in (prior, load_tiny("qwen-image")))
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)
    assert int(wanted["mask"][0].sum()) < 512 == wanted["hidden"].shape[1]
