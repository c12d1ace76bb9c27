"""Priors of pipeline folders, tiny and random, against diffusers' own pipelines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import (
    CPU,
    FAMILIES,
    LATENT,
    NEGATIVE,
    PLAIN,
    PROMPT,
    copied,
    image_gradient,
    load_tiny,
    noise_like,
    pipeline,
)
from torch import Tensor

from dfast.priors import load_prior
from dfast.priors.base import Prior
from dfast.priors.diffusion import classifier_free_guidance
from dfast.scene.cameras import orbit


def encode_prompts(pipe: Any, family: str) -> tuple[Tensor, dict[str, Tensor]]:
    """The pipeline's own embeddings: hidden [2,L,D] (text, negative), and SDXL's pooled [2,P]."""
    if family == "sdxl":
        text, negative, pooled, negative_pooled = pipe.encode_prompt(
            PROMPT, negative_prompt=NEGATIVE, device=CPU, do_classifier_free_guidance=True
        )
        return torch.cat([text, negative]), {"text_embeds": torch.cat([pooled, negative_pooled])}
    options = {} if family == "if-m" else {"num_images_per_prompt": 1}
    text, negative = pipe.encode_prompt(
        PROMPT, negative_prompt=NEGATIVE, device=CPU, do_classifier_free_guidance=True, **options
    )
    return torch.cat([text, negative]), {}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_noise_is_that_of_the_pipelines_own_call(family: str) -> None:
    prior, pipe = load_tiny(family), pipeline(family)
    assert isinstance(prior, Prior)
    noisy, t = noise_like(prior), torch.tensor([40, 900])
    condition = prior.encode_prompt(PROMPT, views="none", negative=NEGATIVE)
    got = prior.predict_noise(
        noisy, t, condition, cameras=None, textureless=PLAIN, conditions=("text", "negative")
    )
    hidden, added = encode_prompts(pipe, family)
    if family == "sdxl":
        size = float(prior.image_size)
        ids = torch.tensor([[size, size, 0, 0, size, size]]).repeat(4, 1)
        added = {"text_embeds": added["text_embeds"].repeat_interleave(2, 0), "time_ids": ids}
    with torch.no_grad():
        output = pipe.unet(
            noisy.repeat(2, 1, 1, 1), t.repeat(2), hidden.repeat_interleave(2, 0),
            added_cond_kwargs=added or None,
        ).sample[:, : noisy.shape[1]]  # fmt: skip
    if prior.schedule.prediction == "v_prediction":
        bar = pipe.scheduler.alphas_cumprod[t.repeat(2)].view(-1, 1, 1, 1)
        output = bar.sqrt() * output + (1 - bar).sqrt() * noisy.repeat(2, 1, 1, 1)
    torch.testing.assert_close(got.flatten(0, 1), output, rtol=1e-5, atol=1e-5)
    assert got.dtype == torch.float32
    assert (got[0] - got[1]).abs().max() > 1e-3  # the text has an effect


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_sampling_with_the_prior_gives_the_pipelines_picture(family: str) -> None:
    from diffusers import DDIMScheduler

    prior, pipe, w, steps = load_tiny(family), pipeline(family), 4.0, 4
    config = {**pipe.scheduler.config, "variance_type": "fixed"}  # the pipeline drops it then
    pipe.scheduler = DDIMScheduler.from_config(config)
    ours = DDIMScheduler.from_config(pipe.scheduler.config, prediction_type="epsilon")
    options: dict[str, Any] = {
        "negative_prompt": NEGATIVE, "guidance_scale": 1 + w, "num_inference_steps": steps,
    }  # fmt: skip
    x = noise_like(prior, 1)
    if family == "if-m":
        generator = torch.Generator().manual_seed(0)
        options |= {"clean_caption": False, "output_type": "pt"}
        wanted = pipe(PROMPT, generator=generator, **options).images
    else:
        wanted = pipe(PROMPT, output_type="latent", latents=x, **options).images
    condition = prior.encode_prompt(PROMPT, views="none", negative=NEGATIVE)
    ours.set_timesteps(steps)
    for t in ours.timesteps:
        text, negative = prior.predict_noise(
            x,
            t[None],
            condition,
            cameras=None,
            textureless=PLAIN[:1],
            conditions=("text", "negative"),
        )
        x = ours.step(classifier_free_guidance(text, negative, w), t, x).prev_sample
    torch.testing.assert_close(x, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_call_of_the_network_for_all_conditions(family: str) -> None:
    prior = load_tiny(family)
    condition = prior.encode_prompt(PROMPT)
    prior.load()
    seen: list[tuple[int, ...]] = []
    prior.unet.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    noisy, t, cameras = noise_like(prior), torch.tensor([500, 20]), orbit(2)

    def predict(conditions: tuple[str, ...]) -> Tensor:
        return prior.predict_noise(
            noisy, t, condition, cameras=cameras, textureless=PLAIN, conditions=conditions
        )

    together = predict(("text", "null", "negative"))
    assert seen == [(6, *noisy.shape[1:])]
    assert together.shape == (3, *noisy.shape)
    assert not together.requires_grad
    for condition_name, row in zip(("text", "null", "negative"), together, strict=True):
        torch.testing.assert_close(predict((condition_name,))[0], row, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[1], together[2])  # no negative prompt: no words


def test_six_channels_are_noise_and_variance() -> None:
    prior = load_tiny("if-m")
    condition = prior.encode_prompt(PROMPT, views="none")
    prior.load()
    outputs: list[Tensor] = []
    prior.unet.register_forward_hook(lambda *args: outputs.append(args[2][0]))
    noisy = noise_like(prior)
    eps = prior.predict_noise(
        noisy, torch.tensor([5, 999]), condition, cameras=None, textureless=PLAIN
    )
    assert outputs[0].shape[1] == 6
    assert torch.equal(eps[0], outputs[0][:, :3])


def test_sdxl_gets_sizes_and_the_empty_prompt_is_zeros() -> None:
    prior = load_tiny("sdxl", image_size=96)
    assert prior.image_size == 96
    condition = prior.encode_prompt(PROMPT, negative="")
    prior.load()
    added: list[dict[str, Tensor]] = []
    prior.unet.register_forward_pre_hook(
        lambda _, args, kwargs: added.append(kwargs["added_cond_kwargs"]), with_kwargs=True
    )
    noisy = torch.randn(1, 4, 12, 12)
    prior.predict_noise(
        noisy, torch.tensor([3]), condition, cameras=orbit(1), textureless=PLAIN[:1],
        conditions=("text", "negative"),
    )  # fmt: skip
    assert added[0]["time_ids"].tolist() == [[96, 96, 0, 0, 96, 96]] * 2
    assert added[0]["text_embeds"][0].abs().max() > 0
    assert not added[0]["text_embeds"][1].any()
    assert not condition.tables["hidden"][-1].any()


def test_files_as_they_were_published_in_2022(tmp_path: Path) -> None:
    """Other names in the VAE's attention and the text encoder; a tokenizer in two files."""
    path = copied("sd15", tmp_path)
    vae, text = path / "vae/diffusion_pytorch_model.safetensors", path / "text_encoder"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(vae)
    for new, name in old.items():
        tensors = {k.replace(new, name): v for k, v in tensors.items()}
    save_file(tensors, vae)
    tensors = load_file(text / "model.safetensors")
    assert not any(name.startswith("text_model.") for name in tensors)
    tensors = {f"text_model.{name}": tensor for name, tensor in tensors.items()}
    tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(tensors, text / "model.safetensors", metadata={"format": "pt"})
    words = path / "tokenizer"
    made = json.loads((words / "tokenizer.json").read_text())
    (words / "vocab.json").write_text(json.dumps(made["model"]["vocab"]))
    (words / "merges.txt").write_text(
        "\n".join(["#version: 0.2", *map(" ".join, made["model"]["merges"])]) + "\n"
    )
    (words / "tokenizer.json").unlink()
    image = torch.rand(1, 3, 64, 64)
    today, then = load_tiny("sd15"), load_prior(str(path), CPU)
    assert torch.equal(then.encode_images(image), today.encode_images(image))
    hidden = [prior.encode_prompt("A red Chair").tables["hidden"] for prior in (today, then)]
    assert torch.equal(*hidden)


@pytest.mark.parametrize("family", FAMILIES)
def test_tuned_networks_say_the_same(
    family: str, needs_native: None, generator: torch.Generator
) -> None:
    """What is done on CUDA, on the CPU: tuning finds the parts of networks as they are loaded."""
    from dfast.priors.fused.layers import FusedGroupNorm
    from dfast.priors.fused.resnets import FusedResnet
    from dfast.priors.fused.tune import tune

    plain, tuned = load_tiny(family), load_tiny(family)
    tuned.load()
    kinds = {type(m) for m in tune(tuned.unet).modules()}
    assert {FusedGroupNorm, FusedResnet} <= kinds

    def predict(prior: Any) -> Tensor:
        condition = prior.encode_prompt(PROMPT)
        return prior.predict_noise(
            noise_like(prior),
            torch.tensor([1, 600]),
            condition,
            cameras=orbit(2),
            textureless=PLAIN,
            conditions=("text", "null"),
        )

    wanted, got = predict(plain), predict(tuned)
    assert (got - wanted).norm() / wanted.norm() < 1e-5
    if family in LATENT:
        tune(tuned.latents.vae.encoder)
        image = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
        toward = torch.randn(1, 4, 8, 8, generator=generator)
        wanted, got = (image_gradient(p, image, toward) for p in (plain, tuned))
        assert (got - wanted).norm() / wanted.norm() < 1e-5
